# SPDX-License-Identifier: Apache-2.0
"""Training the heat network: the map learns which of its points a camera will find again."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field

from ..networks.flow import FINE, FlowNet
from ..networks.heat import HeatNet
from .checkpoint import load_checkpoint, save_checkpoint
from .data import batches
from .losses import laplace_nll
from .samples import near_start

log = logging.getLogger(__name__)


class HeatTrainConfig(BaseModel):
    """Settings of `lhmap train heat`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[str] = Field(description="glob patterns of the training shards")
    weights: dict[str, float] = Field(default_factory=dict, description="how often shards matching a part of name come")
    flow: Path = Field(description="checkpoint of the flow network whose errors are learned")
    width: int = Field(320, multiple_of=16)
    height: int = Field(96, multiple_of=16)
    batch: int = Field(8, ge=1)
    steps: int = Field(1500, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    workers: int = Field(1, ge=0)
    threads: int = Field(2, ge=1)
    seed: int = 1


def heat_loss(heat: HeatNet, flow_net: FlowNet, image, view, truth4) -> torch.Tensor:
    """Negative log-likelihood of the flow network's errors under the scale predicted from the map alone."""
    with torch.no_grad():
        _, image4 = flow_net.image(image)
        flow, _ = flow_net.fine(view, image4)
        # a point never found is no worse than one found a window away
        error = (flow.float() - truth4).clamp(-4 * FINE, 4 * FINE)
    log_scale = F.avg_pool2d(heat.log_scale(view).float(), 2).expand(-1, 2, -1, -1)
    return laplace_nll(torch.zeros_like(log_scale), log_scale, error)


def train_heat(config: HeatTrainConfig, out: Path, resume: bool = True) -> Path:
    """Train and return the checkpoint `out`/heat.safetensors; goes on where an earlier run stopped."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flow_net = load_checkpoint(config.flow, FlowNet)[0].to(device).eval()
    net = HeatNet().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    step, last, average = 0, out / "heat.safetensors", None
    if resume and last.exists():
        _, step = load_checkpoint(last, net, optimizer)
    for batch in batches(config, step, near_start) if step < config.steps else ():
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * step / config.steps)))
        image, view, _, truth4, *_ = (x.to(device) for x in batch)
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = heat_loss(net, flow_net, image, view, truth4)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        step += 1
        average = float(loss.detach()) if average is None else 0.98 * average + 0.02 * float(loss.detach())
        if step % 100 == 0 or step == config.steps:
            log.info("step %d  negative log-likelihood %.3f", step, average)
            save_checkpoint(last, net, optimizer, step)
        if step >= config.steps:
            break
    return last
