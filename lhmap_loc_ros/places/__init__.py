# SPDX-License-Identifier: Apache-2.0
"""Place recognition: where in the map may an image have been taken, without a start pose?"""
