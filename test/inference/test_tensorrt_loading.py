# SPDX-License-Identifier: Apache-2.0
"""From ONNX to a network on a GPU, on stand-ins of TensorRT's runtime and of CUDA."""

from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_cuda import FakeContext, FakeCuda

onnx = pytest.importorskip("onnx")

from lhmap_loc_ros.inference import State, tensorrt_backend
from lhmap_loc_ros.inference.engine_cache import EngineCache
from lhmap_loc_ros.inference.gpu import Gpu
from lhmap_loc_ros.inference.tensorrt_backend import load_tensorrt

SHAPE = (2, 3)
GRID = (608, 176)
"""Of no use to a network of fixed sizes."""
GPU = Gpu(0, "a GPU", 86)
TENSORS = {"a": SHAPE, "b": SHAPE, "sum": SHAPE}


class FakeEngine:
    """An engine that adds."""

    num_io_tensors = 3

    def __init__(self, cuda):
        self._cuda = cuda

    def get_tensor_name(self, k):
        return list(TENSORS)[k]

    def get_tensor_shape(self, name):
        return TENSORS[name]

    def get_tensor_dtype(self, name):
        return "float32"

    def create_execution_context(self):
        return FakeContext(self._cuda)


class Module(SimpleNamespace):
    """What can be a key, as modules can."""

    __hash__ = object.__hash__


def fake_tensorrt(cuda):
    """A TensorRT whose engines are the bytes b"adds"; it refuses others."""

    class Runtime:
        def __init__(self, logger):
            pass

        def deserialize_cuda_engine(self, engine):
            return FakeEngine(cuda) if engine == b"adds" else None

    class ILogger:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    return Module(__name__="tensorrt", __version__="11.0", Runtime=Runtime, ILogger=ILogger, float32="float32")


@pytest.fixture
def network(tmp_path):
    """An ONNX file that adds."""
    values = {n: onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, SHAPE) for n in TENSORS}
    node = onnx.helper.make_node("Add", ["a", "b"], ["sum"])
    graph = onnx.helper.make_graph([node], "adds", [values["a"], values["b"]], [values["sum"]])
    path = tmp_path / "adds.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """The engines that builds will give, in order; the machine has a GPU."""
    cuda, engines = FakeCuda(), []
    monkeypatch.setenv("LHMAP_CACHE", str(tmp_path))
    trt = fake_tensorrt(cuda)
    monkeypatch.setattr(tensorrt_backend, "import_tensorrt", lambda: trt)
    monkeypatch.setattr(tensorrt_backend, "import_cudart", lambda: cuda)
    monkeypatch.setattr(tensorrt_backend, "find_gpu", lambda number: GPU)
    monkeypatch.setattr("lhmap_loc_ros.inference.engines.build_engine", lambda *words: engines.pop(0))
    return engines


INPUTS = {"a": np.full(SHAPE, 2, np.float32), "b": np.full(SHAPE, 3, np.float32)}


def test_an_engine_is_built_kept_and_run(network, builds):
    builds.append(b"adds")
    for _ in range(2):
        model = load_tensorrt(network, "fp32", 0, 1, wait=True, grid=GRID)
        np.testing.assert_array_equal(model.run(INPUTS)["sum"], np.full(SHAPE, 5))
    assert (model.backend, model.precision, model.state) == ("tensorrt 11.0, a GPU", "fp32", State.READY)
    assert [entry.target for entry in EngineCache().entries()] == ["sm86"]


def test_onnx_runtime_serves_until_the_engine_is_there(network, builds):
    builds.append(b"adds")
    model = load_tensorrt(network, "fp32", 0, 1, wait=False, grid=GRID)
    np.testing.assert_array_equal(model.run(INPUTS)["sum"], np.full(SHAPE, 5))
    model.wait(10)
    assert (model.backend, model.state) == ("tensorrt 11.0, a GPU", State.READY)
    # the next start need not wait
    assert load_tensorrt(network, "fp32", 0, 1, wait=False, grid=GRID).backend == "tensorrt 11.0, a GPU"


def test_an_engine_that_tensorrt_refuses_is_built_again(network, builds, caplog):
    builds += [b"of another driver", b"adds"]
    assert load_tensorrt(network, "fp32", 0, 1, wait=True, grid=GRID).run(INPUTS)["sum"][0, 0] == 5
    assert not builds and "tensorrt 11.0 does not take it" in caplog.text


def test_a_gpu_without_memory_leaves_onnx_runtime(network, builds, monkeypatch):
    builds.append(b"adds")
    monkeypatch.setattr(tensorrt_backend, "import_cudart", lambda: FakeCuda(memory_bytes=10))
    model = load_tensorrt(network, "fp32", 0, 1, wait=False, grid=GRID)
    model.wait(10)
    assert model.state is State.FAILED and "cudaErrorMemoryAllocation" in model.status
    assert model.run(INPUTS)["sum"][0, 0] == 5 and model.backend == "ONNX Runtime, CPU"
