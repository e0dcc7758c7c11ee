# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, on the CPU or by CUDA."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from .model import DEFAULT_GRID, Grid, Model, free_sizes, parse_metadata
from .models import INT8_OF, check_int8_file, existing_int8_file

MAX_THREADS = 4
"""More gain these small networks nothing."""
_FIRST_PIECE = 24 << 20
"""Bytes."""


def available_threads() -> int:
    """One thread for each core that this process may use, at most `MAX_THREADS`."""
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


@cache
def _share_arena() -> None:
    """Registers the memory that all networks of this process share.

    It begins with a piece that holds what a tracked image takes: parts of one piece join again when they are free. In
    pieces as small as what was asked for, each time that two networks fall together in another way takes some more.
    """
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"initial_chunk_size_bytes": _FIRST_PIECE}))


def _options(threads: int) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # a spinning pool would take the cores from decoding, projection and the middleware
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # a few networks run in turn: one arena serves them all
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.enable_mem_pattern = False
    return options


def _providers(gpu: int | None) -> list[Any]:
    """What computes, in order of preference; raises ModelError where CUDA is asked for and is not there."""
    import onnxruntime as ort

    cpu = "CPUExecutionProvider"
    if gpu is None:
        return [cpu]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise ModelError(
            f"ONNX Runtime {ort.__version__} here has no CUDA (it has {', '.join(ort.get_available_providers())}): "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    # single precision means that, not TensorFloat-32
    return [("CUDAExecutionProvider", {"device_id": gpu, "use_tf32": 0}), cpu]


class OnnxModel(Model):
    """A network in ONNX Runtime."""

    def __init__(
        self, path: Path, precision: str = "fp32", gpu: int | None = None, threads: int = 0, grid: Grid = DEFAULT_GRID
    ):
        """`gpu`: number of the GPU, None for the CPU, which emulates fp16. Raises ModelError for an unusable file."""
        import onnxruntime as ort

        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        threads = threads or available_threads()
        sizes = free_sizes(grid)
        self._session = _session(path, content, precision, _providers(gpu), threads, sizes)
        self.cpu_threads = threads if gpu is None else 0
        metadata = parse_metadata(self._session.get_modelmeta().custom_metadata_map)
        made_of = metadata.pop(INT8_OF, None)
        if precision == "int8":
            check_int8_file(path, sha256, made_of)
        # CUDA that cannot start leaves the CPU, without an error
        if gpu is not None and "CUDAExecutionProvider" not in self._session.get_providers():
            raise ModelError(f"{path}: ONNX Runtime {ort.__version__} could not start CUDA on GPU {gpu}")
        super().__init__(
            path=path,
            sha256=sha256,
            inputs={i.name: tuple(sizes.get(n, n) for n in i.shape) for i in self._session.get_inputs()},
            outputs=[o.name for o in self._session.get_outputs()],
            metadata=metadata,
            backend="ONNX Runtime, CPU" if gpu is None else f"ONNX Runtime, CUDA GPU {gpu}",
            precision=precision,
        )

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        options = None if self.keeps_memory else _giving_back()
        return dict(zip(self.outputs, self._session.run(None, inputs, options), strict=True))


def _giving_back() -> Any:
    """Options of a run after which the shared arena returns what no other network uses."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def _session(
    path: Path, content: bytes, precision: str, providers: list[Any], threads: int, sizes: dict[str, int]
) -> Any:
    import onnxruntime as ort

    if precision == "fp16":
        from .half_precision import to_half_precision

        content = to_half_precision(content, emulated=len(providers) == 1)
    elif precision == "int8":
        path = existing_int8_file(path)
        content = path.read_bytes()
    options = _options(threads)
    # fixed when the network is loaded, they cost no time when it runs
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    try:
        return ort.InferenceSession(content, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises its own, unrelated exception types
        raise ModelError(f"{path} is not a usable ONNX network: {str(error).splitlines()[0]}") from error
