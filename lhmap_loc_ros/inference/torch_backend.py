# SPDX-License-Identifier: Apache-2.0
"""PyTorch, to compare with: the modules that were trained, with the weights of the ONNX file.

It takes no operator from the file, so it tells what export, conversion and other backends change. It knows the shipped
kinds of network: flow (image, map, coarse, fine), heat, place (image, map) and codes (image, decoder).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..errors import ModelError
from .model import Model, Network, import_onnx
from .onnx_backend import available_threads

_TEMPERATURE = "exp"
"""The constant that the export makes of exp(log_temperature)."""
_KINDS = {
    (("image",), ("features8", "features4")): "image",
    (("map",), ("map8", "context8", "map4", "context4")): "map",
    (("map8", "context8", "features8"), ("flow", "log_scale")): "coarse",
    (("map4", "context4", "features4"), ("flow", "log_scale")): "fine",
    (("map",), ("heat",)): "forward",
    (("features8", "seen"), ("descriptor",)): "place.image",
    (("map8", "seen"), ("descriptor",)): "place.map",
    (("cells", "whole"), ("embedded", "place")): "codes.image",
    (("embedded", "codes", "kept"), ("outputs",)): "codes.decode",
}
"""Method of the module, by inputs and outputs of the file; before a point the network, if it is not flow or heat."""


class TorchModel(Model):
    """A network in PyTorch."""

    def __init__(self, network: Network, gpu: int | None, threads: int):
        """Raises ModelError where PyTorch is missing, or for a network of another kind."""
        try:
            import torch
        except ImportError:
            raise ModelError("backend torch needs PyTorch: pip install 'lhmap_loc_ros[train]'") from None
        if gpu is not None and not torch.cuda.is_available():
            raise ModelError(f"device cuda:{gpu} asked for, but PyTorch {torch.__version__} finds no CUDA GPU")
        kind = _KINDS.get((tuple(network.inputs), tuple(network.outputs)))
        if kind is None:
            raise ModelError(
                f"{network.path}: backend torch knows the flow, heat, place and codes networks, found a network from "
                f"{', '.join(network.inputs)} to {', '.join(network.outputs)}"
            )
        self._torch, self._threads = torch, threads or available_threads()
        self.tensor_device = "cpu" if gpu is None else f"cuda:{gpu}"
        self._device = torch.device(self.tensor_device)
        self._method = getattr(_module(torch, network, kind).to(self._device), _method(kind))
        super().__init__(
            network.path, network.sha256, network.inputs, list(network.outputs), network.metadata,
            f"PyTorch {torch.__version__}, {'CPU' if gpu is None else f'CUDA GPU {gpu}'}", "fp32",
        )  # fmt: skip

    def _run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = {name: self._torch.from_numpy(np.ascontiguousarray(inputs[name])) for name in self.inputs}
        results = self._run_on_device({name: value.to(self._device) for name, value in tensors.items()})
        return {name: value.cpu().numpy() for name, value in results.items()}

    def _run_on_device(self, inputs: dict[str, Any]) -> dict[str, Any]:
        with _settings(self._torch, self._threads):
            results = self._method(*(inputs[name] for name in self.inputs))
        return dict(zip(self.outputs, results if isinstance(results, tuple) else (results,), strict=True))


@contextmanager
def _settings(torch: Any, threads: int) -> Iterator[None]:
    """No gradients, so many threads, and single precision that is not TensorFloat-32; the process's own come back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            yield
    finally:
        torch.set_num_threads(before)


def _module(torch: Any, network: Network, kind: str) -> Any:
    """The module of a network, its weights those of the file; raises ModelError unless they fit each other."""
    weights = _weights(torch, network)
    temperature = weights.pop(_TEMPERATURE, None)
    try:
        if kind.startswith("place."):
            module = _place(weights)
        elif kind.startswith("codes."):
            module = _codes(weights, int(network.metadata.get("heads", 0)))
        else:
            module = _heat(weights) if kind == "forward" else _flow(weights, network.inputs)
        _fold_normalization(torch, module)
        # a file holds what its method uses, and no more: what is used and not there shows
        for parameter in module.parameters():
            torch.nn.init.constant_(parameter, float("nan"))
        unexpected = module.load_state_dict(weights, strict=False).unexpected_keys
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"{network.path}: its weights do not fit the module: {error}") from None
    if kind in ("coarse", "fine") and temperature is not None:
        torch.nn.init.constant_(module.log_temperature, float(temperature.log()))
    with torch.inference_mode():
        results = getattr(module.eval(), _method(kind))(*(torch.zeros(shape) for shape in network.inputs.values()))
    if unexpected or not _finite(results):
        raise ModelError(f"{network.path}: its weights do not fit the module: {unexpected or 'some are missing'}")
    return module


