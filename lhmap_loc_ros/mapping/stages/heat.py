# SPDX-License-Identifier: Apache-2.0
"""Stage 4, heat: the scores of a tile's points in all virtual views, as one heat for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import BuildConfig
from ..heat import mean_of_best
from .store import load, save
from .tiles import tile_slice


@dataclass(frozen=True)
class HeatJob:
    """Writes the heat (N,) of a tile's points from all views of it."""

    tile: tuple[int, int]
    points: Path
    views: tuple[Path, ...]
    config: BuildConfig
    out: Path

    def run(self) -> None:
        count = len(load(self.points)["points"])
        top = self.config.heat_views.top_views
        best = np.full((count, top), -1.0, np.float32)
        for path in self.views:
            data = load(path)
            part = tile_slice(data, self.tile)
            index = data["index"][part]
            both = np.concatenate([best[index], data["best"][part]], axis=1)
            best[index] = -np.sort(-both, axis=1)[:, :top]
        save(self.out, heat=mean_of_best(best, self.config.heat_views.full_scale))
