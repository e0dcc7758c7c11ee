# SPDX-License-Identifier: Apache-2.0
"""What half precision changes in a network, and what it leaves alone."""

import numpy as np
import onnxruntime as ort
import pytest
from helpers.shipped_models import SHIPPED

onnx = pytest.importorskip("onnx")

from lhmap_loc_ros.inference import find_model, load_model
from lhmap_loc_ros.inference.half_precision import to_half_precision, with_plain_weights

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def types(content: bytes) -> tuple[onnx.GraphProto, dict[str, int]]:
    """The graph and the type of each of its tensors."""
    graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(content), strict_mode=True).graph
    known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    return graph, known | {t.name: t.data_type for t in graph.initializer}


@pytest.mark.parametrize("name", SHIPPED)
def test_convolutions_are_half_and_the_rest_single(name):
    graph, kinds = types(to_half_precision(find_model(name).read_bytes()))
    assert {kinds[v.name] for v in (*graph.input, *graph.output)} == {FLOAT}
    halved = [node for node in graph.node if any(kinds.get(i) == HALF for i in node.input)]
    assert {node.op_type for node in halved} <= {"Conv", "LeakyRelu", "Add", "Resize", "Cast"}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    half = [node for node in convolutions if kinds[node.output[0]] == HALF]
    # descriptors and heads stay, and networks without convolutions
    assert len(convolutions) - 4 <= len(half) < len(convolutions) or not convolutions


@pytest.mark.parametrize("name", ["flow_coarse", "flow_fine"])
def test_correlation_softmax_and_heads_stay_single(name):
    graph, kinds = types(to_half_precision(find_model(name).read_bytes()))
    for node in graph.node:
        if node.op_type in ("MatMul", "Softmax", "ReduceL2", "Sigmoid", "ReduceSum", "AveragePool"):
            assert {kinds[value] for value in node.output} == {FLOAT}, node.name
    final = [node for node in graph.node if node.op_type == "Conv"][-1]
    assert kinds[final.output[0]] == FLOAT


@pytest.mark.parametrize("name", SHIPPED)
def test_plain_weights_change_no_bit(name):
    content = find_model(name).read_bytes()
    assert not [n for n in types(with_plain_weights(content))[0].node if n.op_type == "Cast" and ".half" in n.input[0]]
    rng = np.random.default_rng(0)
    variants = (content, with_plain_weights(content))
    sessions = [ort.InferenceSession(variant, providers=["CPUExecutionProvider"]) for variant in variants]
    shapes = load_model(name, "onnxruntime", threads=1).inputs
    given = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    for a, b in zip(*(session.run(None, given) for session in sessions)):
        np.testing.assert_array_equal(a, b)


def test_emulation_rounds_as_half_precision_does(inputs):
    """ONNX Runtime computes half precision on a CPU without rounding in between; the emulation must differ from it."""
    content = find_model("flow_image").read_bytes()

    def run(variant):
        session = ort.InferenceSession(variant, providers=["CPUExecutionProvider"])
        return session.run(["features4"], {"image": inputs["image"]})[0]

    exact, emulated = run(content), run(to_half_precision(content, emulated=True))
    plain = run(to_half_precision(content))
    error, unrounded = np.abs(emulated - exact).mean(), np.abs(plain - exact).mean()
    assert unrounded < error < 1e-3


def test_the_same_network_gives_the_same_bytes():
    content = find_model("heat").read_bytes()
    assert to_half_precision(content) == to_half_precision(content)
