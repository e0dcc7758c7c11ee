# SPDX-License-Identifier: Apache-2.0
"""Stage 4, heat: the scores of a tile's points in all virtual views, as one heat for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..heat import VIEW_SAMPLING, mean_of_best
from .store import load, save
from .tiles import tile_slice


@dataclass(frozen=True)
class HeatJob:
    """Writes the heat (N,) of a tile's points from all views of it."""

    tile: tuple[int, int]
    points: Path
    views: tuple[Path, ...]
    full_scale: float
    """Mean score that is heat 1."""
    out: Path

    def run(self) -> None:
        count = len(load(self.points)["points"])
        top = VIEW_SAMPLING.top_views
        best = np.full((count, top), -1.0, np.float32)
        for path in self.views:
            data = load(path)
            part = tile_slice(data, self.tile)
            index = data["index"][part]
            both = np.concatenate([best[index], data["best"][part]], axis=1)
            best[index] = -np.sort(-both, axis=1)[:, :top]
        save(self.out, heat=mean_of_best(best, self.full_scale))
