# SPDX-License-Identifier: Apache-2.0
"""Losses of the flow network: contrastive matching first, displacement with uncertainty on top."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..localization.iterations import PRIOR_SIGMA
from ..networks.flow import COARSE, FINE, WINDOW

PRIOR_INFORMATION = [PRIOR_SIGMA[0] ** -2] * 3 + [PRIOR_SIGMA[1] ** -2] * 3
"""Of the start pose: what the solver falls back on."""


def laplace_nll(flow: torch.Tensor, log_scale: torch.Tensor, truth: torch.Tensor, shown=None) -> torch.Tensor:
    """Mean negative log-likelihood of a Laplace distribution per axis; cells with NaN truth are left out.

    Where the image does not show the point (`shown` (B, h, w) false) the displacement cannot be learned, only
    that it is not to be trusted.
    """
    known = torch.isfinite(truth)
    if shown is not None:
        flow = torch.where(shown.unsqueeze(1), flow, flow.detach())
    error = (flow - torch.where(known, truth, flow.detach())).abs()
    nll = (error * (-log_scale).exp() + log_scale) * known
    return nll.sum() / known.sum().clamp(min=1)


def _cross_entropy(scores: torch.Tensor, target: torch.Tensor, known: torch.Tensor, columns: int):
    """Cross-entropy against bilinear weights of the four cells around a position, and the share matched.

    `scores` (..., cells) of a grid of `columns` columns, `target` (..., 2) position in cells, `known` (...)
    where there is one. Masked by products, not by indexing, whose backward pass is many times slower.
    """
    rows = scores.shape[-1] // columns
    target = torch.where(known.unsqueeze(-1), target, torch.zeros_like(target))
    floor = target.floor()
    fraction = target - floor
    places, weights = [], []
    for du in (0, 1):
        for dv in (0, 1):
            column = (floor[..., 0].long() + du).clamp(0, columns - 1)
            row = (floor[..., 1].long() + dv).clamp(0, rows - 1)
            places.append(row * columns + column)
            wu = fraction[..., 0] if du else 1 - fraction[..., 0]
            weights.append(wu * (fraction[..., 1] if dv else 1 - fraction[..., 1]))
    log_p = F.log_softmax(scores.float(), dim=-1).gather(-1, torch.stack(places, -1))
    count = known.sum().clamp(min=1)
    loss = -((log_p * torch.stack(weights, -1)).sum(-1) * known).sum() / count
    best = scores.detach().argmax(-1)
    found = torch.stack([best % columns, torch.div(best, columns, rounding_mode="floor")], -1)
    matched = (((found - target).norm(dim=-1) < 1.5) & known).sum() / count
    return loss, matched


def coarse_matching(similarity: torch.Tensor, truth: torch.Tensor):
    """Cross-entropy of every map cell over all image cells, target bilinear at the true place.

    `similarity` (B, map cells, image cells), `truth` (B, 2, h, w) pixels. Returns the loss and the share of
    cells whose best image cell lies within 1.5 cells of the truth.
    """
    h, w = truth.shape[-2:]
    cells = torch.arange(h * w, device=truth.device)
    own = torch.stack([cells % w, torch.div(cells, w, rounding_mode="floor")], 1).float()
    target = own + truth.flatten(2).transpose(1, 2) / COARSE
    return _cross_entropy(similarity, target, torch.isfinite(target).all(-1), w)


def fine_matching(cost: torch.Tensor, truth: torch.Tensor):
    """Cross-entropy over the fine window, for cells whose true place lies inside it; likewise."""
    size = 2 * WINDOW + 1
    target = truth.permute(0, 2, 3, 1) / FINE + WINDOW
    known = torch.isfinite(target).all(-1) & (target > 0).all(-1) & (target < size - 1).all(-1)
    return _cross_entropy(cost.permute(0, 2, 3, 1), target, known, size)


def _matchable(truth, shown, cell: int) -> torch.Tensor:
    """The truth, NaN where the image does not show the point or it lies outside the image's cells."""
    h, w = truth.shape[-2:]
    column = torch.arange(w, device=truth.device) + truth[:, 0] / cell
    row = torch.arange(h, device=truth.device).view(-1, 1) + truth[:, 1] / cell
    inside = (column > -0.5) & (column < w - 0.5) & (row > -0.5) & (row < h - 0.5)
    return torch.where((inside & shown).unsqueeze(1), truth, torch.nan)


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def pose_error_px(flow, log_scale, truth, rays, focal) -> torch.Tensor:
    """How far the solved pose misses, in pixels: (B), the RMS over the cells of what it moves their points.

    The likelihood takes the errors of the cells as independent; what they share decides the pose. One step of
    the solver is linear in the displacement, so the error of the pose is the solution for the error of the
    flow (B, 2, h, w); cells with NaN truth take no part. `rays` and `focal` as in `Sample`.
    """
    known = torch.isfinite(truth).all(1)
    flow, log_scale = flow.float(), log_scale.float()
    error = torch.where(known.unsqueeze(1), flow - truth, torch.zeros_like(flow)).flatten(2)
    weight = (torch.exp(-2 * log_scale) * known.unsqueeze(1)).flatten(2)
    x, y, inverse_depth = rays.flatten(2).unbind(1)
    zero = torch.zeros_like(x)
    # d(u, v)/d(xi) for T exp(xi), as in localization/solver.py
    J_u = torch.stack([-inverse_depth, zero, x * inverse_depth, x * y, -1 - x * x, y], 2) * focal[:, 0, None, None]
    J_v = torch.stack([zero, -inverse_depth, y * inverse_depth, 1 + y * y, -x * y, -x], 2) * focal[:, 1, None, None]
    information = torch.diag(torch.tensor(PRIOR_INFORMATION, device=flow.device))
    gradient = torch.zeros(len(flow), 6, device=flow.device)
    for J, w, e in ((J_u, weight[:, 0], error[:, 0]), (J_v, weight[:, 1], error[:, 1])):
        weighted = J * w.unsqueeze(2)
        information = information + weighted.transpose(1, 2) @ J
        gradient = gradient + (weighted * e.unsqueeze(2)).sum(1)
    xi = torch.linalg.solve(information, gradient.unsqueeze(2))
    moved = ((J_u @ xi) ** 2 + (J_v @ xi) ** 2).squeeze(2) * known.flatten(1)
    return (moved.sum(1) / known.flatten(1).sum(1).clamp(min=1) + 1e-4).sqrt()


