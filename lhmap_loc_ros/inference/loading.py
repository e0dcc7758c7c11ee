# SPDX-License-Identifier: Apache-2.0
"""From a model's name to a network that runs. What a backend needs is imported when it is chosen."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .choice import WITH_INT8, Backend, Precision, check_choice, gpu_number
from .cuda_run import import_cudart
from .gpu import find_gpu
from .model import DEFAULT_GRID, Grid, Model, import_onnx, read_network
from .models import find_model, int8_file
from .onnx_backend import OnnxModel
from .tensorrt_package import PACKAGES, import_tensorrt

_log = logging.getLogger(__name__)


def load_model(
    name: str | Path,
    backend: Backend | str = Backend.AUTO,
    precision: Precision | str = Precision.FP32,
    device: str = "auto",
    threads: int = 0,
    wait: bool = True,
    grid: Grid = DEFAULT_GRID,
) -> Model:
    """Load a network by file path or by the name of a shipped one.

    `device`: auto, cpu, cuda or cuda:NUMBER. `threads` of the CPU; 0: as available. Without `wait` a TensorRT engine
    that is not in the cache yet is built in the background, and ONNX Runtime answers meanwhile.
    `grid`: width and height of the images of a network that takes any.
    With backend auto on a machine without TensorRT, fp16 means fp32: CPUs are slower in half precision.

    Raises ModelError for a file that is not usable, a choice that does not go together, and a backend that is not
    there.
    """
    try:
        backend, precision = Backend(backend), Precision(precision)
    except ValueError as error:
        raise ModelError(f"{error}, expected one of {_values(Backend)} and one of {_values(Precision)}") from None
    check_choice(backend, precision, device)
    path, gpu = find_model(name), gpu_number(device)
    if backend is Backend.AUTO:
        backend = choose(device)
        if precision is Precision.FP16 and backend is not Backend.TENSORRT:
            precision = Precision.FP32
    if precision is Precision.AUTO:
        eight_bits = backend in WITH_INT8 and gpu is None and int8_file(path).is_file()
        precision = Precision.INT8 if eight_bits else Precision.FP32
    return _LOADERS[backend](path, precision.value, gpu, threads, wait, grid)


def choose(device: str) -> Backend:
    """What auto means on this machine."""
    if device == "cpu" or not any(importlib.util.find_spec(package) for package in PACKAGES):
        return Backend.ONNXRUNTIME
    gpu = find_gpu(gpu_number(device) or 0)
    if gpu is None:
        return Backend.ONNXRUNTIME
    from .engine_cache import EngineCache
    from .engines import Engines

    try:
        Engines(import_tensorrt(), gpu.sm, EngineCache())
        import_cudart()
        import_onnx()
    except ModelError as error:
        _log.warning("TensorRT is not used: %s", error)
        return Backend.ONNXRUNTIME
    return Backend.TENSORRT


def _load_onnxruntime(path: Path, precision: str, gpu: int | None, threads: int, wait: bool, grid: Grid) -> Model:
    return OnnxModel(path, precision, gpu, threads, grid)


def _load_openvino(path: Path, precision: str, gpu: int | None, threads: int, wait: bool, grid: Grid) -> Model:
    from .openvino_backend import OpenVinoModel

    return OpenVinoModel(read_network(path, grid), precision, threads, grid)


def _load_torch(path: Path, precision: str, gpu: int | None, threads: int, wait: bool, grid: Grid) -> Model:
    from .torch_backend import TorchModel

    return TorchModel(read_network(path, grid), gpu, threads)


def _load_tensorrt(path: Path, precision: str, gpu: int | None, threads: int, wait: bool, grid: Grid) -> Model:
    from .tensorrt_backend import load_tensorrt

    return load_tensorrt(path, precision, gpu or 0, threads, wait, grid)


_LOADERS = {
    Backend.ONNXRUNTIME: _load_onnxruntime,
    Backend.OPENVINO: _load_openvino,
    Backend.TORCH: _load_torch,
    Backend.TENSORRT: _load_tensorrt,
}


def _values(kind: Any) -> str:
    return ", ".join(member.value for member in kind)
