# SPDX-License-Identifier: Apache-2.0
"""Training the flow network."""

from __future__ import annotations

import torch
from pydantic import Field

from ..evaluation.methods import Flow
from ..localization.refine import RefinerConfig
from ..networks.flow import FlowNet
from .losses import flow_loss
from .samples import Sample, as_arrays, training_sample
from .trainer import TrainConfig
from .validate import TorchModelSet


class FlowTrainConfig(TrainConfig):
    """Settings of `lhmap train flow`."""

    widths: tuple[int, int, int, int] = Field((24, 48, 96, 128), description="channels at 1/2, 1/4, 1/8 and 1/16")
    dims: tuple[int, int] = Field((96, 48), description="length of the descriptors at 1/8 and 1/4")
    regression: float = Field(0.3, ge=0, description="weight of the displacement likelihood beside the matching")
    pose: float = Field(0.5, ge=0, description="weight of the error of the pose that the displacements lead to")
    compile: bool = Field(False, description="compile the encoders: a fifth faster on a CPU with a C++ compiler")


class FlowTask:
    """Matching, displacement, uncertainty and pose together; see losses.flow_loss."""

    def __init__(self, config: FlowTrainConfig):
        self.config, self.net = config, FlowNet(config.widths, config.dims)
        if config.compile:
            self.net.image, self.net.map = torch.compile(self.net.image), torch.compile(self.net.map)

    def sample(self, frame, rng, grid):
        """Arrays of a `Sample`."""
        return as_arrays(training_sample(frame, *grid, rng))

    def loss(self, net, batch):
        """Of a batch of samples."""
        return flow_loss(net, Sample(*batch), self.config.regression, self.config.pose)

    def method(self, net):
        """The refiner around the network."""
        return Flow(RefinerConfig(), TorchModelSet(net, self.config.grids))
