# SPDX-License-Identifier: Apache-2.0
"""A TensorRT engine on a GPU: buffers that are made once, one stream, and the whole run as one CUDA graph."""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ModelError
from .model import Shape

_WARM_UPS = 2
_log = logging.getLogger(__name__)


def import_cudart() -> Any:
    """The CUDA runtime of cuda-python; raises ModelError that tells how to get it."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise ModelError("backend tensorrt needs cuda-python: pip install cuda-python") from None
    return runtime


@dataclass(frozen=True)
class _Buffer:
    """A tensor in pinned host memory and on the device."""

    host: np.ndarray
    host_address: int
    device_address: int

    @property
    def bytes(self) -> int:
        return self.host.nbytes


class CudaRun:
    """Runs an execution context with fixed shapes. One run at a time: callers wait for each other."""

    def __init__(self, cudart: Any, context: Any, gpu: int, inputs: dict[str, Shape], outputs: dict[str, Shape]):
        """`context`: of an engine whose tensors are float32. Raises ModelError where CUDA or TensorRT fails."""
        self._cudart, self._context, self._gpu = cudart, context, gpu
        self._lock = threading.Lock()
        self._others_stream: int | None = None
        self._use_gpu()
        self._stream = self._checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        kept = {"stream": self._stream, "buffers": [], "graphs": []}
        # released when this object goes, or the process ends
        weakref.finalize(self, _release, cudart, gpu, kept)
        self._inputs = {name: self._buffer(shape, kept) for name, shape in inputs.items()}
        self._outputs = {name: self._buffer(shape, kept) for name, shape in outputs.items()}
        for name, buffer in {**self._inputs, **self._outputs}.items():
            if not context.set_tensor_address(name, buffer.device_address):
                raise ModelError(f"TensorRT takes no memory for its tensor {name!r}")
        # the first runs load and compile kernels, which no graph may hold
        for _ in range(_WARM_UPS):
            self._enqueue(self._stream)
            self._wait(self._stream)
        self._graph = self._capture(self._enqueue, kept)
        self._graph_on_device = self._capture(self._compute, kept)

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, in memory of their own: that of the run is written again by the next one."""
        with self._lock:
            self._use_gpu()
            if self._others_stream is not None:
                # the buffers may still be in use there
                self._wait(self._others_stream)
                self._others_stream = None
            for name, buffer in self._inputs.items():
                np.copyto(buffer.host, inputs[name])
            self._launch(self._graph, self._enqueue, self._stream)
            self._wait(self._stream)
            return {name: buffer.host.copy() for name, buffer in self._outputs.items()}

    def on_device(self, inputs: dict[str, int], outputs: dict[str, int], stream: int) -> None:
        """Puts a run on a stream of the caller's, from and to memory of the caller's on the device (addresses).

        Does not wait: what is put on that stream afterwards finds the outputs.
        """
        with self._lock:
            self._use_gpu()
            kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
            for name, b in self._inputs.items():
                self._copy(b.device_address, inputs[name], b.bytes, kind, stream)
            self._launch(self._graph_on_device, self._compute, stream)
            for name, b in self._outputs.items():
                self._copy(outputs[name], b.device_address, b.bytes, kind, stream)
            self._others_stream = stream

    def _launch(self, graph: Any, enqueue: Callable[[int], None], stream: int) -> None:
        """What the graph holds; where there is none, one by one."""
        if graph is None:
            enqueue(stream)
        else:
            self._checked(self._cudart.cudaGraphLaunch(graph, stream))

    def _enqueue(self, stream: int) -> None:
        """Puts a run on a stream: copy in, compute, copy out."""
        kinds = self._cudart.cudaMemcpyKind
        for b in self._inputs.values():
            self._copy(b.device_address, b.host_address, b.bytes, kinds.cudaMemcpyHostToDevice, stream)
        self._compute(stream)
        for b in self._outputs.values():
            self._copy(b.host_address, b.device_address, b.bytes, kinds.cudaMemcpyDeviceToHost, stream)

    def _compute(self, stream: int) -> None:
        if not self._context.execute_async_v3(int(stream)):
            raise ModelError("TensorRT could not run the engine")

    def _copy(self, to: int, source: int, size: int, kind: Any, stream: int) -> None:
        self._checked(self._cudart.cudaMemcpyAsync(to, source, size, kind, stream))

    def _capture(self, enqueue: Callable[[int], None], kept: dict[str, Any]) -> Any:
        """What `enqueue` puts on a stream as a graph; None where it cannot be one."""
        capturable = getattr(self._context, "is_stream_capturable", None)
        if capturable is not None and not capturable(int(self._stream)):
            _log.info("the engine does not fit into a CUDA graph")
            return None
        # of this thread: others may use CUDA meanwhile
        mode = self._cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._checked(self._cudart.cudaStreamBeginCapture(self._stream, mode))
        problem = None
        try:
            enqueue(self._stream)
        except ModelError as error:
            problem = error
        status, graph = self._cudart.cudaStreamEndCapture(self._stream)
        if problem is not None or status != self._cudart.cudaError_t.cudaSuccess:
            _log.warning("the engine runs without a CUDA graph: %s", problem or status)
            return None
        runnable = self._checked(self._cudart.cudaGraphInstantiate(graph, 0))
        kept["graphs"].append(runnable)
        self._checked(self._cudart.cudaGraphDestroy(graph))
        return runnable

    def _buffer(self, shape: Shape, kept: dict[str, Any]) -> _Buffer:
        count = int(np.prod(shape))
        size = count * np.dtype(np.float32).itemsize
        host = int(self._checked(self._cudart.cudaHostAlloc(size, self._cudart.cudaHostAllocDefault)))
        kept["buffers"].append((self._cudart.cudaFreeHost, host))
        device = int(self._checked(self._cudart.cudaMalloc(size)))
        kept["buffers"].append((self._cudart.cudaFree, device))
        values = np.ctypeslib.as_array((ctypes.c_float * count).from_address(host)).reshape(shape)
        values[:] = 0
        return _Buffer(values, host, device)

    def _wait(self, stream: int) -> None:
        self._checked(self._cudart.cudaStreamSynchronize(stream))

    def _use_gpu(self) -> None:
        """CUDA keeps the current GPU for each thread."""
        self._checked(self._cudart.cudaSetDevice(self._gpu))

    def _checked(self, result: tuple[Any, ...]) -> Any:
        """What a CUDA function gave; raises ModelError in CUDA's words if it failed."""
        status, *values = result
        if status != self._cudart.cudaError_t.cudaSuccess:
            raise ModelError(f"CUDA on GPU {self._gpu} failed: {status.name}")
        return values[0] if values else None


def _release(cudart: Any, gpu: int, kept: dict[str, Any]) -> None:
    """Gives back what a run holds; errors are not reported any more."""
    cudart.cudaSetDevice(gpu)
    cudart.cudaStreamSynchronize(kept["stream"])
    for graph in kept["graphs"]:
        cudart.cudaGraphExecDestroy(graph)
    for free, address in kept["buffers"]:
        free(address)
    cudart.cudaStreamDestroy(kept["stream"])
