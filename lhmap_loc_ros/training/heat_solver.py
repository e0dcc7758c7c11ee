# SPDX-License-Identifier: Apache-2.0
"""Heat learned end to end through the pose solver: a point's heat is its worth to the pose.

The likelihood in `heat` asks of each point alone how well it will be matched. The pose asks more: a match is worth
what it adds to the others. Here the heat weighs the matches of a frozen flow network, and is judged by the pose that
the solver makes of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..networks.flow import FINE, WINDOW
from ..networks.heat import LOG_SCALE_RANGE
from .losses import pose_error_px


def heat_solver_loss(
    heat_net, flow_net, image, view, truth4, rays4, focal, share: float = 0.2, budget: float = 1.0
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch, and figures to watch; the batch as in `Sample`, its starts near the truth.

    The loss is the logarithm of one plus the pose's error in pixels after one linear step of the solver, each
    match's weight multiplied by the heat of its cell, plus `budget` times the squared logarithm of the mean heat of
    the cells that hold a point over `share`. Scaling all weights alike hardly moves the pose; without a budget the
    heat could be anything, and with one it cannot be high everywhere. `flow_net` is frozen; its caller puts it in
    evaluation mode.
    """
    with torch.no_grad():
        flow, log_scale = flow_net.fine_matches(image, view)
        # beyond its window the fine head can only miss, whatever the point is worth
        inside = (truth4.abs() < FINE * (WINDOW + 1)).all(1, keepdim=True)
        truth = torch.where(inside, truth4, torch.nan)
    doubt = cell_doubt(heat_net, view)
    # heat exp(-2 doubt) on a weight exp(-2 log_scale): the logarithms add
    pose = pose_error_px(flow, log_scale.float() + doubt, truth, rays4, focal)
    cells = rays4[:, 2:] > 0
    mean = ((-2 * doubt).exp() * cells).sum() / cells.sum().clamp(min=1)
    loss = pose.log1p().mean() + budget * (mean / share).log().square()
    with torch.no_grad():
        without = pose_error_px(flow, log_scale, truth, rays4, focal)
    figures = {"pose_px": pose.mean(), "pose_px_without_heat": without.mean(), "mean_heat": mean}
    return loss, {k: float(v.detach()) for k, v in figures.items()}


def cell_doubt(heat_net, view: torch.Tensor) -> torch.Tensor:
    """Minus half the logarithm of the heat (B, 1, H/4, W/4) of each cell of 4 pixels; zero at heat 1."""
    return F.avg_pool2d(heat_net.log_scale(view).float(), FINE // 2) - LOG_SCALE_RANGE[0]
