# SPDX-License-Identifier: Apache-2.0
"""CUDA and a TensorRT execution context in plain memory, with the signatures of cuda-python and TensorRT.

It keeps the order of what is put on a stream, does nothing of it before the stream is waited for, records graphs, and
counts what is allocated and not given back.
"""

import ctypes
from enum import Enum
from types import SimpleNamespace

import numpy as np


class Status(Enum):
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorStreamCaptureUnsupported = 900


OK = (Status.cudaSuccess,)
OWN_STREAM, OTHERS_STREAM = 7, 11


class FakeCuda:
    """The functions of cuda.bindings.runtime that are used; each returns a status and what it made."""

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice="up", cudaMemcpyDeviceToHost="down", cudaMemcpyDeviceToDevice="aside"
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal="thread")
    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0

    def __init__(self, memory_bytes=1 << 24):
        self.left, self.memory, self.recording = memory_bytes, {}, None
        self.queues = {OWN_STREAM: [], OTHERS_STREAM: []}
        self.launches, self.allocations, self.streams, self.graphs, self.gpu = 0, 0, 0, 0, None

    def cudaSetDevice(self, device):
        self.gpu = device
        return OK

    def _allocate(self, size):
        if size > self.left:
            return Status.cudaErrorMemoryAllocation, None
        block = (ctypes.c_byte * size)()
        self.memory[ctypes.addressof(block)] = block
        self.left, self.allocations = self.left - size, self.allocations + 1
        return Status.cudaSuccess, ctypes.addressof(block)

    def cudaHostAlloc(self, size, flags):
        return self._allocate(size)

    def cudaMalloc(self, size):
        return self._allocate(size)

    def _free(self, address):
        del self.memory[address]
        return OK

    cudaFreeHost = cudaFree = _free

    def cudaStreamCreateWithFlags(self, flags):
        self.streams += 1
        return Status.cudaSuccess, OWN_STREAM

    def cudaStreamDestroy(self, stream):
        self.streams -= 1
        return OK

    def put(self, stream, work):
        (self.queues[stream] if self.recording is None else self.recording).append(work)

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        assert len(self.memory[dst]) == len(self.memory[src]) == count
        self.put(stream, lambda: ctypes.memmove(dst, src, count))
        return OK

    def cudaStreamSynchronize(self, stream):
        for work in self.queues[stream]:
            work()
        self.queues[stream].clear()
        return OK

    def cudaStreamBeginCapture(self, stream, mode):
        self.recording = []
        return OK

    def cudaStreamEndCapture(self, stream):
        recorded, self.recording = self.recording, None
        self.graphs += 1
        return Status.cudaSuccess, recorded

    def cudaGraphInstantiate(self, graph, flags):
        self.graphs += 1
        return Status.cudaSuccess, list(graph)

    def cudaGraphDestroy(self, graph):
        self.graphs -= 1
        return OK

    def cudaGraphExecDestroy(self, graph):
        self.graphs -= 1
        return OK

    def cudaGraphLaunch(self, graph, stream):
        self.launches += 1
        self.queues[stream] += graph
        return OK


class FakeContext:
    """Adds its inputs `a` and `b` of one shape into `sum`."""

    def __init__(self, cuda, capturable=True, works=True):
        self.cuda, self.addresses, self.capturable, self.works = cuda, {}, capturable, works
        self.enqueued = 0

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return True

    def is_stream_capturable(self, stream):
        return self.capturable

    def execute_async_v3(self, stream_handle):
        self.enqueued += 1
        a, b, total = (self.floats(name) for name in ("a", "b", "sum"))
        self.cuda.put(stream_handle, lambda: np.copyto(total, a + b))
        return self.works

    def floats(self, name):
        return np.frombuffer(self.cuda.memory[self.addresses[name]], np.float32)
