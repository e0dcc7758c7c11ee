# SPDX-License-Identifier: Apache-2.0
"""Stand-in of sensor_msgs_py for machines without a ROS installation."""
