# SPDX-License-Identifier: Apache-2.0
"""Networks whose convolutions compute in half precision.

TensorRT takes precision from the ONNX file. What stays in single precision: inputs and outputs, everything that is
not a convolution or carries its result on (local contrast, normalization, correlation, softmax, expectation, the
bounded log scale), and each last convolution before these: descriptors and heads.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from .model import import_onnx

_CARRIED = {"LeakyRelu": (0,), "Resize": (0,), "Add": (0, 1)}
"""Operators that stay in half precision between convolutions, and which of their inputs carry values."""
_GOES_ON = "context"
"""Outputs whose names begin so go into convolutions of another network."""


def with_plain_weights(content: bytes) -> bytes:
    """An ONNX network whose weights are constants in single precision, not halves that are cast.

    TensorRT takes other kernels where weights come out of an operator.
    """
    onnx = import_onnx()
    model = onnx.load_model_from_string(content)
    _unpack_weights(onnx, model.graph)
    return model.SerializeToString()


def to_half_precision(content: bytes, emulated: bool = False) -> bytes:
    """An ONNX network with its convolutions in float16, its inputs and outputs as before.

    `emulated`: for a CPU, which has no such operators. They compute in single precision and each result is rounded to
    half. ONNX Runtime would do the former by itself, but leave out the rounding and so look better than a GPU is.
    """
    onnx = import_onnx()
    model = onnx.load_model_from_string(content)
    _unpack_weights(onnx, model.graph)
    nodes = _Halving(onnx, model.graph, emulated).nodes()
    _replace(model.graph.node, nodes)
    used = {name for node in nodes for name in node.input}
    _replace(model.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in used])
    del model.graph.value_info[:]  # it told the types of before
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _unpack_weights(onnx: Any, graph: Any) -> None:
    """Undoes the `Cast` of weights that lie in the file as float16."""
    packed = {t.name: t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT16}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in packed]
    plain = [
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(packed[n.input[0]]).astype(np.float32), n.output[0])
        for n in casts
    ]
    unpacked = {key(node) for node in casts}
    _replace(graph.node, [node for node in graph.node if key(node) not in unpacked])
    _replace(graph.initializer, [*(t for t in graph.initializer if t.name not in packed), *plain])


class _Halving:
    """Rewrites one graph, node by node in their (topological) order."""

    def __init__(self, onnx: Any, graph: Any, emulated: bool):
        self._onnx, self._graph, self._emulated = onnx, graph, emulated
        self._half = reduced_nodes(graph)
        """Names of the tensors that become half precision, under another name."""
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._made: set[str] = set()
        """Names of the tensors made by casts."""
        self._nodes: list[Any] = []

    def nodes(self) -> list[Any]:
        """The nodes of the new graph; constants they need in half precision are added to it."""
        for node in list(self._graph.node):
            copied = self._onnx.NodeProto()
            copied.CopyFrom(node)
            half = key(node) in self._half
            carried = _CARRIED.get(node.op_type, range(len(node.input))) if half else range(len(node.input))
            converted = self._in_half if half else self._in_single
            for number in carried:
                copied.input[number] = converted(node.input[number])
            if half:
                copied.output[0] = f"{node.output[0]}.half"
            self._nodes += self._computed_in_single(copied, carried) if half and self._emulated else [copied]
        for output in self._graph.output:
            self._in_single(output.name)
        return self._nodes

    def _computed_in_single(self, node: Any, carried: Any) -> list[Any]:
        """A node of half precision as one of single precision between casts."""
        single, half, name = self._onnx.TensorProto.FLOAT, self._onnx.TensorProto.FLOAT16, node.output[0]
        before = []
        for number in carried:
            before.append(self._cast(node.input[number], f"{name}.input{number}", single))
            node.input[number] = before[-1].output[0]
        node.output[0] = f"{name}.exact"
        return [*before, node, self._cast(node.output[0], name, half)]

    def _in_half(self, name: str) -> str:
        """The name under which a tensor is there in half precision."""
        if name in self._half or not name:
            return f"{name}.half" if name else name
        cast = f"{name}.cast"
        if name in self._constants and cast not in self._made:
            values = self._onnx.numpy_helper.to_array(self._constants[name]).astype(np.float16)
            self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, cast))
        elif cast not in self._made:
            self._nodes.append(self._cast(name, cast, self._onnx.TensorProto.FLOAT16))
        self._made.add(cast)
        return cast

    def _in_single(self, name: str) -> str:
        """The same in single precision, which is the tensor's old name."""
        if name in self._half and name not in self._made:
            self._nodes.append(self._cast(f"{name}.half", name, self._onnx.TensorProto.FLOAT))
            self._made.add(name)
        return name

    def _cast(self, source: str, result: str, kind: int) -> Any:
        return self._onnx.helper.make_node("Cast", [source], [result], to=kind)


def _replace(field: Any, values: list[Any]) -> None:
    """Other values in a repeated field of protobuf."""
    values = list(values)
    del field[:]
    field.extend(values)


def key(node: Any) -> str:
    """Tells nodes apart: a tensor has one source."""
    return node.output[0]


def reduced_nodes(graph: Any, without: Collection[str] = ()) -> set[str]:
    """Keys of the nodes that may compute in less than single precision; of convolutions those `without` may not."""
    last = _last_convolutions(graph)
    reduced: set[str] = set()
    for node in graph.node:
        if node.op_type == "Conv" and key(node) not in last and key(node) not in without:
            reduced.add(key(node))
        elif node.op_type in _CARRIED and all(node.input[k] in reduced for k in _CARRIED[node.op_type]):
            reduced.add(key(node))
    return reduced


def _last_convolutions(graph: Any) -> set[str]:
    """Keys of the convolutions from which a way leads to an output that meets no other one."""
    source = {name: node for node in graph.node for name in node.output}
    results = [output.name for output in graph.output if not output.name.startswith(_GOES_ON)]
    last, seen, waiting = set(), set(), results
    while waiting:
        node = source.get(waiting.pop())
        if node is None or key(node) in seen:
            continue
        seen.add(key(node))
        if node.op_type == "Conv":
            last.add(key(node))
        else:
            waiting.extend(node.input)
    return last
