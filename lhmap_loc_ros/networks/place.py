# SPDX-License-Identifier: Apache-2.0
"""The place network: do an image and a view of the map show the same place?

Two small heads without shared weights on frozen encoders, those of an earlier flow network: these bring image and map
view into one space cell by cell, a head pools the cells to one descriptor. After LIP-Loc (arXiv 2312.16648): symmetric
contrastive loss, learned temperature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .flow import Residual

FEATURES = 96
"""Channels of the encoders' features at 1/8."""


def pool_cells(features: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (B, C, h, w) and shares seen (B, 1, h, w) of blocks of 2x2 cells, (B, C, h/2, w/2) and (B, 1, h/2, w/2).

    A feature is the mean over what is seen, zero where nothing is.
    """
    share = F.avg_pool2d(seen, 2)
    return F.avg_pool2d(features * seen, 2) / (share + 1e-3), share


class PlaceHead(nn.Module):
    """Features of one side to a descriptor of unit length that keeps what lies left and what lies right."""

    def __init__(self, width: int, columns: int, of_column: int, dimension: int, dropout: float):
        super().__init__()
        self.columns = columns
        self.body = nn.Sequential(
            nn.Conv2d(FEATURES + 1, width, 1, bias=False), nn.BatchNorm2d(width), nn.LeakyReLU(0.1),
            nn.Dropout2d(dropout), Residual(width),
        )  # fmt: skip
        # what a block says of the place, and how much of its column's descriptor that is
        self.value = nn.Conv2d(width, of_column, 1)
        self.attention = nn.Conv2d(width, of_column, 1)
        self.project = nn.Linear(columns * of_column, dimension)

    def forward(self, features: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, D) of pooled features (B, FEATURES, h, w) and shares seen (B, 1, h, w)."""
        x = self.body(torch.cat([features, seen], 1))
        weight = torch.exp(self.attention(x).clamp(-6.0, 6.0)) * seen
        value = (self.value(x) * weight).sum(2)
        share = weight.sum(2)
        b, c, w = value.shape
        value = value.reshape(b, c, self.columns, w // self.columns).sum(3)
        share = share.reshape(b, c, self.columns, w // self.columns).sum(3)
        columns = value / (share + 0.1)
        return F.normalize(self.project(columns.flatten(1)), dim=1)


class PlaceNet(nn.Module):
    """Both heads; `image` and `map` are exported as two ONNX files."""

    def __init__(self, width=(48,), columns=(5,), of_column=(48,), dimension=(256,), dropout=(0.2,)):
        super().__init__()
        self.settings = {
            "width": list(width), "columns": list(columns), "of_column": list(of_column),
            "dimension": list(dimension), "dropout": list(dropout),
        }  # fmt: skip
        sizes = width[0], columns[0], of_column[0], dimension[0], dropout[0]
        self.image_head, self.map_head = PlaceHead(*sizes), PlaceHead(*sizes)
        self.log_temperature = nn.Parameter(torch.tensor(2.7))

    def image(self, features8: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, D) of images, from the encoder's features (B, FEATURES, h, w) and shares (B, 1, h, w)."""
        return self.image_head(*pool_cells(features8, seen))

    def map(self, map8: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Descriptors (B, D) of map views, likewise."""
        return self.map_head(*pool_cells(map8, seen))


def contrastive_loss(logits: torch.Tensor, target: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """Symmetric cross-entropy of a similarity matrix (N, M).

    `target` (N, M) >= 0: how well each pair fits, rows and columns without any are left out; `ignored` (N, M) bool:
    pairs that count neither as the same place nor as different ones.
    """
    logits = logits.masked_fill(ignored & (target == 0), -1e4)

    def one_way(logits, target):
        total = target.sum(1)
        rows = total > 0
        weights = target[rows] / total[rows, None]
        return -(weights * F.log_softmax(logits[rows], 1)).sum(1).mean()

    return 0.5 * (one_way(logits, target) + one_way(logits.T, target.T))
