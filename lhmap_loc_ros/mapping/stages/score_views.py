# SPDX-License-Identifier: Apache-2.0
"""Stage 3, score_views: what the heat network says of the points that some virtual views see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...inference import Model
from ..heat import VirtualView, best_of_views, load_heat_model
from .store import save
from .tiles import TileCloud


@dataclass(frozen=True)
class ScoreViewsJob:
    """Writes, tile after tile, which points some views see and their best scores."""

    views: tuple[VirtualView, ...]
    tiles: tuple[tuple[tuple[int, int], Path], ...]
    """Those within reach of the views."""
    tile_m: float
    model_name: str
    model_sha256: str
    out: Path

    def run(self) -> None:
        near = TileCloud.of(self.tiles, self.tile_m)
        model = _model(self.model_name, self.model_sha256)
        views = [view.translated(-near.origin) for view in self.views]
        best = best_of_views(near.points, near.intensity, views, model)
        seen = np.flatnonzero(best[:, 0] >= 0)
        save(self.out, **near.by_tile(seen), best=best[seen])


@lru_cache(maxsize=2)
def _model(name: str, sha256: str) -> Model:
    """One network a process, loaded again when a file of the same name has other content."""
    return load_heat_model(name)
