# SPDX-License-Identifier: Apache-2.0
"""Endless batches of varied samples from all shards at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from .shards import Frame, Shard

SampleFunction = Callable[[Frame, np.random.Generator, tuple[int, int]], tuple[np.ndarray, ...]]
"""Takes a frame, where chance comes from, and the width and height of the pixel grid."""


def find_shards(patterns: list[str]) -> list[Path]:
    """Files of glob patterns, in order; none is an InputError."""
    found = sorted({p for pattern in patterns for p in Path("/").glob(str(Path(pattern).resolve())[1:])})
    # those that are being written, or that an interrupted run left
    found = [p for p in found if ".part" not in p.suffixes]
    if not found:
        raise InputError(f"no training shard matches {patterns}")
    return found


def weight_of(shard: Path, weights: dict[str, float]) -> float:
    """How often a shard comes: the first of the weights whose name is a part of its own, else 1."""
    return next((weight for part, weight in weights.items() if part in shard.name), 1.0)


def check_names(shards: Iterable[Path]) -> None:
    """Raises InputError for two shards of one name, for whoever keeps what is computed of a shard by its name."""
    known: dict[str, Path] = {}
    for shard in shards:
        other = known.setdefault(shard.name, shard)
        if other != shard:
            raise InputError(f"{other} and {shard} have one name, expected different ones: features are kept by it")


class Batches(torch.utils.data.IterableDataset):
    """Endless batches of samples of all shards, each batch on one pixel grid; every worker of every seed draws its own.

    A place weighs like a place, however many images it has.
    """

    def __init__(self, config, sample: SampleFunction, seed: list[int]):
        self._config, self._sample, self._seed = config, sample, seed

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([*self._seed, info.id if info else 0])
        shards = [Shard(p) for p in find_shards(self._config.train)]
        weights = np.array([self._weight(s) for s in shards])
        grids = self._config.grids
        while True:
            grid = grids[rng.integers(len(grids))]
            samples = []
            for _ in range(self._config.batch):
                shard = shards[rng.choice(len(shards), p=weights / weights.sum())]
                frame = shard.frame(int(rng.choice(shard.places[rng.integers(len(shard.places))])))
                samples.append(self._sample(frame, rng, grid))
            yield tuple(torch.from_numpy(np.stack(column)) for column in zip(*samples, strict=True))

    def _weight(self, shard: Shard) -> float:
        return weight_of(shard.path, self._config.weights) * len(shard.places)


def batches(config, sample: SampleFunction, seed: list[int]) -> torch.utils.data.DataLoader:
    """Batches of what `sample(frame, rng, grid)` gives, in order, prepared by `config.workers` processes.

    `config` has the fields train, weights, grids, batch and workers of `TrainConfig`. Another `seed` draws other
    samples.
    """
    return torch.utils.data.DataLoader(
        Batches(config, sample, seed),
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=3 if config.workers else None,
    )
