# SPDX-License-Identifier: Apache-2.0
"""Endless batches of varied samples from all shards at hand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from .samples import training_sample, training_start
from .shards import Shard


def find_shards(patterns: list[str]) -> list[Path]:
    """Files of glob patterns, in order; none is an InputError."""
    found = sorted({p for pattern in patterns for p in Path("/").glob(str(Path(pattern).resolve())[1:])})
    found = [p for p in found if not p.name.endswith(".part.npz")]
    if not found:
        raise InputError(f"no training shard matches {patterns}")
    return found


class Samples(torch.utils.data.IterableDataset):
    """Endless samples of all shards; every worker draws its own.

    `config` has the fields train, weights, width, height and seed of `TrainConfig`; `start` is the step of
    the run, so that a resumed one draws new samples.
    """

    def __init__(self, config, start: int, draw_start=training_start):
        self.config, self.start, self.draw_start = config, start, draw_start

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        torch.set_num_threads(1)
        c = self.config
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([c.seed, self.start, info.id if info else 0])
        paths = find_shards(c.train)
        shards = [Shard(p) for p in paths]
        weights = np.array([self._weight(s) for s in shards])
        while True:
            shard = shards[rng.choice(len(shards), p=weights / weights.sum())]
            s = training_sample(shard.frame(int(rng.integers(len(shard)))), c.width, c.height, rng, self.draw_start)
            yield tuple(getattr(s, field.name) for field in fields(s))

    def _weight(self, shard: Shard) -> float:
        factor = next((w for part, w in self.config.weights.items() if part in shard.path.name), 1.0)
        return factor * len(shard)


def batches(config, start: int, draw_start=training_start) -> torch.utils.data.DataLoader:
    """Batches of the fields of `Sample`, in order, prepared by `config.workers` processes."""
    return torch.utils.data.DataLoader(
        Samples(config, start, draw_start),
        batch_size=config.batch,
        num_workers=config.workers,
        prefetch_factor=3 if config.workers else None,
    )
