# SPDX-License-Identifier: Apache-2.0
"""Over a drive with known poses: how the camera is really turned on the robot, and whether image stamps are off."""
