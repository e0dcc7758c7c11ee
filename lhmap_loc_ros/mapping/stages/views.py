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
from .tiles import Neighbourhood


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
        parts = near.by_tile(np.flatnonzero(best[:, 0] >= 0))
        ends = np.r_[0, near.ends[:-1]] if len(near.ends) else []
        values = [best[part + start] for part, start in zip(parts, ends, strict=True)]
        save(
            self.out,
            tiles=np.array(near.tiles, np.int32).reshape(-1, 2),
            ends=np.cumsum([len(part) for part in parts]),
            index=np.concatenate(parts).astype(np.uint32) if parts else np.zeros(0, np.uint32),
            best=np.concatenate(values) if values else np.zeros((0, self.config.heat_views.top_views), np.float32),
        )


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
            (number,) = np.flatnonzero((data["tiles"] == self.tile).all(axis=1))
            part = slice(data["ends"][number - 1] if number else 0, data["ends"][number])
            index = data["index"][part]
            both = np.concatenate([best[index], data["best"][part]], axis=1)
            best[index] = -np.sort(-both, axis=1)[:, :top]
        save(self.out, heat=mean_of_best(best, self.config.heat_views.full_scale))
