# SPDX-License-Identifier: Apache-2.0
"""What is written down about dependencies is what the code imports."""

import ast
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lhmap_loc_ros import __version__, extras

ROOT = Path(__file__).resolve().parent.parent
MODULES = {
    "numpy": "numpy", "scipy": "scipy", "numba": "numba", "cv2": "opencv-python-headless", "yaml": "pyyaml",
    "pydantic": "pydantic", "annotated_types": "pydantic", "onnxruntime": "onnxruntime",
}  # fmt: skip
"""The modules that localizing needs, and the packages that bring them."""
ROS_MODULES = {"tf2_ros": "tf2_ros_py"}
"""ROS modules whose package has another name."""
OTHER_NAMES = {"PIL": "pillow"}
"""Modules of extras whose package has another name."""
OPTIONAL = {"pyarrow", "distributed", "dask", "openvino", "tensorrt", "tensorrt_rtx", "tensorrt_lean", "cuda", "onnx"}
"""Modules of further extras: each import says for itself what to install."""


def described():
    """CORE and EXTRAS of setup.py, without running it."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(assigned["CORE"]), ast.literal_eval(assigned["EXTRAS"])


def imported(folder):
    """The first names of all modules that the Python files of a folder import from elsewhere."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"lhmap_loc_ros"}


def ros_packages(kind):
    return {entry.text for entry in ElementTree.parse(ROOT / "package.xml").getroot().iter(kind)}


def is_of_ros(name):
    return name.endswith(("_msgs", "_interfaces", "_srvs", "_ros")) or name in {
        "rclpy", "launch", "sensor_msgs_py", "cv_bridge", "tf_transformations", "ament_index_python",
    }  # fmt: skip


def test_every_module_is_of_the_core_of_an_extra_or_of_ros():
    unknown = {
        name for name in imported(ROOT / "lhmap_loc_ros") if not is_of_ros(name)
    } - MODULES.keys() - extras.EXTRAS.keys() - OPTIONAL  # fmt: skip
    assert not unknown


def test_setup_installs_what_modules_need():
    core, groups = described()
    names = {need.partition(">")[0] for need in core}
    assert names == set(MODULES.values())
    for module, extra in extras.EXTRAS.items():
        words = [need.replace("-", "_") for need in groups[extra]]
        assert any(need.startswith(OTHER_NAMES.get(module, module)) for need in words), module


@pytest.mark.parametrize("folder", ["lhmap_loc_ros", "launch"])
def test_package_xml_names_the_ros_packages_that_are_imported(folder):
    used = {ROS_MODULES.get(name, name) for name in imported(ROOT / folder) if is_of_ros(name)}
    assert used <= ros_packages("exec_depend")


def test_the_version_is_that_of_package_xml():
    assert __version__ == ElementTree.parse(ROOT / "package.xml").findtext("version")
