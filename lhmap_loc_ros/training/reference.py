# SPDX-License-Identifier: Apache-2.0
"""Training the reference method (LHMap-loc): the online network, and the offline heat network."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from ..evaluation.methods import Regress
from ..localization.regressor import Regressor, RegressorConfig
from ..networks.reference_heat import ReferenceHeatNet
from ..networks.regress import RegressNet
from .reference_heat import reference_heat_loss, reference_heat_sample
from .regress import regress_loss, regress_sample
from .trainer import TrainConfig


class RegressTrainConfig(TrainConfig):
    """Settings of `lhmap train regress`: one of the three networks that run one after another."""

    stage: int = Field(1, ge=1, le=3, description="start errors: 2 m and 10 deg, 1 m and 2 deg, 0.6 m and 2 deg")
    published: bool = Field(False, description="the published augmentation instead of that of the flow network")
    rotation_weight: float = Field(1.0, gt=0, description="weight of the angle [rad] beside the translation [m]")
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(5e-6, ge=0)
    batch: int = Field(12, ge=1)


class RegressTask:
    """Image and depth to the correction of the pose."""

    def __init__(self, config: RegressTrainConfig):
        self.config, self.net = config, RegressNet()

    def sample(self, frame, rng, grid):
        """A `RegressSample`."""
        return regress_sample(frame, self.config, rng)

    def loss(self, net, batch):
        """Of a batch of samples."""
        return regress_loss(net, *batch, rotation_weight=self.config.rotation_weight)

    def method(self, net):
        """This one network as a method."""
        stage = TorchCorrection(net, self.config.width, self.config.height)
        return Regress(Regressor(RegressorConfig(), [stage]))


class TorchCorrection:
    """A torch network as a stage of the `Regressor`."""

    def __init__(self, net, width: int, height: int):
        self.net, self.width, self.height = net.eval(), width, height

    @torch.no_grad()
    def __call__(self, image: np.ndarray, depth: np.ndarray):
        device = next(self.net.parameters()).device
        outputs = self.net(*(torch.from_numpy(x[None]).to(device) for x in (image, depth)))
        return tuple(x[0].float().cpu().numpy() for x in outputs)


class ReferenceHeatTrainConfig(RegressTrainConfig):
    """Settings of `lhmap train reference_heat`."""

    kept: int = Field(400, ge=16, description="points left of each view in stage 2; published: 5000 at 384x1280")
    first_stage: float = Field(0.4, ge=0, le=1, description="weight of stage 1; the rest is that of stage 2")
    rotation_weight: float = Field(10.0, gt=0)
    batch: int = Field(8, ge=1)


class ReferenceHeatTask:
    """Heat by two poses that it makes: from an embedding it weighs, and from the points it keeps."""

    def __init__(self, config: ReferenceHeatTrainConfig):
        self.config, self.net = config, ReferenceHeatNet()

    def sample(self, frame, rng, grid):
        """A `ReferenceHeatSample`."""
        return reference_heat_sample(frame, self.config, rng)

    def loss(self, net, batch):
        """Of a batch of samples."""
        c = self.config
        return reference_heat_loss(net, *batch, c.kept, c.rotation_weight, c.first_stage)

    def method(self, net):
        """None: heat localizes nothing by itself."""
        return None
