# SPDX-License-Identifier: Apache-2.0
"""For all tests: DDS traffic stays on this machine and apart from that of other runs; scripts in tools/ as modules."""

import importlib.util
import logging
import os
import random
from pathlib import Path

import pytest

# before rclpy starts; child processes inherit it
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 101))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# launch's plugins of pytest, which a ROS installation brings, replace the class by one that does not propagate
logging.setLoggerClass(logging.Logger)

OPTIONAL = ("torch", "onnx", "onnxscript", "hypothesis", "safetensors", "lightning_fabric", "pyarrow", "openvino")
"""Packages that an installation may lack: tests that need one are skipped where it is missing, by its name."""


def _missing(error) -> str:
    """The name of the optional package whose absence an error, or its cause, tells; else ""."""
    while error is not None:
        name = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and name in OPTIONAL:
            return name
        error = error.__cause__
    return ""


class _Module(pytest.Module):
    def collect(self):
        try:
            return super().collect()
        except self.CollectError as error:
            if name := _missing(error):
                pytest.skip(f"{name} is not installed", allow_module_level=True)
            raise


def pytest_pycollect_makemodule(module_path, parent):
    return _Module.from_parent(parent, path=module_path)


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    outcome = yield
    if outcome.excinfo and (name := _missing(outcome.excinfo[1])):
        outcome.force_exception(pytest.skip.Exception(f"{name} is not installed"))


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


@pytest.fixture(scope="session")
def untrained_flow(tmp_path_factory):
    """A flow network that knows nothing, and the folder that it is exported to with a covariance of its own.

    Once for all tests: it takes half a minute.
    """
    torch = pytest.importorskip("torch")
    from dataclasses import asdict

    from lhmap_loc_ros.localization.covariance import METADATA_KEY, CovarianceModel, StartCovariances
    from lhmap_loc_ros.networks.flow import FlowNet
    from lhmap_loc_ros.training.export import export_flow

    torch.manual_seed(0)
    # the files hold half precision: with weights that fit into it both sides compute the same
    net = FlowNet().eval().half().float()
    covariance = StartCovariances(near=CovarianceModel(log_scale=(2.0,) * 6, step_power=(0.5,) * 6))
    folder = tmp_path_factory.mktemp("untrained")
    export_flow(net, folder, "flow", 160, 64, {METADATA_KEY: asdict(covariance)})
    return net, covariance, folder
