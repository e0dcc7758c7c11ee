# SPDX-License-Identifier: Apache-2.0
"""For all tests: DDS traffic stays on this machine and apart from that of other runs."""

import os
import random

# before rclpy starts; child processes inherit it
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
