# SPDX-License-Identifier: Apache-2.0
"""For all tests: DDS traffic stays on this machine and apart from that of other runs; scripts in tools/ as modules."""

import importlib.util
import os
import random
from pathlib import Path

import pytest

# before rclpy starts; child processes inherit it
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"


@pytest.fixture
def load_tool(monkeypatch):
    """Imports the script tools/NAME.py anew."""
    tools = Path(__file__).resolve().parent.parent / "tools"
    monkeypatch.syspath_prepend(tools)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, tools / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
