# SPDX-License-Identifier: Apache-2.0
"""Batches of images and map views that the place network learns to tell apart, and its loss on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..networks.place import PlaceNet, contrastive_loss
from .place_material import PlaceFeatures

SAME_M, SAME_DEG = 4.0, 30.0
"""Views up to so far from an image, and turned from it, are of the same place."""
NEAR_M, NEAR_DEG = 10.0, 60.0
"""Up to so far they are neither of the same place nor of another one."""
FALLOFF_M = 2.0
"""Views of the same place count less the farther away they are, with this standard deviation."""


class PlaceWorlds:
    """Features of all training shards; shards of one drive, and of one mirror image, are of one world."""

    def __init__(self, files: list[Path], rng: np.random.Generator):
        grouped: dict[str, list[PlaceFeatures]] = {}
        for file in files:
            name = file.stem.replace("_odd", "").replace("_even", "")
            grouped.setdefault(name, []).append(PlaceFeatures.read(file))
        self._groups, self._rng = list(grouped.values()), rng
        sizes = np.array([sum(len(part.images) for part in group) for group in self._groups], float)
        self._weights = np.sqrt(sizes) / np.sqrt(sizes).sum()

    def batch(self, worlds: int, images: int) -> tuple[torch.Tensor, ...]:
        """Images (N, C, h, w), what is seen of their cells (N, 1, h, w), and poses (N, 5), see `numbered`.

        Then the same of views (2N, ...): the k-th of the first N is of the k-th image's place, the others of any.
        """
        rng, columns = self._rng, [[] for _ in range(6)]
        count = min(worlds, len(self._groups))
        for world in rng.choice(len(self._groups), count, replace=False, p=self._weights):
            group = self._groups[world]
            for part, share in zip(group, _shares(images, len(group)), strict=True):
                k = rng.choice(len(part.images), share, replace=share > len(part.images))
                other = rng.integers(len(part.views), size=share)
                both = np.concatenate([k, other])
                chosen = (
                    part.images[k], part.images_seen[k], numbered(part.image_poses[k], world),
                    part.views[both], part.views_seen[both], numbered(part.view_poses[both], world),
                )  # fmt: skip
                for column, values in zip(columns, chosen, strict=True):
                    column.append(values)
        return tuple(torch.from_numpy(np.concatenate(column).astype(np.float32)) for column in columns)


def _shares(total: int, parts: int) -> list[int]:
    """So many in all, as evenly as they go."""
    return [total // parts + (k < total % parts) for k in range(parts)]


def numbered(poses: np.ndarray, world: int) -> np.ndarray:
    """Poses (N, 4) with the number of their world as a fifth value."""
    return np.concatenate([poses, np.full((len(poses), 1), world)], 1)


def same_place(image_poses: torch.Tensor, view_poses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `contrastive_loss` takes of poses (N, 5) and (M, 5): target (N, M) and ignored (N, M)."""
    offset = image_poses[:, None] - view_poses[None]
    distance = offset[..., :2].norm(dim=2)
    turn = torch.rad2deg(torch.atan2(offset[..., 3].sin(), offset[..., 3].cos()).abs())
    together = offset[..., 4] == 0
    same = together & (distance < SAME_M) & (turn < SAME_DEG)
    near = together & (distance < NEAR_M) & (turn < NEAR_DEG)
    return torch.exp(-0.5 * (distance / FALLOFF_M) ** 2) * same, near & ~same


def narrowed(features: torch.Tensor, seen: torch.Tensor, share: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a share of the images (N, C, h, w) columns at both sides are not seen, as narrow cameras leave them."""
    n, w = len(features), features.shape[-1]
    column = torch.arange(w)
    left, right = (torch.randint(0, w // 3, (n, 1)) for _ in range(2))
    kept = ((column >= left) & (column < w - right)) | (torch.rand(n, 1) > share)
    mask = kept[:, None, None].to(features.dtype)
    return features * mask, seen * mask


def erased(features: torch.Tensor, seen: torch.Tensor, share: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, C, h, w) of which some blocks, up to so large a share, are taken for not seen.

    What tells a place then lies in more than one of its things: what is there today need not be tomorrow.
    """
    n, _, h, w = features.shape
    mask = (torch.rand(n, 1, h, w) >= share * torch.rand(n, 1, 1, 1)).to(features.dtype)
    return features * mask, seen * mask


def descriptor_loss(net: PlaceNet, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss of a batch of `PlaceWorlds`, and the share of images whose most similar view is of the same place."""
    images, images_seen, image_poses, views, views_seen, view_poses = batch
    images, images_seen = erased(*narrowed(images, images_seen))
    views, views_seen = erased(views, views_seen)
    target, ignored = same_place(image_poses, view_poses)
    described = net.image_head(images, images_seen), net.map_head(views, views_seen)
    logits = described[0] @ described[1].T * net.log_temperature.clamp(max=4.0).exp()
    loss = contrastive_loss(logits, target, ignored)
    best = logits.detach().masked_fill(ignored, -1e4).argmax(1, keepdim=True)
    return loss, {"matched": float((target.gather(1, best) > 0).float().mean())}
