# SPDX-License-Identifier: Apache-2.0
"""The heat network: from the map alone, how well will a camera be able to match each pixel's point?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from ..localization.features import MAP_CHANNELS
from .flow import Residual, _conv, local_contrast

LOG_SCALE_RANGE = (-2.0, 4.0)
"""Bounds of the predicted log of the matching error's Laplace scale in pixels."""
FULL_SCALE_OF_MEAN = 2.3
"""Where the heat of maps is full, in units of the mean of what a network gives: maps of the shipped network are full at
0.015, and the mean of its values is 0.0042 to 0.0086 on four streets."""


class HeatNet(nn.Module):
    """A small U-Net on the map view (B, MAP_CHANNELS, H, W), H and W multiples of 16.

    It predicts the scale b of the Laplace distribution of the flow network's error at each point, without
    seeing an image: the expectation over all days and lights of the training data. The heat is the
    information a match is worth, (b_min / b)^2, in (0, 1]. `full_scale` is the value at which the heat of maps is
    full, None where the values are those of the scale in pixels.
    """

    def __init__(self, widths=(16, 32, 64, 64), full_scale: float | Sequence[float] | None = None):
        super().__init__()
        self.settings, self.full_scale = {"widths": list(widths)}, full_scale
        if full_scale is not None:
            self.full_scale = float(full_scale[0] if isinstance(full_scale, Sequence) else full_scale)
            self.settings["full_scale"] = [self.full_scale]
        w2, w4, w8, w16 = widths
        self.to2 = _conv(MAP_CHANNELS + 1, w2, 2)
        self.to4 = nn.Sequential(_conv(w2, w4, 2), Residual(w4))
        self.to8 = nn.Sequential(_conv(w4, w8, 2), Residual(w8))
        self.to16 = nn.Sequential(_conv(w8, w16, 2), Residual(w16, 2))
        self.from16, self.from8, self.from4 = (nn.Conv2d(a, b, 1) for a, b in ((w16, w8), (w8, w4), (w4, w2)))
        self.mix8, self.mix4, self.mix2 = Residual(w8), Residual(w4), _conv(w2, w2)
        self.out = nn.Conv2d(w2, 1, 3, 1, 1)

    def log_scale(self, view: torch.Tensor) -> torch.Tensor:
        """Log of the expected matching error [pixels] at half resolution (B, 1, H/2, W/2)."""
        x2 = self.to2(torch.cat([view, local_contrast(view[:, 2:3], view[:, 1:2])], 1))
        x4 = self.to4(x2)
        x8 = self.to8(x4)
        x8 = self.mix8(x8 + _up(self.from16(self.to16(x8))))
        x4 = self.mix4(x4 + _up(self.from8(x8)))
        x2 = self.mix2(x2 + _up(self.from4(x4)))
        low, high = LOG_SCALE_RANGE
        return low + (high - low) * torch.sigmoid(self.out(x2))

    def forward(self, view: torch.Tensor) -> torch.Tensor:
        """Heat (B, 1, H, W) in (0, 1], zero where no point projects."""
        heat = torch.exp(2 * (LOG_SCALE_RANGE[0] - self.log_scale(view)))
        return _up(heat) * view[:, 1:2]


def _up(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
