# SPDX-License-Identifier: Apache-2.0
"""Endless batches of varied samples from all shards at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from .shards import Frame, Shard

SampleFunction = Callable[[Frame, np.random.Generator], tuple[np.ndarray, ...]]


def find_shards(patterns: list[str]) -> list[Path]:
    """Files of glob patterns, in order; none is an InputError."""
    found = sorted({p for pattern in patterns for p in Path("/").glob(str(Path(pattern).resolve())[1:])})
    found = [p for p in found if not p.name.endswith(".part.npz")]
    if not found:
        raise InputError(f"no training shard matches {patterns}")
    return found


class Samples(torch.utils.data.IterableDataset):
    """Endless samples of all shards; every worker of every seed draws its own."""

    def __init__(self, config, sample: SampleFunction, seed: list[int]):
        self._config, self._sample, self._seed = config, sample, seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self._seed, info.id if info else 0])
        shards = [Shard(p) for p in find_shards(self._config.train)]
        weights = np.array([self._weight(s) for s in shards])
        while True:
            shard = shards[rng.choice(len(shards), p=weights / weights.sum())]
            yield self._sample(shard.frame(int(rng.integers(len(shard)))), rng)

    def _weight(self, shard: Shard) -> float:
        factor = next((w for part, w in self._config.weights.items() if part in shard.path.name), 1.0)
        return factor * len(shard)


def batches(config, sample: SampleFunction, seed: list[int]) -> torch.utils.data.DataLoader:
    """Batches of what `sample(frame, rng)` gives, in order, prepared by `config.workers` processes.

    `config` has the fields train, weights, batch and workers of `TrainConfig`. Another `seed` draws other samples.
    """
    return torch.utils.data.DataLoader(
        Samples(config, sample, seed),
        batch_size=config.batch,
        num_workers=config.workers,
        prefetch_factor=3 if config.workers else None,
    )
