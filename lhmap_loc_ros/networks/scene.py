# SPDX-License-Identifier: Apache-2.0
"""Heads that relocalizers learned from images are made of, and the rigid alignment that gradients pass through."""

from __future__ import annotations

import torch
from torch import nn


class SceneHead(nn.Module):
    """Five layers with one shortcut, as `scenes.heads.run_head` runs them."""

    def __init__(self, inputs: int, width: int, outputs: int):
        super().__init__()
        ends = (inputs, *[width] * 4, outputs)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(ends, ends[1:], strict=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (M, O) for inputs (M, D)."""
        first, second, third, fourth, last = self.layers
        x = torch.relu(first(x))
        x = x + torch.relu(third(torch.relu(second(x))))
        return last(torch.relu(fourth(x)))


def aligned(places: torch.Tensor, seen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Poses (B, 4, 4) T_map_camera that bring points (B, M, 3) of cameras' frames to their places by weighted least
    squares (Kabsch); `weights` (B, M) are not negative. Gradients pass through the decomposition."""
    share = (weights / weights.sum(1, keepdim=True).clamp(min=1e-6)).double()[..., None]
    places, seen = places.double(), seen.double()
    there, here = (share * places).sum(1, keepdim=True), (share * seen).sum(1, keepdim=True)
    moment = (share * (places - there)).transpose(1, 2) @ (seen - here)
    # equal singular values have no gradient: a little, different along each axis, keeps them apart
    moment = moment + torch.diag(moment.new_tensor([1e-3, 2e-3, 3e-3]))
    U, _, Vt = torch.linalg.svd(moment)
    sign = torch.ones(len(moment), 3, dtype=moment.dtype, device=moment.device)
    sign[:, 2] = torch.det(U.detach()) * torch.det(Vt.detach())
    rotation = (U * sign[:, None]) @ Vt
    out = torch.eye(4, dtype=moment.dtype, device=moment.device).repeat(len(moment), 1, 1)
    out[:, :3, :3] = rotation
    out[:, :3, 3] = (there.transpose(1, 2) - rotation @ here.transpose(1, 2))[..., 0]
    return out.float()