def _method(kind: str) -> str:
    return kind.rpartition(".")[2]


def _finite(results: Any) -> bool:
    return all(bool(value.isfinite().all()) for value in (results if isinstance(results, tuple) else (results,)))


def _flow(weights: dict[str, Any], inputs: dict[str, Any]) -> Any:
    from ..networks.flow import FlowNet

    sizes = {name: value.shape[0] for name, value in weights.items()}
    side = next((side for side in ("image", "map") if side in inputs), None)
    if side:
        widths = [sizes[f"{side}_encoder.{part}.weight"] for part in ("to2.0.0", "to4.0.0", "to8.0.0", "to16.0.0")]
        dims = [sizes[f"{side}_encoder.out{cell}.weight"] for cell in (8, 4)]
        return FlowNet(widths, dims, (sizes["stem.to4.0.0.weight"],))
    # a head has no encoders, whose sizes do not matter
    net = FlowNet((1, 1, inputs.get("context8", (1, 2))[1] - 1, 1), (1, 1), (1,))
    # the exporter gave the heads more channels, of zeros
    if any(name in weights and weights[name].shape != value.shape for name, value in net.state_dict().items()):
        net.pad_heads()
    return net


def _place(weights: dict[str, Any]) -> Any:
    from ..networks.place import PlaceNet

    side = "image_head" if "image_head.project.weight" in weights else "map_head"
    of_column = weights[f"{side}.value.weight"].shape[0]
    dimension, pooled = weights[f"{side}.project.weight"].shape
    width = weights[f"{side}.value.weight"].shape[1]
    return PlaceNet((width,), (pooled // of_column,), (of_column,), (dimension,))


def _codes(weights: dict[str, Any], heads: int) -> Any:
    from ..networks.codes import CodesNet

    if "basis" in weights:
        (cells,), (whole, place) = weights["mean"].shape, weights["basis"].shape
        return CodesNet((cells,), (whole,), (place,), weights["embedded.bias"].shape, (0,), (heads,), (1,))
    layers = sum(name.endswith(".key.bias") for name in weights)
    code = weights["layers.0.key.weight"].shape[1:]
    return CodesNet((1,), (1,), (1,), weights["norm.bias"].shape, (layers,), (heads,), code)


def _heat(weights: dict[str, Any]) -> Any:
    from ..networks.heat import HeatNet

    return HeatNet([weights[f"{part}.weight"].shape[0] for part in ("to2.0", "to4.0.0", "to8.0.0", "to16.0.0")])


def _weights(torch: Any, network: Network) -> dict[str, Any]:
    """The file's weights by their names in the module, in single precision."""
    onnx = import_onnx()
    found, graph = {}, onnx.load_model_from_string(network.content).graph
    of_linear = _linear_layers(graph)
    for tensor in graph.initializer:
        name = tensor.name.removesuffix(".half")
        if name.startswith("net.") or name == _TEMPERATURE:
            # the bias of a folded normalization
            name = name.removeprefix("net.").replace(".weight_bias", ".bias")
            found[name] = torch.from_numpy(onnx.numpy_helper.to_array(tensor).astype(np.float32))
        elif name in of_linear:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            found[of_linear[name]] = torch.from_numpy(values.T.copy())
    return found


def _linear_layers(graph: Any) -> dict[str, str]:
    """Names of linear layers' weights by what the export, which transposes them, calls them; biases keep theirs."""
    biases: dict[str, str] = {}
    for node in graph.node:
        for name in node.input if node.op_type == "Add" else ():
            if name.startswith("net.") and name.endswith(".bias"):
                biases |= {other: name for other in node.input if other != name}
    return {
        node.input[1]: biases[node.output[0]].removeprefix("net.").removesuffix("bias") + "weight"
        for node in graph.node
        if node.op_type == "MatMul" and node.output[0] in biases
    }


def _fold_normalization(torch: Any, module: Any) -> None:
    """Convolutions with a bias instead of a normalization after them, as the export folds it."""
    nn = torch.nn
    for block in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for number in range(len(block) - 1):
            if isinstance(block[number], nn.Conv2d) and isinstance(block[number + 1], nn.BatchNorm2d):
                block[number].bias = nn.Parameter(torch.zeros(block[number].out_channels))
                block[number + 1] = nn.Identity()