def flow_loss(net, batch, regression: float = 0.3, pose: float = 0.0):
    """The whole loss of a batch (`Sample` of tensors), and figures to watch; with `regression` 0 the matching alone."""
    view, truth8, truth4 = batch.view, batch.flow8, batch.flow4
    image8, image4 = net.image(batch.image)
    encoded = net.map(view)
    similarity = net.similarity(encoded.map8, image8)
    cost = net.fine_cost(encoded.map4, image4)
    match8, share8 = coarse_matching(similarity, _matchable(truth8, batch.shown8, COARSE))
    match4, share4 = fine_matching(cost, _matchable(truth4, batch.shown4, FINE))
    loss = match8 + match4
    figures = {"match8": match8, "match4": match4, "matched8": share8, "matched4": share4}
    if regression > 0:
        flow8, scale8 = net.coarse_of(encoded.context8, similarity)
        flow4, scale4 = net.fine_of(encoded.context4, cost)
        # beyond its window the fine head can only say that it does not know
        inside = (truth4.abs() < FINE * (WINDOW + 1)).all(1, keepdim=True)
        nll8 = laplace_nll(flow8.float(), scale8.float(), truth8, batch.shown8)
        nll4 = laplace_nll(flow4.float(), scale4.float(), torch.where(inside, truth4, torch.nan), batch.shown4)
        nll4 = nll4 + 0.1 * laplace_nll(flow4.detach().float(), scale4.float(), truth4)
        loss = loss + regression * (nll8 + nll4)
        with torch.no_grad():
            error = (flow4 - truth4).norm(dim=1)[inside[:, 0]]
            epe = error[torch.isfinite(error)].median()
        figures |= {"nll8": nll8, "nll4": nll4, "fine_error_px": epe}
        if pose > 0:
            pose8 = pose_error_px(flow8, scale8, truth8, batch.rays8, batch.focal)
            pose4 = pose_error_px(flow4, scale4, torch.where(inside, truth4, torch.nan), batch.rays4, batch.focal)
            # the fine head is asked for poses near by alone, where most points lie inside its window
            known = torch.isfinite(truth4).all(1)
            near = ((inside[:, 0] & known).sum((1, 2)) > 0.8 * known.sum((1, 2))).float()
            # logarithms: one hopeless view must not drown the others
            pose8, pose4 = pose8.log1p().mean(), (pose4.log1p() * near).sum() / near.sum().clamp(min=1)
            loss = loss + pose * (pose8 + pose4)
            figures |= {"pose8": pose8, "pose4": pose4}
    return loss, {k: float(v.detach()) for k, v in figures.items()}
