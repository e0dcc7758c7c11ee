# SPDX-License-Identifier: Apache-2.0
"""TensorRT on an NVIDIA GPU: the engine out of the cache, or built while ONNX Runtime answers."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError
from .cuda_run import CudaRun, import_cudart
from .engine_cache import EngineCache
from .engines import Engines
from .gpu import Gpu, find_gpu
from .model import Grid, Model, Network, read_network
from .onnx_backend import OnnxModel
from .tensorrt_build import Progress
from .tensorrt_package import import_tensorrt, logger, package_name
from .while_building import ModelWhileBuilding

_log = logging.getLogger(__name__)


def load_tensorrt(path: Path, precision: str, gpu_number: int, threads: int, wait: bool, grid: Grid) -> Model:
    """A network in TensorRT; see `load_model`. Raises ModelError where package or GPU are missing."""
    trt, cudart, gpu = import_tensorrt(), import_cudart(), find_gpu(gpu_number)
    if gpu is None:
        raise ModelError(
            f"backend tensorrt needs an NVIDIA GPU, and none answers as number {gpu_number}: "
            "nvidia-smi tells whether GPU and driver work"
        )
    engines = Engines(trt, gpu.sm, EngineCache())
    network = read_network(path, grid)

    def ready(progress: Progress) -> Model:
        # CUDA keeps the current GPU for each thread, and TensorRT builds for and runs on that one
        cudart.cudaSetDevice(gpu.number)
        try:
            return TensorRtModel(trt, cudart, gpu, network, precision, engines.obtain(network, precision, progress))
        except EngineUnusable as error:
            # whole, of the right key, and yet refused: once more from the beginning
            engines.discard(network, precision, str(error))
            return TensorRtModel(trt, cudart, gpu, network, precision, engines.obtain(network, precision, progress))

    if wait or engines.there(network, precision):
        return ready(_log_progress(path.stem))
    return ModelWhileBuilding(OnnxModel(path, threads=threads, grid=grid), ready)


class EngineUnusable(ModelError):
    """TensorRT does not take a serialized engine."""


class TensorRtModel(Model):
    """An engine on a GPU."""

    def __init__(self, trt: Any, cudart: Any, gpu: Gpu, network: Network, precision: str, engine: bytes):
        """Raises EngineUnusable for an engine of something else, ModelError where it does not run."""
        self._runtime = trt.Runtime(logger(trt))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            raise EngineUnusable(f"{package_name(trt)} does not take it: {'; '.join(logger(trt).errors)}")
        _check_tensors(trt, self._engine, network)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise ModelError(f"{network.path.name}: TensorRT has no memory for it on {gpu.name}")
        if importlib.util.find_spec("torch"):
            self.tensor_device = f"cuda:{gpu.number}"
        self._output_shapes = network.outputs
        self._compute = CudaRun(cudart, self._context, gpu.number, network.inputs, network.outputs)
        super().__init__(
            network.path, network.sha256, network.inputs, list(network.outputs), network.metadata,
            f"{package_name(trt)}, {gpu.name}", precision,
        )  # fmt: skip

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._compute(inputs)

    def _run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        import torch

        device = torch.device(self.tensor_device or "cuda")
        given = {name: value.contiguous() for name, value in inputs.items()}
        results = {name: torch.empty(shape, device=device) for name, shape in self._output_shapes.items()}
        sources, targets = ({name: value.data_ptr() for name, value in tensors.items()} for tensors in (given, results))
        self._compute.on_device(sources, targets, torch.cuda.current_stream(device).cuda_stream)
        return results


def _check_tensors(trt: Any, engine: Any, network: Network) -> None:
    """Raises EngineUnusable unless the engine has the network's inputs and outputs in single precision."""
    names = [engine.get_tensor_name(k) for k in range(engine.num_io_tensors)]
    found = {name: (tuple(engine.get_tensor_shape(name)), engine.get_tensor_dtype(name)) for name in names}
    expected = {name: (shape, trt.float32) for name, shape in {**network.inputs, **network.outputs}.items()}
    if found != expected:
        raise EngineUnusable(f"it has the tensors {found}, expected {expected}")


def _log_progress(name: str) -> Progress:
    """Logs each tenth of a build."""
    shown = -1

    def progress(done: int, total: int) -> bool:
        nonlocal shown
        if 10 * done // total > shown:
            shown = 10 * done // total
            _log.info("building the TensorRT engine of %s: %d %%", name, 100 * done // total)
        return True

    return progress
