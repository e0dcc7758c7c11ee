# SPDX-License-Identifier: Apache-2.0
"""Checkpoints to ONNX, with the settings a localizer needs in the file itself, checked against torch."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from ..errors import ModelError
from ..inference import Backend, load_model
from ..inference.model import DEFAULT_GRID, METADATA_KEY
from ..localization.features import GRIDS, MAP_CHANNELS
from ..localization.network_set import GRIDS_KEY
from ..localization.regressor import padded
from ..mapping.heat import FULL_SCALE_KEY
from ..networks.place import FEATURES
from ..places.describe import CELLS, DIMENSION_KEY
from ..scenes.codes import MAX_CODES, NETWORKS, WEIGHTS_KEY
from ..scenes.encoder import CELL
from .checkpoint import save_checkpoint, sha256_of

OPSET = 18
"""Below 20: TensorRT's parser reads newer GridSample wrongly; no reason to be near it."""
TOLERANCE, AGREEING = 1e-2, 0.95
"""This share of the values differs from torch by less than the tolerance, relative to the largest output.

Half precision in the file costs some 1e-3; on random input the best of two equal candidates may be another one.
"""
SMALLEST_HALVED = 512
"""Tensors of fewer values stay in single precision in the file."""


class _Part(nn.Module):
    """One method of a network as a module of its own."""

    def __init__(self, net: nn.Module, method: str):
        super().__init__()
        self.net, self.method = net, method

    def forward(self, *inputs):
        result = getattr(self.net, self.method)(*inputs)
        return result if isinstance(result, torch.Tensor) else tuple(result)


def export_part(
    net, method: str, inputs: dict[str, torch.Tensor], outputs: list[str], path: Path, metadata: dict,
    free: dict[str, int] | None = None,
):  # fmt: skip
    """Write one network file and compare it with torch on random input; raises ModelError if they differ.

    `free`: which inputs may have any height and width, and of cells of how many pixels those are; None: all sizes are
    fixed.
    """
    part = _Part(net, method).eval()
    with torch.no_grad():
        result = part(*inputs.values())
    expected = dict(zip(outputs, result if isinstance(result, tuple) else (result,), strict=True))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part.onnx")
    try:
        _trace(part, inputs, outputs, temporary, free)
        model = onnx.load(temporary)
        forget_origin(model)
        grid = DEFAULT_GRID if free is None else _free_sizes(model, inputs, expected, free)
        _store_in_half_precision(model)
        onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
        onnx.save(model, temporary)
        found = load_model(temporary, Backend.ONNXRUNTIME, grid=grid).run({k: v.numpy() for k, v in inputs.items()})
        _check_same(path.name, found, expected)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _trace(part: _Part, inputs: dict[str, torch.Tensor], outputs: list[str], path: Path, free) -> None:
    """Writes the graph as the exporter makes it."""
    shapes = None if free is None else (tuple(_free_shape(free.get(name)) for name in inputs),)
    with torch.no_grad():
        program = torch.onnx.export(
            part, tuple(inputs.values()), input_names=list(inputs), output_names=outputs,
            opset_version=OPSET, dynamo=True, verbose=False, dynamic_shapes=shapes,
        )  # fmt: skip
    program.save(str(path), external_data=False)


def _check_same(name: str, found: dict[str, np.ndarray], expected: dict[str, torch.Tensor]) -> None:
    """Raises ModelError for outputs that differ from torch's, see TOLERANCE."""
    for output, value in expected.items():
        differences = np.abs(found[output] - value.numpy()) / max(1.0, float(value.abs().max()))
        difference = float(np.quantile(differences, AGREEING))
        if not difference < TOLERANCE:
            raise ModelError(f"{name}: output {output!r} differs from torch by {difference:.2g}")


