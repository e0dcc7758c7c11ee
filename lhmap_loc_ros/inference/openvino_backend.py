# SPDX-License-Identifier: Apache-2.0
"""OpenVINO, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ModelError
from .model import DEFAULT_GRID, Grid, Model, Network, read_network
from .models import INT8_OF, check_int8_file, existing_int8_file
from .onnx_backend import available_threads

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""By precision, what OpenVINO computes in where the network does not say: an int8 file does."""


class OpenVinoModel(Model):
    """A network compiled by OpenVINO."""

    def __init__(self, network: Network, precision: str, threads: int, grid: Grid = DEFAULT_GRID):
        """Raises ModelError where OpenVINO is missing, or the CPU cannot compute in that precision."""
        try:
            import openvino
        except ImportError:
            raise ModelError("backend openvino needs OpenVINO: pip install openvino onnx") from None
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads or available_threads(),
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
        }
        core = openvino.Core()
        used_file = _int8(network, grid) if precision == "int8" else network
        try:
            compiled = core.compile_model(core.read_model(used_file.content, b""), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{used_file.path}: OpenVINO cannot use it: {str(error).splitlines()[0]}") from error
        used = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        if used != _HINTS[precision]:
            raise ModelError(f"precision {precision} asked for, but OpenVINO uses {used}: this CPU does not have it")
        self._requests = _PerThread(compiled.create_infer_request)
        super().__init__(
            network.path, network.sha256, network.inputs, list(network.outputs), network.metadata,
            f"OpenVINO {openvino.__version__.split('-')[0]}, CPU", precision,
        )  # fmt: skip

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        results = self._requests.get().infer(inputs)
        # the request's own memory is written again by its next run
        return {name: np.array(results[name]) for name in self.outputs}


def _int8(network: Network, grid: Grid) -> Network:
    """The same network with convolutions in 8 bits; raises ModelError where there is none that was made of it."""
    found = read_network(existing_int8_file(network.path), grid)
    check_int8_file(network.path, network.sha256, found.metadata.get(INT8_OF))
    return found


class _PerThread:
    """One object for each thread that asks."""

    def __init__(self, make: Callable[[], Any]):
        self._make, self._local = make, threading.local()

    def get(self) -> Any:
        if not hasattr(self._local, "made"):
            self._local.made = self._make()
        return self._local.made
