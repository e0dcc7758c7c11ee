# SPDX-License-Identifier: Apache-2.0
"""Pose errors on fixed frames and fixed start errors, with the localizer's own code around the torch network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..evaluation.protocol import Method, Query, figures, run
from ..geometry import inverse, se3_log
from ..localization.refine import Refiner, RefinerConfig
from .samples import near_start
from .shards import Shard


class TorchModelSet:
    """The refiner's `ModelSet` around a torch network."""

    def __init__(self, net, width: int, height: int, covariance_scale=None):
        self.net, self.width, self.height = net.eval(), width, height
        self._device = next(net.parameters()).device
        self.covariance_scale = np.ones(6) if covariance_scale is None else np.asarray(covariance_scale)

    @torch.no_grad()
    def image(self, image):
        return self.net.image(self._tensor(image))

    @torch.no_grad()
    def coarse(self, view, image8):
        return self._arrays(self.net.coarse(self._tensor(view), image8))

    @torch.no_grad()
    def fine(self, view, image4):
        return self._arrays(self.net.fine(self._tensor(view), image4))

    def _tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array[None]).to(self._device)

    @staticmethod
    def _arrays(tensors) -> tuple[np.ndarray, ...]:
        return tuple(x[0].float().cpu().numpy() for x in tensors)


def shard_queries(shards: list[Shard], frames: int) -> Iterator[Query]:
    """Evenly spaced frames of every shard as queries.

    A shard holds each frame's own surroundings, chosen generously around the true pose, so the map cannot be
    cropped anew: good enough to choose between checkpoints, while figures to publish come from `lhmap evaluate`.
    """
    for number, shard in enumerate(shards):
        for k in np.linspace(0, len(shard) - 1, min(frames, len(shard))).astype(int):
            frame = shard.frame(int(k))
            image = np.ascontiguousarray(frame.image)
            yield Query(97 * number + int(k), image, frame.camera, frame.T_map_camera, lambda _, crop=frame.crop: crop)


def summary(f: dict) -> str:
    """Medians per pass, the forward error before and after, and the recall at 0.5 m and 5 degrees."""
    medians = " -> ".join(f"{p['translation_median_m']:.2f}m/{p['rotation_median_deg']:.2f}d" for p in f["passes"])
    forward = f"forward {f['start_forward_median_m']:.2f} -> {f['forward_median_m']:.2f}m"
    grey = f"  grey {f['grey_forward_median_m']:.2f}m" if "grey_forward_median_m" in f else ""
    return f"{medians}  {forward}{grey}  recall {100 * f['recall_050m_5deg']:.0f}%"


def validate(method: Method, shards: dict[str, list[Shard]], frames: int = 24, levels=(1, 2)) -> dict[str, dict]:
    """The protocol's figures by data set and level, with the grey control at level 1."""
    report = {}
    for name, group in shards.items():
        for level in levels:
            grey = run(shard_queries(group, max(6, frames // 2)), method, level, grey=True) if level == 1 else None
            report[f"{name} L{level}"] = figures(run(shard_queries(group, frames), method, level), grey)
    return report


def covariance_scale(net, shards: list[Shard], width: int, height: int, frames: int = 60) -> np.ndarray:
    """Factor (6) on each axis' standard deviation after which 68 % of the errors lie within one sigma.

    Errors of neighbouring cells are correlated, which the solver's own covariance does not know. The starts are
    those of a tracked pose, for which the covariance is used.
    """
    refiner = Refiner(RefinerConfig(), TorchModelSet(net, width, height))
    ratios = []
    for number, shard in enumerate(shards):
        for k in np.linspace(0, len(shard) - 1, min(frames, len(shard))).astype(int):
            frame = shard.frame(int(k))
            start = near_start(frame.T_map_camera, np.random.default_rng([9, number, int(k)]))
            image = np.ascontiguousarray(frame.image)
            result = refiner.refine(image, frame.camera, frame.crop, start, coarse=False)
            if result.succeeded:
                error = se3_log(inverse(result.T_map_camera) @ frame.T_map_camera)
                ratios.append(np.abs(error) / np.sqrt(np.diag(result.covariance)))
    return np.quantile(np.array(ratios), 0.683, axis=0)
