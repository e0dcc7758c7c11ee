# SPDX-License-Identifier: Apache-2.0
"""All backends compute the shipped networks, and say which they are."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import Backend, State, load_model, loading
from lhmap_loc_ros.inference.gpu import Gpu, find_gpu
from lhmap_loc_ros.inference.tensorrt_package import PACKAGES

EXACT = {
    "features8": 1e-5, "features4": 1e-5, "map8": 1e-5, "map4": 1e-5, "context8": 1e-4, "context4": 1e-4, "flow": 1e-3,
    "log_scale": 1e-4, "heat": 1e-5, "descriptor": 1e-5, "embedded": 1e-3, "place": 1e-3, "outputs": 1e-3,
}  # fmt: skip
"""Single precision, sums in another order: up to 1e-4 pixels were seen on real images, descriptors are of length 1."""
HALF = {
    "features8": 2e-3, "features4": 2e-3, "map8": 2e-3, "map4": 2e-3, "context8": 0.02, "context4": 0.02, "flow": 0.05,
    "log_scale": 0.01, "heat": 2e-3, "descriptor": 2e-3, "embedded": 0.05, "place": 0.05, "outputs": 0.05,
}  # fmt: skip
"""Steps of float16 are 5e-4 of a value; seen on real images 5e-4 in descriptors, 0.04 pixels of the fine flow."""
BRAIN = {
    "features8": 0.1, "features4": 0.1, "map8": 0.1, "map4": 0.1, "context8": 0.5, "context4": 0.5, "flow": 2.0,
    "log_scale": 0.2, "heat": 0.02, "descriptor": 0.05, "embedded": 0.5, "place": 0.5, "outputs": 0.5,
}  # fmt: skip
"""Steps of bfloat16 are 8e-3 of a value; seen on real images 0.07 in descriptors, 1.1 pixels of the fine flow."""
CHOICES = [
    ("onnxruntime", "fp32", EXACT), ("onnxruntime", "fp16", HALF), ("openvino", "fp32", EXACT),
    ("openvino", "bf16", BRAIN), ("tensorrt", "fp32", EXACT), ("tensorrt", "fp16", HALF),
]  # fmt: skip
SIDES = "image", "map"
AGREEING = {"coarse": 0.8}
"""Share of the values within the tolerance, 0.99 if not told.

