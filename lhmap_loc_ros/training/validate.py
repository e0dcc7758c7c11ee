# SPDX-License-Identifier: Apache-2.0
"""Pose errors on fixed frames and fixed start errors, with the localizer's own code around the torch network."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..evaluation.protocol import Method, Query, figures, run
from ..localization.covariance import StartCovariances
from .shards import Shard


class TorchModelSet:
    """The refiner's `ModelSet` around a torch network."""

    def __init__(self, net, grids):
        """`grids`: width and height of those that the network may be used on; a camera gets the nearest."""
        self.net, self.grids = net.eval(), tuple(grids)
        self._device = next(net.parameters()).device
        self.covariance = StartCovariances()
        self.networks, self.tensor_device, self.at_once = (), None, False

    def for_grid(self, grid):
        """The same: PyTorch takes any."""
        return self

    @torch.no_grad()
    def image(self, image):
        return self.net.image(self._tensor(image))

    @torch.no_grad()
    def map(self, view):
        return self.net.map(self._tensor(view))

    @torch.no_grad()
    def coarse(self, encoded, image8):
        return self._arrays(self.net.coarse(encoded.map8, encoded.context8, image8))

    @torch.no_grad()
    def fine(self, encoded, image4):
        return self._arrays(self.net.fine(encoded.map4, encoded.context4, image4))

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
