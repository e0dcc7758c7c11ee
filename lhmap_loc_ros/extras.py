# SPDX-License-Identifier: Apache-2.0
"""Packages that only a part of this one needs: `pip install 'lhmap_loc_ros[EXTRA]'` brings those of an extra."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

EXTRAS = {
    "rosbags": "map", "kiss_icp": "map",
    "laspy": "clouds", "lazrs": "clouds", "plyfile": "clouds", "pypcd4": "clouds",
    "embreex": "sim",
    "open3d": "open3d",
    "matplotlib": "viz", "plotly": "viz", "PIL": "viz",
    "typer": "cli", "rich": "cli",
    "torch": "train", "safetensors": "train", "lightning_fabric": "train", "tensorboard": "train",
    "onnxscript": "train",
}  # fmt: skip
"""The extra that brings each module; setup.py says which packages are in it."""


ROS = frozenset({
    "rclpy", "tf2_ros", "tf2_msgs", "sensor_msgs_py", "tf_transformations", "launch", "launch_ros",
    "builtin_interfaces", "diagnostic_msgs", "geometry_msgs", "lifecycle_msgs", "nav_msgs", "rcl_interfaces",
    "rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs",
})  # fmt: skip
"""Modules that come with ROS 2, not by pip."""


def missing(error: ImportError) -> str:
    """One line that names the module whose absence an error tells, and what brings it; "" for any other error."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError):
        return ""
    if module in ROS:
        return (
            f"{module} of ROS 2 is not there: source /opt/ros/DISTRO/setup.bash, or where ROS 2 is not installed run "
            "`make setup` in a clone and use .venv/bin/lhmap"
        )
    if module not in EXTRAS:
        return ""
    if module == "embreex" and platform.machine() == "aarch64":
        return "embreex has no wheel for 64-bit Arm: simulate on another machine, and copy the bags"
    return f"{module} is not installed: pip install 'lhmap_loc_ros[{EXTRAS[module]}]'"


@contextmanager
def names_extra() -> Iterator[None]:
    """Imports in the block that fail for want of a module of an extra say which; raises ImportError then as well."""
    try:
        yield
    except ModuleNotFoundError as error:
        if line := missing(error):
            raise ModuleNotFoundError(line, name=error.name) from error
        raise


def require_ros() -> None:
    """Raises the ModuleNotFoundError that an import of rclpy would, at once; for whoever needs it later."""
    if find_spec("rclpy") is None:
        raise ModuleNotFoundError("No module named 'rclpy'", name="rclpy")