Where two places of the image fit a cell equally well, as in a texture that repeats, the coarse flow may take the other.
"""
NEEDS = {"openvino": ("openvino", "onnx"), "torch": ("torch", "onnx"), "tensorrt": ("cuda", "onnx")}


def load(name, backend, precision):
    """The network, or a skip that tells what is missing."""
    for package in NEEDS.get(backend, ()):
        pytest.importorskip(package)
    if backend == "tensorrt":
        if find_gpu() is None:
            pytest.skip("no NVIDIA GPU")
        if not any(importlib.util.find_spec(package) for package in PACKAGES):
            pytest.skip("no TensorRT package")
    try:
        return load_model(name, backend, precision, threads=1)
    except ModelError as error:
        if "this CPU does not have it" in str(error):
            pytest.skip(str(error))
        raise


def answers(inputs, backend, precision="fp32") -> dict[str, np.ndarray]:
    """What the nine networks say of the inputs."""
    image = load("flow_image", backend, precision).run({"image": inputs["image"]})
    encoded = load("flow_map", backend, precision).run({"map": inputs["map"]})
    given8 = {"map8": encoded["map8"], "context8": encoded["context8"], "features8": image["features8"]}
    given4 = {"map4": encoded["map4"], "context4": encoded["context4"], "features4": image["features4"]}
    coarse = load("flow_coarse", backend, precision).run(given8)
    fine = load("flow_fine", backend, precision).run(given4)
    heat = load("heat", backend, precision).run({"map": inputs["heat"]})
    places = {f"place_{side}": load(f"place_{side}", backend, precision).run(inputs[f"place_{side}"]) for side in SIDES}
    codes = {name: load(name, backend, precision).run(inputs[name]) for name in ("codes_image", "codes_decoder")}
    return {"image": image, "map": encoded, "coarse": coarse, "fine": fine, "heat": heat, **places, **codes}


@pytest.fixture(scope="module")
def expected(inputs):
    """PyTorch in single precision, on the trained weights."""
    return answers(inputs, "torch")


@pytest.mark.parametrize(("backend", "precision", "tolerance"), CHOICES)
def test_every_backend_agrees_with_torch(inputs, expected, backend, precision, tolerance):
    for network, outputs in answers(inputs, backend, precision).items():
        assert outputs.keys() == expected[network].keys()
        for name, value in outputs.items():
            assert (value.dtype, value.shape) == (np.float32, expected[network][name].shape)
            difference = np.quantile(np.abs(value - expected[network][name]), AGREEING.get(network, 0.99))
            assert difference < tolerance[name], f"{network}: {name}"


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp32"), *(c[:2] for c in CHOICES)])
def test_every_backend_describes_the_network_alike(backend, precision):
    model, plain = load("flow_fine", backend, precision), load_model("flow_fine", "onnxruntime")
    for name in ("path", "sha256", "inputs", "outputs", "metadata"):
        assert getattr(model, name) == getattr(plain, name), name
    assert (model.precision, model.state, model.status) == (precision, State.READY, "loaded")
    assert {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}.get(
        backend, "tensorrt"
    ) in model.backend


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp32"), *(c[:2] for c in CHOICES)])
def test_results_are_not_overwritten_by_the_next_run(inputs, backend, precision):
    model = load("heat", backend, precision)
    first = model.run({"map": inputs["heat"]})["heat"]
    kept = first.copy()
    assert not np.array_equal(model.run({"map": np.zeros_like(inputs["heat"])})["heat"], kept)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("backend", "precision"), [("torch", "fp32"), ("tensorrt", "fp32"), ("tensorrt", "fp16")])
def test_tensors_on_the_device_give_what_arrays_give(inputs, backend, precision):
    model = load("heat", backend, precision)
    torch = pytest.importorskip("torch")
    given = {"map": torch.from_numpy(inputs["heat"]).to(model.tensor_device)}
    found = model.run_on_device(given)["heat"]
    assert str(found.device) == model.tensor_device
    np.testing.assert_array_equal(found.cpu(), model.run({"map": inputs["heat"]})["heat"])
    with pytest.raises(ModelError, match="'map' is torch.float64, expected float32"):
        model.run_on_device({"map": given["map"].double()})


def test_a_backend_that_takes_no_tensors_says_so():
    model = load("heat", "onnxruntime", "fp32")
    assert model.tensor_device is None
    with pytest.raises(ModelError, match=r"heat.onnx: ONNX Runtime.* takes no tensors"):
        model.run_on_device({})


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch", "tensorrt"])
def test_inputs_that_do_not_fit_are_named(backend):
    model = load("heat", backend, "fp32")
    shape = model.inputs["map"]
    with pytest.raises(ModelError, match="heat.onnx: input 'map' has shape None, expected"):
        model.run({})
    with pytest.raises(ModelError, match=r"'map' has shape \(1, 4, 1, 1\)"):
        model.run({"map": np.zeros((1, 4, 1, 1), np.float32)})
    with pytest.raises(ModelError, match="'map' is float64, expected float32"):
        model.run({"map": np.zeros(shape)})


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"backend": "cuda"}, "'cuda' is not a valid Backend, expected one of auto, onnxruntime"),
        ({"precision": "int4"}, "'int4' is not a valid Precision.*fp32, fp16, bf16, int8"),
        (
            {"backend": "tensorrt", "precision": "bf16"},
            "bf16 does not go with backend tensorrt, expected auto, fp32 or fp16",
        ),
        ({"backend": "torch", "precision": "int8"}, "int8 does not go with backend torch"),
        ({"backend": "onnxruntime", "precision": "int8", "device": "cuda"}, "int8 does not go with device cuda"),
        ({"precision": "bf16"}, "bf16 does not go with backend auto"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
        ({"device": "cuda:first"}, "device 'cuda:first' is unknown"),
        ({"backend": "tensorrt", "device": "cpu"}, "device cpu does not go with backend tensorrt"),
        ({"backend": "openvino", "device": "cuda"}, "device cuda does not go with backend openvino"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(choice, words):
    with pytest.raises(ModelError, match=words):
        load_model("heat", **choice)


@pytest.mark.parametrize(
    ("backend", "hidden", "words"),
    [
        ("openvino", ["openvino"], "needs OpenVINO: pip install openvino"),
        ("openvino", ["onnx"], "needs the package onnx: pip install onnx"),
        ("torch", ["torch"], "needs PyTorch: pip install"),
        ("tensorrt", list(PACKAGES), r"needs TensorRT .*pip install 'lhmap_loc_ros\[tensorrt\]'"),
    ],
)
def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch, backend, hidden, words):
    if "onnx" not in hidden:
        pytest.importorskip("onnx")
    loading.import_tensorrt.cache_clear()
    for package in hidden:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=words):
        load_model("heat", backend)


def test_tensorrt_without_a_gpu_is_refused():
    for package in ("tensorrt_rtx", "cuda"):
        pytest.importorskip(package)
    if find_gpu() is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(ModelError, match="needs an NVIDIA GPU, and none answers as number 0"):
        load_model("heat", "tensorrt")


def test_cuda_of_onnx_runtime_where_it_is_not_is_refused():
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("there is CUDA")
    with pytest.raises(ModelError, match="has no CUDA .*onnxruntime-gpu"):
        load_model("heat", "onnxruntime", device="cuda")


class FakeTensorRt:
    """Enough of a TensorRT package to be chosen."""

    __name__, __version__ = "tensorrt", "11.0"


@pytest.fixture
def machine(monkeypatch):
    """Puts a GPU and a TensorRT into the machine, or takes them out."""

    def imported(package):
        if isinstance(package, Exception):
            raise package
        return package

    def make(gpu, package, cuda=True):
        monkeypatch.setattr(loading, "find_gpu", lambda number: gpu)
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: package)
        monkeypatch.setattr(loading, "import_tensorrt", lambda: imported(package))
        monkeypatch.setattr(loading, "import_cudart", lambda: imported(cuda))
        monkeypatch.setattr(loading, "import_onnx", lambda: True)

    return make


def test_auto_is_tensorrt_where_there_are_a_gpu_and_the_package(machine):
    machine(Gpu(0, "a GPU", 86), FakeTensorRt())
    assert loading.choose("auto") is Backend.TENSORRT
    assert loading.choose("cpu") is Backend.ONNXRUNTIME


@pytest.mark.parametrize(
    ("gpu", "package", "cuda"),
    [
        (None, FakeTensorRt(), True),
        (Gpu(0, "a GPU", 86), None, True),
        (Gpu(0, "a GPU", 86), ModelError("its libraries are missing"), True),
        (Gpu(0, "a GPU", 86), FakeTensorRt(), ModelError("needs cuda-python")),
    ],
)
def test_auto_is_onnx_runtime_elsewhere(machine, gpu, package, cuda):
    machine(gpu, package, cuda)
    assert loading.choose("auto") is Backend.ONNXRUNTIME


def test_auto_passes_by_a_gpu_that_the_package_cannot_build_for(machine):
    trt = pytest.importorskip("tensorrt_rtx")
    machine(Gpu(0, "an old GPU", 61), trt)
    assert loading.choose("auto") is Backend.ONNXRUNTIME


def test_auto_stays_in_single_precision_on_a_cpu(machine):
    machine(None, None)
    assert load_model("heat", precision="fp16").precision == "fp32"


def test_a_cpu_imports_nothing_but_onnx_runtime():
    code = (
        "import sys; from lhmap_loc_ros.inference import load_model; load_model('heat', 'onnxruntime');"
        "print([m for m in ('onnx', 'torch', 'openvino', 'tensorrt', 'tensorrt_rtx', 'cuda') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
