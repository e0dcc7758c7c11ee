# SPDX-License-Identifier: Apache-2.0
"""What `from lhmap_loc_ros import ...` offers, and what it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lhmap_loc_ros


def fresh(program):
    """What a program prints that a new interpreter runs."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there_and_documented():
    for name in lhmap_loc_ros.__all__:
        value = getattr(lhmap_loc_ros, name)
        assert value.__name__ == name and value.__doc__, name
        assert name in dir(lhmap_loc_ros)
    with pytest.raises(AttributeError, match="no attribute 'Elephant'"):
        _ = lhmap_loc_ros.Elephant


def test_what_type_checkers_see_is_what_is_there():
    tree = ast.parse(Path(lhmap_loc_ros.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {f"{node.module}.{alias.name}" for node in block.body[1:] for alias in node.names}
    assert seen == {f"{module}.{name}" for name, module in lhmap_loc_ros._WHERE.items()}
    assert sorted(lhmap_loc_ros.__all__) == sorted(lhmap_loc_ros._WHERE)


def test_importing_the_package_imports_nothing_large():
    program = "import sys, lhmap_loc_ros; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = fresh(program).split()
    assert not {"numpy", "scipy", "numba", "cv2", "pydantic", "onnxruntime", "rclpy", "torch"} & set(loaded)


def test_localizing_needs_neither_ros_nor_pytorch_nor_what_extras_bring():
    extras = fresh("from lhmap_loc_ros.extras import EXTRAS; print(*EXTRAS)").split()
    program = f"""
import sys
sys.modules |= dict.fromkeys(["rclpy", *{extras}])  # imports of these fail
from lhmap_loc_ros import Camera, LHMap, Localizer, LocalizerConfig, PosedCamera
from lhmap_loc_ros.localization.refine import Refiner
from lhmap_loc_ros.inference.onnx_backend import OnnxModel
"""
    fresh(program)


def test_what_an_extra_brings_is_named_where_it_is_missing():
    program = """
import sys
sys.modules["rosbags"] = None
try:
    from lhmap_loc_ros import build_map
except ImportError as error:
    print(error)
"""
    assert fresh(program) == "rosbags is not installed: pip install 'lhmap_loc_ros[map]'\n"


def test_the_page_of_the_interface_has_every_name():
    page = (Path(lhmap_loc_ros.__file__).parents[1] / "docs" / "api.md").read_text()
    for name, module in lhmap_loc_ros._WHERE.items():
        entry = "lhmap_loc_ros.errors" if module == "errors" else f"lhmap_loc_ros.{module}.{name}"
        assert f"::: {entry}\n" in page, name
