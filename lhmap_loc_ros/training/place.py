# SPDX-License-Identifier: Apache-2.0
"""Training the place network: heads on frozen encoders, by a symmetric contrastive loss."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..configuration import Config
from ..networks.place import PlaceNet
from .checkpoint import load_checkpoint, read_metadata, save_checkpoint
from .data import check_names, find_shards
from .descent import descend
from .place_batches import PlaceWorlds, descriptor_loss, numbered
from .place_material import PlaceFeatures, write_features
from .place_recall import column_means, recalls

log = logging.getLogger(__name__)
AVERAGED = 0.98
"""The weights that are validated and kept are a running mean, of so much of itself at each step."""
BASELINE_COLUMNS = 5
VALIDATION_SPACING_M = 2.0
"""Distance between the views that images are looked for among."""
_REPORTED = "recall_at_5_5m"
"""What is verified afterwards are the first few."""


class PlaceTrainConfig(Config):
    """Settings of `lhmap train place`."""

    train: list[str] = Field(description="glob patterns of the training shards")
    validation: dict[str, str] = Field(
        default_factory=dict, description="name -> glob pattern of the shards that choose the best checkpoint"
    )
    variants: int = Field(1, ge=1, description="variations of each image, and as many of what a mirror shows of it")
    spacing: float = Field(8.0, gt=0, description="distance between the views of other places in training [m]")
    worlds: int = Field(4, ge=1, description="worlds of a step")
    images: int = Field(24, ge=2, description="images of each world of a step; twice as many map views")
    steps: int = Field(1500, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    width: int = Field(48, ge=8, description="channels of the heads")
    columns: int = Field(5, ge=1, description="parts of the width that are pooled by themselves")
    of_column: int = Field(48, ge=1, description="values of each")
    dimension: int = Field(256, ge=8, description="values of a descriptor")
    dropout: float = Field(0.2, ge=0, lt=1)
    workers: int = Field(2, ge=1, description="processes that compute features")
    threads: int = Field(2, ge=1, description="CPU threads of the training")
    log_every: int = Field(50, ge=1)
    validate_every: int = Field(250, ge=1)
    seed: int = 0


@torch.no_grad()
def describe(net: PlaceNet, features: PlaceFeatures) -> tuple[np.ndarray, np.ndarray]:
    """Descriptors of the images (N, D) and of the views (M, D)."""
    net.eval()

    def of(head, values, seen):
        parts = [
            head(torch.from_numpy(values[k : k + 256]).float(), torch.from_numpy(seen[k : k + 256]).float())
            for k in range(0, len(values), 256)
        ]
        return torch.cat(parts).numpy()

    return of(net.image_head, features.images, features.images_seen), of(
        net.map_head, features.views, features.views_seen
    )


def _baseline(features: PlaceFeatures) -> tuple[np.ndarray, np.ndarray]:
    """`describe` without learning."""
    return tuple(
        column_means(values, seen, BASELINE_COLUMNS)
        for values, seen in ((features.images, features.images_seen), (features.views, features.views_seen))
    )


def validate(net: PlaceNet | None, sets: dict[str, list[PlaceFeatures]]) -> dict[str, dict[str, float]]:
    """Recalls by name of the validation set, each image among the views of all sets; None: those of the baseline."""
    numbers = iter(range(sum(map(len, sets.values()))))
    queries: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    database, poses = [], []
    for name, worlds in sets.items():
        for world in worlds:
            number = next(numbers)
            images, views = describe(net, world) if net is not None else _baseline(world)
            queries.setdefault(name, []).append((images, numbered(world.image_poses, number)))
            database.append(views)
            poses.append(numbered(world.view_poses, number))
    if not sets:
        return {}
    database, poses = np.concatenate(database), np.concatenate(poses)
    out = {}
    for name, parts in queries.items():
        images, image_poses = (np.concatenate(side) for side in zip(*parts, strict=True))
        out[name] = recalls(images @ database.T, image_poses, poses)
    return out


def train_place(config: PlaceTrainConfig, out: Path, resume: bool = True) -> Path:
    """Train the heads and return the best checkpoint, or the last where nothing validates.

    Writes OUT/features (made once), OUT/last.safetensors and OUT/best.safetensors. Raises InputError for shards that
    are not there.
    """
    # 1. features of all shards, and of what a mirror shows of those that train
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    train, validation = _features(config, out)
    worlds = PlaceWorlds(train, rng)
    sets = {name: [PlaceFeatures.read(file) for file in files] for name, files in validation.items()}
    for name, figures in validate(None, sets).items():
        log.info("baseline  %s: %s", name, _text(figures))
    # 2. the network
    net = PlaceNet((config.width,), (config.columns,), (config.of_column,), (config.dimension,), (config.dropout,))
    mean = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED), use_buffers=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, last, best = 0, out / "last.safetensors", out / "best.safetensors"
    if resume and last.exists():
        _, step = load_checkpoint(last, net, optimizer)
        mean.module.load_state_dict(net.state_dict())
        # not those that the run began with, again
        rng.bit_generator.state = np.random.default_rng([config.seed, step]).bit_generator.state
        torch.manual_seed(config.seed + step)
    best_score = float(read_metadata(best).get("score", "-1")) if resume and best.exists() else -1.0
    # 3. step by step
    net.train()

    def after(step: int, done: bool) -> None:
        nonlocal best_score
        mean.update_parameters(net)
        if step % config.validate_every == 0 or done:
            save_checkpoint(last, net, optimizer, step)
            score = _score(mean.module, sets, step)
            if sets and score > best_score:
                best_score = score
                save_checkpoint(best, mean.module, None, step, {"score": repr(score)})

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return descriptor_loss(net, worlds.batch(config.worlds, config.images))

    descend(config, step, net, {optimizer: 1.0}, loss, after)
    # not one that another run left
    return best if best_score >= 0 else last


def _score(net: PlaceNet, sets: dict[str, list[PlaceFeatures]], step: int) -> float:
    """Mean over the validation sets of the share of images found within 5 m by one of the first five views."""
    found = validate(net, sets)
    for name, figures in found.items():
        log.info("step %d  validation %s: %s", step, name, _text(figures))
    return float(np.mean([figures[_REPORTED] for figures in found.values()])) if found else -1.0


def _text(figures: dict[str, float]) -> str:
    return "  ".join(f"{name} {100 * value:.0f} %" for name, value in figures.items())


def _features(config: PlaceTrainConfig, out: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Files of features that train, and those of each validation set; those that are not there yet are made.

    Raises InputError for shards that are not there, and for two of one name.
    """
    folder, jobs, train = out / "features", [], []
    shards = find_shards(config.train)
    sets = {name: find_shards([pattern]) for name, pattern in config.validation.items()}
    check_names(shards)
    check_names(shard for found in sets.values() for shard in found)
    for shard in shards:
        for mirror in (False, True):
            file = folder / "train" / f"{shard.stem}{'_mirror' if mirror else ''}.npz"
            jobs.append((shard, file, mirror, config.variants, config.spacing, True))
            train.append(file)
    validation: dict[str, list[Path]] = {}
    for name, found in sets.items():
        validation[name] = [folder / "validation" / shard.name for shard in found]
        for shard, file in zip(found, validation[name], strict=True):
            jobs.append((shard, file, False, config.variants, VALIDATION_SPACING_M, False))
    write_features(jobs, config.workers)
    return train, validation
