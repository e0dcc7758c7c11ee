# SPDX-License-Identifier: Apache-2.0
"""Latent codes by grid cell of the map, and the scene-agnostic decoder that reads them (NeuMap, arXiv 2211.11177).

A grid cell is a square of the map; each of its codes tells the decoder of some things in it. For an image the decoder
tells where in the grid cell each cell of the image lies, and how sure that is; what lies elsewhere is unsure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MapFormatError, ModelError
from ..geometry import Camera
from ..inference import load_model
from ..lhmap import SectionData
from ..lhmap.sections import Head
from .encoder import COARSE, cell_centres
from .heads import Look
from .inputs import whole_image, with_surroundings
from .pnp import SolvedPose, drawn_off, refined_pose
from .section import (
    VERSION,
    LearnedImages,
    Shapes,
    camera_head,
    camera_in,
    image_shapes,
    images_in,
    packed,
    unpacked,
)

if TYPE_CHECKING:
    from ..lhmap import LHMap

METHOD = "codes"
NETWORKS = "codes"
"""Prefix of the decoder's files."""
WEIGHTS_KEY = "weights"
"""In the metadata of those: the SHA-256 of the checkpoint that they are of."""
HALF_M = 12.5
"""Half of the edge of a grid cell [m], and the unit of coordinates in it."""
MAX_CODES = 96
"""A grid cell has at most so many: the decoder's file takes no more."""
ASKED = 8
"""An image asks at most so many grid cells."""
NONE = 0xFFFF
"""Stands for no grid cell."""
MAX_LOG_SIGMA = 4.8
"""A cell of the image that is less sure than this lies in none of the grid cells."""
NEAR_PX, FLOOR_PX, SIGMA_PX = 60.0, 5.0, 20.0
"""A place is drawn so near its cell from the pose to start at, is no better for being nearer, and errs by so much."""


@dataclass(frozen=True)
class MapCodes:
    """What `codes` learned: C grid cells, K codes of V values."""

    method = METHOD
    encoder: str
    """SHA-256 of the network that the features are of."""
    decoder: str
    """SHA-256 of the weights that the codes were learned with."""
    view: Camera
    """Images are brought to this camera, see `encoder`."""
    images: LearnedImages
    """`head` is the number of a stretch of the path."""
    asked: np.ndarray
    """(S, ASKED) uint16, grid cells that images of a stretch see, most of it first; NONE: fewer."""
    centres: np.ndarray
    """(C, 3) float32 [m], relative to the map's origin."""
    counts: np.ndarray
    """(C,) uint8, codes of each grid cell."""
    steps: np.ndarray
    """(K,) float16, size of one step of each code's values."""
    values: np.ndarray
    """(K, V) int8, the codes of the first grid cell, of the second, and so on."""

    def of_cell(self, number: int) -> np.ndarray:
        """Codes (n, V) float32 of a grid cell."""
        end = int(self.counts[: number + 1].sum(dtype=int))
        own = slice(end - int(self.counts[number]), end)
        return self.values[own] * self.steps[own, None].astype(np.float32)

    def to_section(self) -> SectionData:
        """As bytes."""
        head = {
            "encoder": self.encoder, "decoder": self.decoder, "view": camera_head(self.view),
            "images": len(self.images.yaws), "stretches": len(self.asked), "cells": len(self.centres),
            "codes": len(self.values), "values": self.values.shape[1],
        }  # fmt: skip
        own = {name: getattr(self, name) for name in ("asked", "centres", "counts", "steps", "values")}
        return packed(METHOD, head, _shapes(head), own | vars(self.images))

    @classmethod
    def of(cls, lhmap: LHMap) -> MapCodes | None:
        """Those of a map; None if it has none. Raises MapFormatError if they are damaged or of an unknown version."""
        return lhmap.parsed_section(METHOD, VERSION, _parse)


