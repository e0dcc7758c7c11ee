# SPDX-License-Identifier: Apache-2.0
"""What the set-up needs from the machine, and what to install where it is missing. Standard library only."""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

PYTHONS = ((3, 10), (3, 13))
ROS_MODULES = {
    "rclpy": "rclpy",
    "tf2_ros": "tf2-ros-py",
    "tf2_msgs": "tf2-msgs",
    "sensor_msgs_py": "sensor-msgs-py",
    "cv_bridge": "cv-bridge",
    "tf_transformations": "tf-transformations",
    "nav_msgs": "nav-msgs",
    "diagnostic_msgs": "diagnostic-msgs",
}
"""The ROS modules the nodes import, and the Debian package of each, less its `ros-DISTRO-`."""


def has_ros():
    """Whether a ROS 2 installation is sourced, seen from the Python that runs this."""
    return bool(os.environ.get("AMENT_PREFIX_PATH")) and importlib.util.find_spec("rclpy") is not None


def unsourced_ros():
    """The set-up files of ROS installations that are there but not sourced."""
    return [] if has_ros() else sorted(Path("/opt/ros").glob("*/setup.bash"))


def problems(ros):
    """What is missing, one line each that says what to install; empty if all is there.

    `ros`: whether a ROS installation serves; then no compiler is needed, but its packages are.
    """
    found = [problem for problem in (_python(), _ros_packages() if ros else _wheel_platform()) if problem]
    missing = _debian_packages(ros)
    if missing:
        found.insert(0, f"missing: sudo apt install {' '.join(missing)}")
    return found


def _python():
    low, high = PYTHONS
    if low <= sys.version_info[:2] <= high:
        return None
    return (
        f"Python {sys.version.split()[0]} is at {sys.executable}, but 3.{low[1]} to 3.{high[1]} is needed: "
        "sudo apt install python3 python3-venv, or name another with make PYTHON=python3.12"
    )


def _debian_packages(ros):
    missing = []
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        # Debian keeps ensurepip in a package of its own
        default = os.path.realpath("/usr/bin/python3") == os.path.realpath(sys.executable)
        missing.append("python3-venv" if default else f"python3.{sys.version_info[1]}-venv")
    if not ros and not (_works(os.environ.get("CXX", "c++")) and _works(os.environ.get("CC", "cc"))):
        missing.append("g++")
    return missing


def _works(compiler):
    path = shutil.which(compiler)
    return path is not None and subprocess.run([path, "--version"], capture_output=True).returncode == 0


def _ros_packages():
    missing = [package for module, package in ROS_MODULES.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    distro = os.environ.get("ROS_DISTRO", "jazzy")
    return f"missing: sudo apt install {' '.join(f'ros-{distro}-{package}' for package in missing)}"


def _wheel_platform():
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        return None
    return (
        f"the ROS 2 wheels are for Linux on x86-64, this is {platform.system()} on {platform.machine()}: install ROS 2 "
        "(https://docs.ros.org) and source its setup.bash"
    )