def _free_sizes(
    model: onnx.ModelProto, inputs: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], free: dict[str, int]
) -> tuple[int, int]:
    """Names the sizes that are free in a graph; returns the grid (width, height) [pixels] that the inputs have."""
    del model.graph.value_info[:]
    first, cell = next(iter(inputs.values())), next(iter(free.values()))
    width, height = first.shape[3] * cell, first.shape[2] * cell
    given = {name: width // value.shape[3] for name, value in expected.items() if value.dim() == 4} | free
    for value in (*model.graph.input, *model.graph.output):
        if value.name in given:
            _name_sizes(value, given[value.name])
    return width, height


def _free_shape(cell: int | None) -> dict:
    """Which dimensions of an input of cells of `cell` pixels are free: multiples of 16 pixels each."""
    if cell is None:
        return {}
    h, w = torch.export.Dim("h", min=4, max=256), torch.export.Dim("w", min=4, max=256)
    return {2: 16 // cell * h, 3: 16 // cell * w}


def _name_sizes(value, cell: int) -> None:
    """Gives height and width of a graph's input or output the names that `inference` knows them by."""
    batch, _, *sizes = value.type.tensor_type.shape.dim
    batch.dim_value = 1
    for name, dimension in zip(("height", "width"), sizes, strict=True):
        dimension.dim_param = name if cell == 1 else f"{name}/{cell}"


def forget_origin(model: onnx.ModelProto) -> None:
    """Removes the stack traces that the exporter leaves with each node: they name folders of this machine."""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")


def _store_in_half_precision(model: onnx.ModelProto) -> None:
    """Weights lie in the file as float16 and are cast back when it is loaded: half the bytes, same arithmetic."""
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST_HALVED:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def export_flow(net, out: Path, name: str, width: int, height: int, metadata: dict) -> list[Path]:
    """Write NAME_image, NAME_map, NAME_coarse and NAME_fine.onnx to the folder `out`, for the pixel grids `GRIDS`.

    `width` and `height` are of the one on which they are compared with torch.
    """
    metadata = {**metadata, GRIDS_KEY: GRIDS}
    net = copy.deepcopy(net).cpu().eval()
    net.pad_heads()
    image, view = torch.rand(1, 3, height, width), torch.rand(1, MAP_CHANNELS, height, width)
    with torch.no_grad():
        features8, features4 = net.image(image)
        encoded = net.map(view)._asdict()
    of_coarse, of_fine = ({k: encoded[k] for k in names} for names in (("map8", "context8"), ("map4", "context4")))
    parts = [
        ("image", {"image": image}, ["features8", "features4"]),
        ("map", {"map": view}, list(encoded)),
        ("coarse", {**of_coarse, "features8": features8}, ["flow", "log_scale"]),
        ("fine", {**of_fine, "features4": features4}, ["flow", "log_scale"]),
    ]
    paths = []
    for method, inputs, outputs in parts:
        paths.append(out / f"{name}_{method}.onnx")
        free = {k: width // v.shape[3] for k, v in inputs.items()}
        export_part(net, method, inputs, outputs, paths[-1], metadata, free)
    return paths


def export_heat(net, path: Path, width: int, height: int, metadata: dict, method: str = "forward") -> None:
    """Write a heat network, by its method that takes map views, and where the heat of its maps is full, if it says."""
    if net.full_scale is not None:
        metadata = {**metadata, FULL_SCALE_KEY: net.full_scale}
    view = torch.rand(1, MAP_CHANNELS, height, width)
    export_part(net.cpu().eval(), method, {"map": view}, ["heat"], path, metadata)


def export_place(net, out: Path, metadata: dict) -> list[Path]:
    """Write place_image and place_map.onnx to the folder `out`: features of the place camera's cells to descriptors."""
    metadata = {**metadata, DIMENSION_KEY: net.settings["dimension"][0]}
    net, paths = copy.deepcopy(net).cpu().eval(), []
    for method, name in (("image", "features8"), ("map", "map8")):
        features = nn.functional.normalize(torch.randn(1, FEATURES, *CELLS), dim=1)
        inputs = {name: features, "seen": torch.rand(1, 1, *CELLS)}
        paths.append(out / f"place_{method}.onnx")
        export_part(net, method, inputs, ["descriptor"], paths[-1], metadata)
    return paths


def export_codes(net, out: Path, metadata: dict) -> list[Path]:
    """Write codes_image.onnx, codes_decoder.onnx and checkpoints/codes.safetensors to the folder `out`.

    `lhmap learn` learns codes with the checkpoint, which holds the files' half precision: all three name it.
    """
    net = copy.deepcopy(net).cpu().eval().half()
    checkpoint = out / "checkpoints" / f"{NETWORKS}.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(checkpoint, net, None, metadata["step"])
    net, s = net.float(), {name: value[0] for name, value in net.settings.items()}
    metadata = {**metadata, WEIGHTS_KEY: sha256_of(checkpoint), "heads": s["heads"]}
    width, height = DEFAULT_GRID[0] // CELL, DEFAULT_GRID[1] // CELL
    codes = {"codes": torch.randn(1, MAX_CODES, s["code"]), "kept": (torch.rand(1, MAX_CODES) > 0.5).float()}
    cells = net.mean[:, None, None] + net.scale[:, None, None] * torch.randn(1, s["cells"], height, width)
    parts = {
        "image": ({"cells": cells, "whole": torch.randn(1, s["whole"])}, ["embedded", "place"]),
        "decoder": ({"embedded": torch.randn(1, s["width"], height, width), **codes}, ["outputs"]),
    }
    paths = []
    for part, (inputs, outputs) in parts.items():
        paths.append(out / f"{NETWORKS}_{part}.onnx")
        method, free = ("image" if part == "image" else "decode"), {next(iter(inputs)): CELL}
        export_part(net, method, inputs, outputs, paths[-1], metadata, free)
    return paths


def export_regress(net, path: Path, width: int, height: int, metadata: dict) -> None:
    """Write one network of the reference method; its inputs are the grid padded to multiples of 64."""
    image, depth = (torch.from_numpy(padded(np.random.rand(c, height, width).astype(np.float32)))[None] for c in (3, 1))
    inputs, outputs = {"image": image, "depth": depth}, ["translation", "quaternion"]
    export_part(net.cpu().eval(), "forward", inputs, outputs, path, {**metadata, "width": width, "height": height})