def quantized(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes (K, V) as the steps (K,) float16 and values (K, V) int8 of `MapCodes`."""
    steps = np.maximum(np.abs(codes).max(1) / 127, 1e-4).astype(np.float16)
    values = np.clip(np.round(codes / steps[:, None].astype(np.float32)), -127, 127)
    return steps, values.astype(np.int8)


def _shapes(head: Head) -> Shapes:
    images, stretches, cells, codes, values = (
        int(head[name]) for name in ("images", "stretches", "cells", "codes", "values")
    )
    if min(images, stretches, cells, values) < 1 or codes < 0 or cells >= NONE:
        raise ValueError(f"{images} images, {stretches} stretches, {cells} cells, {codes} codes of {values} found")
    return {
        **image_shapes(images), "asked": ("<u2", (stretches, ASKED)), "centres": ("<f4", (cells, 3)),
        "counts": ("u1", (cells,)), "steps": ("<f2", (codes,)), "values": ("i1", (codes, values)),
    }  # fmt: skip


def _parse(data: bytes) -> MapCodes:
    head, arrays = unpacked(data, _shapes)
    asked = arrays["asked"]
    if ((asked != NONE) & (asked >= len(arrays["centres"]))).any():
        raise ValueError(f"a grid cell of number {asked[asked != NONE].max()} found of {len(arrays['centres'])}")
    if arrays["counts"].sum(dtype=int) != len(arrays["values"]):
        raise ValueError(f"{arrays['counts'].sum(dtype=int)} codes in grid cells found, {len(arrays['values'])} in all")
    own = (arrays[name] for name in ("asked", "centres", "counts", "steps", "values"))
    return MapCodes(
        str(head["encoder"]), str(head["decoder"]), camera_in(head), images_in(arrays, len(asked)), *own
    )  # fmt: skip


class CodesDecoder:
    """Decodes a map's codes for images, as `heads.Heads` runs heads."""

    def __init__(self, learned: MapCodes, origin: Path | str):
        """`origin` names the map. Raises MapFormatError for codes of another decoder, and ModelError."""
        self.learned = learned
        grid = learned.view.width, learned.view.height
        self._image, self._decoder = (load_model(f"{NETWORKS}_{part}", grid=grid) for part in ("image", "decoder"))
        for model in (self._image, self._decoder):
            found = str(model.metadata.get(WEIGHTS_KEY))
            if found != learned.decoder:
                raise MapFormatError(
                    f"{origin}: codes learned with the decoder {learned.decoder[:12]} found, expected "
                    f"{found[:12]} of {model.path.name}: lhmap learn learns anew"
                )
        shape = self._decoder.inputs["codes"]
        if shape[2] != learned.values.shape[1] or learned.counts.max() > shape[1]:
            raise ModelError(
                f"{self._decoder.path} takes {shape[1]} codes of {shape[2]} values, but {origin} has "
                f"{learned.counts.max()} of {learned.values.shape[1]}"
            )

    def look(self, features: np.ndarray) -> Look:
        """An image with features (M, F)."""
        view = self.learned.view
        cells = with_surroundings(features, COARSE, view).T.astype(np.float32)
        shape = 1, len(cells), view.height // 8, view.width // 8
        whole = whole_image(features, COARSE, view)[None].astype(np.float32)
        out = self._image.run({"cells": np.ascontiguousarray(cells).reshape(shape), "whole": whole})
        return Look(out["place"][0], out["embedded"])

    def pose(self, number: int, look: Look, seen: np.ndarray, start: np.ndarray) -> SolvedPose | None:
        """The pose of the view's camera, relative to the map's origin, by the grid cells that a stretch sees.

        `start` (4, 4) is the pose of a mapping image that looks alike: places are too coarse for a pose from a few of
        them. Cells of the image that are `seen` (M,) bool count, each by the grid cell that is sure of it and puts it
        near where it would be seen from there. None where these say none.
        """
        asked = [int(cell) for cell in self.learned.asked[number] if cell != NONE]
        if not asked:
            return None
        for cell in asked:
            if cell not in look.decoded:
                look.decoded[cell] = self._decode(look.cells, cell)
        out = np.array([look.decoded[cell] for cell in asked])[:, :, seen].transpose(0, 2, 1)
        places = out[..., :3].astype(np.float64) * HALF_M + self.learned.centres[asked][:, None]
        pixels, view = cell_centres(self.learned.view)[seen], self.learned.view
        errors = np.array([drawn_off(start, own, pixels, view) for own in places])
        best = (np.log(errors + FLOOR_PX) + out[..., 3]).argmin(0)
        chosen = best, np.arange(len(pixels))
        keep = (errors[chosen] < NEAR_PX) & (out[chosen][:, 3] < MAX_LOG_SIGMA)
        return refined_pose(start, places[chosen][keep], pixels[keep], SIGMA_PX, view)

    def _decode(self, embedded: np.ndarray, cell: int) -> np.ndarray:
        """(4, M) of a grid cell: coordinates in it [HALF_M], and the logarithm of the error [pixels]."""
        own, (_, most, values) = self.learned.of_cell(cell), self._decoder.inputs["codes"]
        codes, kept = np.zeros((1, most, values), np.float32), np.zeros((1, most), np.float32)
        codes[0, : len(own)], kept[0, : len(own)] = own, 1
        out = self._decoder.run({"embedded": embedded, "codes": codes, "kept": kept})["outputs"]
        return out.reshape(out.shape[1], -1)
