# SPDX-License-Identifier: Apache-2.0
"""The decoder of a map's latent codes: where in a grid cell of the map does what an image shows lie?

After NeuMap (arXiv 2211.11177): a grid cell of the map is a set of codes; cells of an image attend to them, layer by
layer, and become coordinates. The network knows no scene; a scene is its codes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

OUTPUTS = 4
"""Coordinates from the grid cell's centre, in halves of its edge, and the logarithm of the error [pixels]."""
WAVES = 1.0, 2.0
"""Coordinates of anchors are told by these waves, too [half turns per half of the edge]."""
_MASKED = -1e4


class _Layer(nn.Module):
    """Cross-attention to codes, and two linear layers, each added to what comes in."""

    def __init__(self, width: int, heads: int, code: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(code, width), nn.Linear(code, width)
        self.out = nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, codes: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, W) from (B, N, W), and the attention (B, heads, N, K)."""
        query, key, value = (
            part.reshape(part.shape[0], part.shape[1], self.heads, -1).transpose(1, 2)
            for part in (self.query(self.norm(x)), self.key(codes), self.value(codes))
        )
        logits = query @ key.transpose(2, 3) * key.shape[3] ** -0.5 + (1 - kept[:, None, None, :]) * _MASKED
        attention = logits.softmax(3)
        x = x + self.out((attention @ value).transpose(1, 2).flatten(2))
        return x + self.second(F.relu(self.first(self.norm2(x)))), attention


class CodesNet(nn.Module):
    """Knows no scene. `image` and `decode` are exported as two ONNX files, `encode` makes a scene's first codes."""

    def __init__(self, cells=(240,), whole=(384,), place=(24,), width=(96,), layers=(3,), heads=(4,), code=(48,)):
        super().__init__()
        self.settings = {
            "cells": list(cells), "whole": list(whole), "place": list(place), "width": list(width),
            "layers": list(layers), "heads": list(heads), "code": list(code),
        }  # fmt: skip
        w = width[0]
        self.register_buffer("mean", torch.zeros(cells[0]))
        self.register_buffer("scale", torch.ones(cells[0]))
        self.register_buffer("whole_mean", torch.zeros(whole[0]))
        self.register_buffer("basis", torch.zeros(whole[0], place[0]))
        self.of_cell, self.of_place, self.embedded = nn.Linear(cells[0], w), nn.Linear(place[0], w), nn.Linear(w, w)
        self.encoder = nn.Sequential(nn.Linear(w + 3 + 6 * len(WAVES), w), nn.ReLU(), nn.Linear(w, code[0]))
        self.layers = nn.ModuleList(_Layer(w, heads[0], code[0]) for _ in range(layers[0]))
        self.norm, self.last = nn.LayerNorm(w), nn.Linear(w, OUTPUTS)

    def normalised(self, cells: torch.Tensor) -> torch.Tensor:
        """Features of cells with what is around them (..., D), about one in size."""
        return (cells - self.mean) / self.scale

    def place(self, whole: torch.Tensor) -> torch.Tensor:
        """What an image shows as a whole, (..., 24), from the means of its parts (..., 384)."""
        return (whole - self.whole_mean) @ self.basis

    def embed(self, cells: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """(..., W) of normalised cells (..., D) of images with places (..., 24)."""
        return self.embedded(F.relu(self.of_cell(cells) + self.of_place(place)))

    def encode(self, embedded: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """Codes (B, K, C) of anchors: cells of images (B, K, W) with their coordinates (B, K, 3)."""
        waves = [f(torch.pi * turns * coordinates) for turns in WAVES for f in (torch.sin, torch.cos)]
        return self.encoder(torch.cat([embedded, coordinates, *waves], dim=2))

    def attend(
        self, embedded: torch.Tensor, codes: torch.Tensor, kept: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:  # fmt: skip
        """Outputs (B, N, 4) of cells (B, N, W) by codes (B, K, C) of which those `kept` (B, K) count, 1 or 0.

        And the attention (B, heads, N, K) of each layer.
        """
        x, seen = embedded, []
        for layer in self.layers:
            x, attention = layer(x, codes, kept)
            seen.append(attention)
        return self.last(self.norm(x)), seen

    def image(self, cells: torch.Tensor, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of an image's cells (1, D, h, w) and the means of its parts (1, 384): (1, W, h, w) and its place (1, 24)."""
        place = self.place(whole)
        out = self.embed(self.normalised(cells.permute(0, 2, 3, 1)), place[:, None, None])
        return out.permute(0, 3, 1, 2), place

    def decode(self, embedded: torch.Tensor, codes: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Outputs (1, 4, h, w) of an image (1, W, h, w) by the codes (1, K, C) of a grid cell of the map."""
        h, w = embedded.shape[2:]
        out, _ = self.attend(embedded.flatten(2).transpose(1, 2), codes, kept)
        return out.transpose(1, 2).reshape(1, OUTPUTS, h, w)
