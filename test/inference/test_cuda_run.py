# SPDX-License-Identifier: Apache-2.0
"""How an engine is run, on a stand-in of CUDA: order of copies, the graph, memory given back, errors."""

import gc
import threading

import numpy as np
import pytest
from helpers.fake_cuda import OTHERS_STREAM, FakeContext, FakeCuda, Status

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference.cuda_run import CudaRun

SHAPE = (2, 3)


def start(cuda, context):
    return CudaRun(cuda, context, 1, {"a": SHAPE, "b": SHAPE}, {"sum": SHAPE})


def numbers(value):
    return {"a": np.full(SHAPE, value, np.float32), "b": np.arange(6, dtype=np.float32).reshape(SHAPE)}


@pytest.fixture
def cuda():
    return FakeCuda()


@pytest.mark.parametrize("capturable", [True, False])
def test_each_run_gives_the_result_of_its_own_inputs(cuda, capturable):
    context = FakeContext(cuda, capturable)
    run = start(cuda, context)
    first = run(numbers(10))["sum"]
    second = run(numbers(20))["sum"]
    np.testing.assert_array_equal(first, 10 + np.arange(6).reshape(SHAPE))
    np.testing.assert_array_equal(second, 20 + np.arange(6).reshape(SHAPE))
    assert cuda.gpu == 1 and cuda.launches == (2 if capturable else 0)


def test_a_run_launches_the_graph_and_allocates_nothing(cuda):
    context = FakeContext(cuda)
    run = start(cuda, context)
    allocations, enqueued = cuda.allocations, context.enqueued
    assert allocations == 6 and enqueued == 4  # twice to warm up, twice recorded
    for value in range(5):
        run(numbers(value))
    assert (cuda.allocations, context.enqueued, cuda.launches) == (allocations, enqueued, 5)


class OnDevice:
    """Memory of somebody else's on the device."""

    def __init__(self, cuda):
        self.cuda = cuda
        self.addresses = {name: cuda.cudaMalloc(24)[1] for name in ("a", "b", "sum")}

    def run(self, run, value):
        for name, array in numbers(value).items():
            np.frombuffer(self.cuda.memory[self.addresses[name]], np.float32)[:] = array.ravel()
        inputs = {name: self.addresses[name] for name in ("a", "b")}
        run.on_device(inputs, {"sum": self.addresses["sum"]}, OTHERS_STREAM)

    @property
    def sum(self):
        return np.frombuffer(self.cuda.memory[self.addresses["sum"]], np.float32).reshape(SHAPE)


@pytest.mark.parametrize("capturable", [True, False])
def test_a_run_on_the_device_reads_and_writes_there_in_the_order_of_the_others_stream(cuda, capturable):
    run, there = start(cuda, FakeContext(cuda, capturable)), OnDevice(cuda)
    there.run(run, 5)
    assert not there.sum.any()  # nobody has waited yet
    cuda.cudaStreamSynchronize(OTHERS_STREAM)
    np.testing.assert_array_equal(there.sum, 5 + np.arange(6).reshape(SHAPE))
    assert cuda.launches == capturable


def test_a_run_from_memory_waits_for_one_on_the_device(cuda):
    run, there = start(cuda, FakeContext(cuda)), OnDevice(cuda)
    there.run(run, 5)
    assert run(numbers(9))["sum"][0, 0] == 9
    np.testing.assert_array_equal(there.sum, 5 + np.arange(6).reshape(SHAPE))


def test_inputs_need_not_be_contiguous(cuda):
    run = start(cuda, FakeContext(cuda))
    turned = {"a": np.arange(6, dtype=np.float32).reshape(3, 2).T, "b": np.zeros(SHAPE, np.float32)}
    np.testing.assert_array_equal(run(turned)["sum"], turned["a"])


def test_several_threads_take_turns(cuda):
    run, wrong = start(cuda, FakeContext(cuda)), []

    def ask(value):
        for _ in range(50):
            if run(numbers(value))["sum"][0, 0] != value:
                wrong.append(value)

    threads = [threading.Thread(target=ask, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_everything_is_given_back(cuda):
    run = start(cuda, FakeContext(cuda))
    run(numbers(1))
    assert (len(cuda.memory), cuda.streams, cuda.graphs) == (6, 1, 2)
    del run
    gc.collect()
    assert (len(cuda.memory), cuda.streams, cuda.graphs) == (0, 0, 0)


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(cuda, monkeypatch):
    monkeypatch.setattr(cuda, "cudaStreamEndCapture", lambda stream: _unsupported(cuda))
    run = start(cuda, FakeContext(cuda))
    assert run(numbers(3))["sum"][0, 0] == 3 and cuda.launches == 0


def _unsupported(cuda):
    cuda.recording = None
    return Status.cudaErrorStreamCaptureUnsupported, None


def test_memory_that_is_not_there_is_told_in_cudas_words_and_given_back():
    cuda = FakeCuda(memory_bytes=60)
    with pytest.raises(ModelError, match="CUDA on GPU 1 failed: cudaErrorMemoryAllocation"):
        start(cuda, FakeContext(cuda))
    gc.collect()
    assert (len(cuda.memory), cuda.streams) == (0, 0)


def test_an_engine_that_does_not_run_is_told(cuda):
    with pytest.raises(ModelError, match="TensorRT could not run the engine"):
        start(cuda, FakeContext(cuda, works=False))
