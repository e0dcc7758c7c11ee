# SPDX-License-Identifier: Apache-2.0
"""Losses of relocalizers that learn from a mapping drive's images."""

from __future__ import annotations

import torch
from torch.nn import functional

NEAR_M, SLOPE = 0.5, 0.05
"""A place may err by so much, and by this share of its depth: farther ones say less of the pose."""
MAX_PX = 200.0
MIN_DEPTH_M = 0.5
LOG_SIGMA = -3.0, 5.0
"""Between these a cell's own estimate of its error lies [log pixels]."""


def coordinates_loss(moved: torch.Tensor, depth: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Of places that err by `moved` (B, 3) [m], where their depth (B,) [m] is `known` (B,) bool."""
    error = moved.norm(dim=-1) / (NEAR_M + SLOPE * depth)
    loss = functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)


def pixel_errors(seen: torch.Tensor, rays: torch.Tensor, focal: float) -> torch.Tensor:
    """How far (B,) [pixels] points (B, 3) in the camera's frame are drawn from their rays (B, 3), at most MAX_PX."""
    flat = seen[:, :2] / seen[:, 2:].clamp(min=MIN_DEPTH_M) - rays[:, :2]
    error = focal * (flat.square().sum(1) + 1e-9).sqrt()
    return torch.where(seen[:, 2] > MIN_DEPTH_M, error, MAX_PX).clamp(max=MAX_PX)


def likelihood(errors: torch.Tensor, log_sigma: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood, averaged, of pixel errors (B,) by Laplace's distribution."""
    log_sigma = log_sigma.clamp(*LOG_SIGMA)
    return (errors * torch.exp(-log_sigma) + log_sigma).mean()


def pose_loss(found: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Of poses (B, 4, 4): metres and ten times the sine of half the angle, each beyond some damped."""
    metres = (found[:, :3, 3] - true[:, :3, 3]).norm(dim=1)
    # the chord between rotations is 2 sqrt(2) times the sine of half the angle
    turned = (found[:, :3, :3] - true[:, :3, :3]).square().sum((1, 2)).add(1e-9).sqrt() / 2.828
    return functional.smooth_l1_loss(metres, torch.zeros_like(metres)) + 10 * turned.mean()


def relative(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Poses (B, 4, 4) of `b` in `a`."""
    turned = a[:, :3, :3].transpose(1, 2)
    out = b.clone()
    out[:, :3, :3] = turned @ b[:, :3, :3]
    out[:, :3, 3] = (turned @ (b[:, :3, 3] - a[:, :3, 3])[..., None])[..., 0]
    return out
