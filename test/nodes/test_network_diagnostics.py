# SPDX-License-Identifier: Apache-2.0
"""What /diagnostics tells of the networks: what really computes, engines being built, builds that failed."""

from types import SimpleNamespace

import pytest

from lhmap_loc_ros.inference import State
from lhmap_loc_ros.localization.refine import RefinerConfig
from lhmap_loc_ros.nodes.diagnostics import ERROR, OK, WARN, network_status


def network(backend="ONNX Runtime, CPU", precision="fp32", state=State.READY, status="loaded"):
    return SimpleNamespace(backend=backend, precision=precision, state=state, status=status)


BUILDING = network(state=State.BUILDING, status="the engine of flow_fine is being built, 40 %")
FAILED = network(state=State.FAILED, status="the engine of flow_fine could not be built: SM 61 is too old")
READY = network("TensorRT 11.0, a GPU", "fp16")


def told(networks, **config):
    status = network_status(RefinerConfig(**config), networks)
    return status.level, status.message, {v.key: v.value for v in status.values}


def test_networks_that_run_where_they_should_are_fine():
    level, message, values = told([READY] * 3, backend="tensorrt", precision="fp16")
    assert (level, message) == (OK, "loaded")
    assert values == {
        "model": "flow", "backend": "TensorRT 11.0, a GPU", "precision": "fp16",
        "asked_for": "tensorrt, fp16, device auto",
    }  # fmt: skip


def test_an_engine_being_built_is_a_warning_that_tells_what_serves():
    level, message, values = told([READY, READY, BUILDING], precision="fp16")
    assert (level, message) == (WARN, BUILDING.status)
    assert values["backend"] == "TensorRT 11.0, a GPU; ONNX Runtime, CPU" and values["precision"] == "fp16; fp32"


@pytest.mark.parametrize("others", [[READY, READY], [READY, BUILDING]])
def test_a_build_that_failed_is_an_error_in_its_words(others):
    level, message, values = told([*others, FAILED])
    assert level == ERROR and "SM 61 is too old" in message
    assert "ONNX Runtime, CPU" in values["backend"]
