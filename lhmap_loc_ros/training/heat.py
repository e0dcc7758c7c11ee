# SPDX-License-Identifier: Apache-2.0
"""Training the heat network: the map learns which of its points a camera will find again."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field

from ..networks.flow import FINE, FlowNet
from ..networks.heat import FULL_SCALE_OF_MEAN, HeatNet
from .checkpoint import load_checkpoint
from .heat_solver import heat_solver_loss
from .losses import laplace_nll
from .samples import Sample, as_arrays, near_start, training_sample
from .trainer import TrainConfig


class HeatTrainConfig(TrainConfig):
    """Settings of `lhmap train heat`."""

    flow: Path = Field(description="checkpoint of the flow network whose errors are learned")
    objective: Literal["likelihood", "pose"] = Field(
        "likelihood", description="the scale of the flow network's errors, or the error of the pose that heat weighs"
    )
    share: float = Field(0.2, gt=0, lt=1, description="pose: mean heat of the points of a view")
    learning_rate: float = Field(2e-3, gt=0)
    steps: int = Field(1500, ge=1)


class HeatTask:
    """What a point is worth to a trained flow network, from the map alone."""

    def __init__(self, config: HeatTrainConfig):
        # the scale of errors has a unit, pixels; what heat weighs by has none but its mean
        full = min(1.0, FULL_SCALE_OF_MEAN * config.share) if config.objective == "pose" else None
        self.config, self.net = config, HeatNet(full_scale=full)
        self._flow = load_checkpoint(config.flow, FlowNet)[0].eval()

    def sample(self, frame, rng, grid):
        """Arrays of a `Sample` from near the true pose."""
        return as_arrays(training_sample(frame, *grid, rng, near_start))

    def loss(self, net, batch):
        """Of a batch of samples."""
        batch = Sample(*batch)
        flow = self._flow.to(batch.view.device)
        if self.config.objective == "pose":
            inputs = batch.image, batch.view, batch.flow4, batch.rays4, batch.focal
            return heat_solver_loss(net, flow, *inputs, self.config.share)
        loss = heat_loss(net, flow, batch.image, batch.view, batch.flow4)
        return loss, {"nll": float(loss.detach())}

    def method(self, net):
        """None: heat localizes nothing by itself."""
        return None


def heat_loss(heat: HeatNet, flow_net: FlowNet, image, view, truth4) -> torch.Tensor:
    """Negative log-likelihood of the flow network's errors under the scale predicted from the map alone."""
    with torch.no_grad():
        flow, _ = flow_net.fine_matches(image, view)
        # a point never found is no worse than one found a window away
        error = (flow.float() - truth4).clamp(-4 * FINE, 4 * FINE)
    log_scale = F.avg_pool2d(heat.log_scale(view).float(), 2).expand(-1, 2, -1, -1)
    return laplace_nll(torch.zeros_like(log_scale), log_scale, error)
