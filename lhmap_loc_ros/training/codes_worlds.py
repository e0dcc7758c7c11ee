# SPDX-License-Identifier: Apache-2.0
"""Grid cells of many worlds, or of one map, and batches of what sees them: what codes and their decoder learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..networks.codes import CodesNet
from ..scenes.codes import HALF_M
from .codes_material import CodesFeatures

MIN_PIXELS = 150
"""A grid cell of which fewer cells of images are known does not train."""


@dataclass(frozen=True)
class GridCell:
    """A square of the map of 2 `HALF_M`, and what sees it; numbers of cells of images."""

    centre: np.ndarray
    """(3,) float64 [m]."""
    teach: np.ndarray
    """In it, of images that codes learn from."""
    ask: np.ndarray
    """In it, of images that only ask."""
    outside: np.ndarray
    """Of the same images, elsewhere or unknown."""


def grid_cells(places: np.ndarray, image: np.ndarray, asks: np.ndarray, min_pixels: int = MIN_PIXELS) -> list[GridCell]:
    """Those of cells of images (N,) of numbers `image` at places (N, 3), NaN where unknown; `asks` (I,) bool."""
    known = np.flatnonzero(np.isfinite(places[:, 0]))
    if not len(known):
        return []
    squares, number = np.unique(np.floor(places[known, :2] / (2 * HALF_M)), axis=0, return_inverse=True)
    order = np.argsort(number.ravel(), kind="stable")
    out = []
    ends = np.cumsum(np.bincount(number.ravel()))[:-1]
    for square, members in zip(squares, np.split(known[order], ends), strict=True):
        teach = members[~asks[image[members]]]
        if len(teach) < min_pixels:
            continue
        inside = np.zeros(len(places), bool)
        inside[members] = True
        seeing = np.isin(image, np.unique(image[members]))
        centre = np.array([*(2 * square + 1) * HALF_M, np.median(places[teach, 2])])
        out.append(GridCell(centre, teach, members[asks[image[members]]], np.flatnonzero(seeing & ~inside)))
    return out


class Worlds:
    """Grid cells of all worlds, and batches of what sees them."""

    def __init__(
        self, worlds: list[CodesFeatures], net: CodesNet, codes: int, rng: np.random.Generator,
        min_pixels: int = MIN_PIXELS,
    ):  # fmt: skip
        """With anchors for so many codes of each grid cell, which so many cells of images are known of at least.

        Raises InputError where there is no such grid cell.
        """
        self._rng, parts = rng, {name: [] for name in ("cells", "place", "pose", "rays", "depth", "places", "focal")}
        self.cells: list[GridCell] = []
        start = 0
        for world in worlds:
            places = world.places()
            for cell in grid_cells(places, world.image, world.asks, min_pixels):
                sets = (cell.teach + start, cell.ask + start, cell.outside + start)
                self.cells.append(GridCell(cell.centre, *(numbers.astype(np.int32) for numbers in sets)))
            with torch.no_grad():
                parts["cells"].append(net.normalised(torch.from_numpy(world.cells).float()).half().numpy())
                place = net.place(torch.from_numpy(world.whole)).numpy()
            parts["place"].append(place[world.image])
            parts["pose"].append(world.poses[world.image])
            for name, values in (("rays", world.rays), ("depth", world.depth), ("places", places)):
                parts[name].append(values)
            parts["focal"].append(world.focal[world.image])
            start += len(places)
        if not self.cells:
            raise InputError(
                f"no grid cell of {2 * HALF_M:g} m with {min_pixels} cells of images of known depth found, expected one"
            )
        self._parts = {name: np.concatenate(values) for name, values in parts.items()}
        sizes = np.sqrt([len(cell.teach) for cell in self.cells])
        self._weights = sizes / sizes.sum()
        # any first few of them are as good as any few
        self._anchors = np.array([rng.choice(c.teach, codes, replace=len(c.teach) < codes) for c in self.cells])

    @property
    def drawn(self) -> dict[str, Any]:
        """How far chance has come: set to what it was, the same batches follow."""
        return self._rng.bit_generator.state

    @drawn.setter
    def drawn(self, state: dict[str, Any]) -> None:
        self._rng.bit_generator.state = state

    def draw(self, count: int) -> np.ndarray:
        """Numbers of some grid cells, those that many images see more often."""
        return self._rng.choice(len(self.cells), count, replace=len(self.cells) < count, p=self._weights)

    def anchors(self, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """What the codes of grid cells begin with, as `teaching` tells it."""
        return self._gather(self._anchors[chosen], chosen, True)

    def teaching(self, chosen: np.ndarray, inside: int, outside: int) -> dict[str, torch.Tensor]:
        """So many cells of images in each grid cell, and outside of it: features, places and cameras, by names."""
        numbers = []
        for cell in (self.cells[k] for k in chosen):
            elsewhere = cell.outside if len(cell.outside) else cell.teach
            parts = self._rng.choice(cell.teach, inside), self._rng.choice(elsewhere, outside)
            numbers.append(np.concatenate(parts))
        return self._gather(np.array(numbers), chosen, np.arange(inside + outside) < inside)

    def asking(self, chosen: np.ndarray, inside: int) -> dict[str, torch.Tensor]:
        """Likewise of images that no code learns from, where there are any."""
        cells = [self.cells[k] for k in chosen]
        numbers = [self._rng.choice(c.ask if len(c.ask) else c.teach, inside) for c in cells]
        return self._gather(np.array(numbers), chosen, True)

    def _gather(self, numbers: np.ndarray, chosen: np.ndarray, inside) -> dict[str, torch.Tensor]:
        p, centres = self._parts, np.array([self.cells[k].centre for k in chosen])
        pose = p["pose"][numbers].copy()
        pose[..., :3, 3] -= centres[:, None]
        out = {name: p[name][numbers] for name in ("cells", "place", "rays", "depth", "focal")}
        out |= {"pose": pose, "coordinates": (p["places"][numbers] - centres[:, None]) / HALF_M}
        out["inside"] = np.isfinite(out["depth"]) & inside
        return {
            name: torch.from_numpy(values if values.dtype == bool else np.nan_to_num(values).astype(np.float32))
            for name, values in out.items()
        }
