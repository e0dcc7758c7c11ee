# SPDX-License-Identifier: Apache-2.0
"""Networks with convolutions in 8-bit integers: what they compute, when they are taken, and what is refused."""

import shutil

import numpy as np
import pytest
from helpers.shipped_models import SHIPPED

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import find_model, load_model
from lhmap_loc_ros.inference.models import int8_file

FLOW = [name for name in SHIPPED if name.startswith(("flow", "encoder"))]


@pytest.mark.parametrize("name", FLOW)
def test_all_convolutions_are_in_8_bits_but_the_first_and_the_last(name):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(int8_file(find_model(name))).graph
    source = {result: node for node in graph.node for result in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_8_bits = [
        node for node in convolutions
        if all(value in source and source[value].op_type == "DequantizeLinear" for value in node.input[:2])
    ]  # fmt: skip
    # the two sides' stem and encoder each begin with one in single precision; descriptors and heads end with one
    assert len(convolutions) - 6 <= len(in_8_bits) < len(convolutions)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in in_8_bits:
        values = weights[source[node.input[1]].input[0]]
        # 7 bits: two products fit into 16, as processors without VNNI add them
        assert values.dtype == np.int8 and np.abs(values.astype(int)).max() <= 64


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_they_say_what_single_precision_says(backend, inputs):
    pytest.importorskip(backend)

    def answers(precision):
        image = load_model("flow_image", backend, precision, threads=1).run({"image": inputs["image"]})
        encoded = load_model("flow_map", backend, precision, threads=1).run({"map": inputs["map"]})
        fine = load_model("flow_fine", backend, precision, threads=1)
        given = {"map4": encoded["map4"], "context4": encoded["context4"], "features4": image["features4"]}
        return {**image, **fine.run(given)}

    expected, found = answers("fp32"), answers("int8")
    # where several places fit a cell alike the flow may take another: its median counts, pixels
    for name, share, tolerance in [("features8", 0.95, 0.02), ("features4", 0.95, 0.02), ("flow", 0.5, 1.5)]:
        difference = np.abs(found[name] - expected[name])
        assert 0 < np.quantile(difference, share) < tolerance, name


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_auto_takes_them_where_they_are_and_names_the_network(backend, tmp_path):
    pytest.importorskip(backend)
    shipped = find_model("flow_fine")
    quick, exact = (load_model("flow_fine", backend, p, threads=1) for p in ("auto", "fp32"))
    assert (quick.precision, exact.precision) == ("int8", "fp32")
    for name in ("path", "sha256", "inputs", "outputs", "metadata", "backend"):
        assert getattr(quick, name) == getattr(exact, name), name
    alone = shutil.copy(shipped, tmp_path / "flow_fine.onnx")
    assert load_model(alone, backend, "auto", threads=1).precision == "fp32"
    assert load_model("heat", backend, "auto", threads=1).precision == "fp32"


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_is_missing_damaged_or_of_other_weights_is_named(backend, tmp_path):
    pytest.importorskip(backend)
    network = tmp_path / "flow_fine.onnx"
    shutil.copy(find_model("flow_fine"), network)
    with pytest.raises(ModelError, match=r"flow_fine.onnx has no int8 file, expected .*int8/flow_fine.onnx"):
        load_model(network, backend, "int8")
    int8_file(network).parent.mkdir()
    whole = int8_file(find_model("flow_fine")).read_bytes()
    int8_file(network).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="int8/flow_fine.onnx is not a usable ONNX network"):
        load_model(network, backend, "auto")
    int8_file(network).write_bytes(whole)
    shutil.copy(find_model("flow_coarse"), network)
    with pytest.raises(ModelError, match=r"int8/flow_fine.onnx was made of a file with SHA-256 [0-9a-f]{64}, but .*"):
        load_model(network, backend, "auto")
