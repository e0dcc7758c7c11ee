# SPDX-License-Identifier: Apache-2.0
"""Stage 3: what the heat network says from some virtual views; stage 4: the heat of a tile's points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...inference import Model
from ..config import BuildConfig
from ..heat import Stop, best_of_views, load_heat_model, mean_of_best
from .store import load, save
from .tiles import Neighbourhood, part_of


@dataclass(frozen=True)
class ViewJob:
    """Writes, tile after tile, which points some views see and the best values they give them."""

    stops: tuple[Stop, ...]
    tiles: tuple[tuple[tuple[int, int], Path], ...]
    """Those that the views may see."""
    config: BuildConfig
    model_sha256: str
    out: Path

    def run(self) -> None:
        near = Neighbourhood.of(self.tiles, self.config.tile_m)
        model = _model(self.config.heat_views.model, self.model_sha256)
        stops = [stop.moved(-near.origin) for stop in self.stops]
        best = best_of_views(near.points, near.intensity, stops, model, self.config.heat_views)
        seen = np.flatnonzero(best[:, 0] >= 0)
        save(self.out, **near.by_tile(seen), best=best[seen])


@lru_cache(maxsize=2)
def _model(name: str, sha256: str) -> Model:
    """One network a process; of the same name another content may come later."""
    return load_heat_model(name)


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
            part = part_of(data, self.tile)
            index = data["index"][part]
            both = np.concatenate([best[index], data["best"][part]], axis=1)
            best[index] = -np.sort(-both, axis=1)[:, :top]
        save(self.out, heat=mean_of_best(best, self.config.heat_views.full_scale))
