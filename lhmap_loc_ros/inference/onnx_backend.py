# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime on the CPU."""

from __future__ import annotations

import hashlib
import json
import os
from functools import cache
from pathlib import Path

import numpy as np

from ..errors import ModelError
from .models import find_model

METADATA_KEY = "lhmap"
"""Key of the ONNX metadata that holds this package's settings as JSON."""


MOST_THREADS = 4
"""More gain these small networks nothing."""


def available_threads() -> int:
    """One thread for each core that this process may use, at most `MOST_THREADS`."""
    return min(len(os.sched_getaffinity(0)), MOST_THREADS)


@cache
def _share_arena() -> None:
    """Registers the memory that all networks of this process share."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    by_request = 1
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": by_request}))


class Model:
    """A network with named inputs and outputs of fixed shape, float32."""

    def __init__(self, path: Path, threads: int):
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_threads()
        options.inter_op_num_threads = 1
        # a spinning pool would take the cores from decoding, projection and the middleware
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        # a few networks run in turn: one arena that grows by what is asked for serves them all
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.enable_mem_pattern = False
        content = path.read_bytes()
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises its own, unrelated exception types
            raise ModelError(f"{path} is not a usable ONNX network: {str(error).splitlines()[0]}") from error
        self.path = path
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.inputs = {i.name: tuple(i.shape) for i in self._session.get_inputs()}
        self.outputs = [o.name for o in self._session.get_outputs()]
        raw = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY, "{}")
        self.metadata: dict = json.loads(raw)

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name. Raises ModelError for a missing input or a wrong shape."""
        for name, shape in self.inputs.items():
            found = inputs[name].shape if name in inputs else None
            if found != shape:
                raise ModelError(f"{self.path.name}: input {name!r} has shape {found}, expected {shape}")
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


def load_model(name: str | Path, threads: int = 0) -> Model:
    """Load a network by file path or by the name of a shipped one; raises ModelError. 0 `threads`: as available."""
    return Model(find_model(name), threads)
