# SPDX-License-Identifier: Apache-2.0
"""Networks whose convolutions compute in 8-bit integers, for ONNX Runtime on a CPU."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from ..evaluation.protocol import Query, start_pose
from ..inference import Backend, Precision
from ..inference.half_precision import key, reduced_nodes, with_plain_weights
from ..inference.model import METADATA_KEY, parse_metadata
from ..inference.models import INT8_OF, int8_file
from ..localization.network_set import GridNetworks, NetworkSet
from ..localization.refine import RefineMode, Refiner, RefinerConfig
from .checkpoint import sha256_of
from .export import forget_origin

Inputs = dict[str, np.ndarray]
"""What a network is given, by name."""
PARTS = ("image", "map", "coarse", "fine")
RAW = ("image", "map")
"""Inputs that are no results of another network."""
ROUGH = 1
"""Level of the start errors: passes from far and from near."""
MOST = 48
"""Inputs of each network that are kept; the ranges of its values hardly change with more."""


class Sampled:
    """Of all inputs that are added, at most `MOST`, evenly spread."""

    def __init__(self):
        self.kept: list[Inputs] = []
        self._added, self._every = 0, 1

    def add(self, inputs: Inputs) -> None:
        """Keeps the inputs, if it is their turn."""
        if self._added % self._every == 0:
            if len(self.kept) == MOST:
                self.kept, self._every = self.kept[::2], 2 * self._every
            self.kept.append(inputs)
        self._added += 1


class RecordingSet(NetworkSet):
    """The networks of the refiner, which keep some of what they are given."""

    def __init__(self, config: RefinerConfig):
        self.given = {part: Sampled() for part in PARTS}
        super().__init__(config)

    def _load(self, grid):
        return _Recording(self._config, grid, self._wait, self.given)


class _Recording(GridNetworks):
    """Those for one grid."""

    def __init__(self, config, grid, wait, given: dict[str, Sampled]):
        super().__init__(config, grid, wait)
        self._given = given

    def image(self, image):
        self._given["image"].add({"image": image[None]})
        return super().image(image)

    def map(self, view):
        self._given["map"].add({"map": view[None]})
        return super().map(view)

    def coarse(self, encoded, image8):
        self._given["coarse"].add(self.coarse_inputs(encoded, image8))
        return super().coarse(encoded, image8)

    def fine(self, encoded, image4):
        self._given["fine"].add(self.fine_inputs(encoded, image4))
        return super().fine(encoded, image4)


def quantize_flow(prefix: str, queries: Iterable[Query]) -> None:
    """Writes the int8 files of the networks PREFIX_image, PREFIX_map, PREFIX_coarse and PREFIX_fine.onnx.

    The ranges of the values are those that refining the queries from rough starts leads to.
    """
    config = RefinerConfig(model=prefix, backend=Backend.ONNXRUNTIME, precision=Precision.FP32)
    models = RecordingSet(config)
    refiner = Refiner(config, models)
    for query in queries:
        start = start_pose(query.T_map_camera, ROUGH, query.number)
        refiner.refine(query.image, query.camera, query.crop(start), start, RefineMode.MULTI_START)
    for part, given in models.given.items():
        quantize(Path(f"{prefix}_{part}.onnx"), given.kept)


def quantize(path: Path, given: list[Inputs]) -> None:
    """Writes the int8 file of a network, scaled for the values that the inputs `given` lead to.

    In 8 bits are the convolutions that half precision takes, too, and what carries their results on, but for the
    first one on each way from image or map view: the inverse depth of a map view has more than 256 steps that matter.
    Weights have 7 bits, one scale for each output channel: processors without VNNI add two products in 16 bits, which
    8 bits would overflow.
    """
    from onnxruntime import quantization

    model = onnx.load_model_from_string(with_plain_weights(path.read_bytes()))
    nodes = _quantized(model.graph)
    target = int8_file(path)
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_suffix(".part.onnx")
    # it recommends a preparation that is for graphs not optimized by the exporter
    logging.getLogger().addFilter(_not_prepared)
    try:
        quantization.quantize_static(
            model, str(temporary), _Reader(given), quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
            per_channel=True, reduce_range=True, nodes_to_quantize=nodes,
            calibrate_method=quantization.CalibrationMethod.MinMax, extra_options={"CalibMovingAverage": True},
        )  # fmt: skip
    finally:
        logging.getLogger().removeFilter(_not_prepared)
    model = onnx.load(temporary)
    forget_origin(model)
    onnx.save(model, temporary)
    _add(temporary, {INT8_OF: sha256_of(path)})
    os.replace(temporary, target)


def add_metadata(prefix: str, values: dict) -> None:
    """Adds to this package's metadata in the files of the networks PREFIX_*, those for int8 among them."""
    for part in PARTS:
        path = Path(f"{prefix}_{part}.onnx")
        _add(path, values)
        _add(int8_file(path), {**values, INT8_OF: sha256_of(path)})


def move_networks(source: Path, target: Path) -> None:
    """Moves network files from folder to folder, and checkpoints that come with them.

    int8 files there that would no longer fit are removed.
    """
    for path in source.glob("*.onnx"):
        old, new = int8_file(target / path.name), int8_file(path)
        old.unlink(missing_ok=True)
        os.replace(path, target / path.name)
        if new.exists():
            old.parent.mkdir(exist_ok=True)
            os.replace(new, old)
    for path in source.glob("checkpoints/*"):
        (target / "checkpoints").mkdir(exist_ok=True)
        os.replace(path, target / "checkpoints" / path.name)


def _add(path: Path, values: dict) -> None:
    model = onnx.load(path)
    known = parse_metadata({entry.key: entry.value for entry in model.metadata_props})
    onnx.helper.set_model_props(model, {METADATA_KEY: json.dumps({**known, **values})})
    onnx.save(model, path)


def _not_prepared(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


class _Reader:
    """Inputs as `quantize_static` asks for them."""

    def __init__(self, given: list[Inputs]):
        self._given = iter(given)

    def get_next(self):
        return next(self._given, None)


def _quantized(graph) -> list[str]:
    """The names of the nodes that compute in 8 bits; nodes that have none are given one."""
    kept = reduced_nodes(graph, without=_first_convolutions(graph))
    names = []
    for number, node in enumerate(graph.node):
        node.name = node.name or f"{node.op_type}_{number}"
        if key(node) in kept:
            names.append(node.name)
    return names


def _first_convolutions(graph) -> set[str]:
    """Keys of the convolutions that no other one comes before, in this network or in one whose results it takes."""
    first, after = set(), {value.name for value in graph.input if value.name not in RAW}
    for node in graph.node:
        follows = any(name in after for name in node.input)
        if node.op_type == "Conv" and not follows:
            first.add(key(node))
        if follows or node.op_type == "Conv":
            after.update(node.output)
    return first
