# SPDX-License-Identifier: Apache-2.0
"""The training loop of the flow network: resumable, logged, validated by pose errors."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from ..networks.flow import FlowNet
from .checkpoint import load_checkpoint, save_checkpoint
from .data import batches, find_shards
from .losses import flow_loss
from .shards import Shard
from .validate import summary, validate

log = logging.getLogger(__name__)


class TrainConfig(BaseModel):
    """Settings of `lhmap train flow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[str] = Field(description="glob patterns of the training shards")
    weights: dict[str, float] = Field(default_factory=dict, description="how often shards matching a part of name come")
    validation: dict[str, str] = Field(description="name -> glob pattern of the validation shards")
    init: Path | None = Field(None, description="checkpoint whose weights a new run begins with")
    width: int = Field(320, multiple_of=16, description="network input width [pixels]")
    height: int = Field(96, multiple_of=16, description="network input height [pixels]")
    batch: int = Field(8, ge=1)
    steps: int = Field(20000, ge=1, description="optimiser steps in total")
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    regression: float = Field(0.3, ge=0, description="weight of the displacement likelihood beside the matching")
    pose: float = Field(0.5, ge=0, description="weight of the error of the pose that the displacements lead to")
    workers: int = Field(1, ge=0, description="processes that prepare samples")
    threads: int = Field(2, ge=1, description="CPU threads of the network")
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    validate_every: int = Field(1000, ge=1)
    reload_every: int = Field(500, ge=1, description="steps after which new shards are looked for")
    seed: int = 0


def _learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up over 300 steps, then a cosine to 3 %."""
    warm = min(1.0, (step + 1) / 300)
    return config.learning_rate * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / config.steps))))


def train_flow(config: TrainConfig, out: Path, resume: bool = True) -> Path:
    """Train and return the checkpoint `out`/last.safetensors; goes on where an earlier run stopped."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = FlowNet() if config.init is None else load_checkpoint(config.init, FlowNet)[0]
    net.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, last = 0, out / "last.safetensors"
    if resume and last.exists():
        _, step = load_checkpoint(last, net, optimizer)
    validation = {name: [Shard(p) for p in find_shards([g])] for name, g in config.validation.items()}
    averages: dict[str, float] = {}
    started, first = time.time(), step
    while step < config.steps:
        for batch in batches(config, step):
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config, step)
            batch = [x.to(device, non_blocking=True) for x in batch]
            with torch.autocast(device, dtype=torch.bfloat16):
                loss, figures = flow_loss(net, *batch, regression=config.regression, pose=config.pose)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            for k, v in (figures | {"loss": float(loss.detach())}).items():
                averages[k] = 0.98 * averages.get(k, v) + 0.02 * v
            if step % 50 == 0:
                pace = (time.time() - started) / (step - first) / config.batch * 1e3
                text = " ".join(f"{k} {v:.3f}" for k, v in averages.items())
                log.info("step %d  %s  %.0f ms/sample", step, text, pace)
            if step % config.save_every == 0 or step == config.steps:
                save_checkpoint(last, net, optimizer, step)
            if step % config.validate_every == 0 or step == config.steps:
                net.cpu()
                for name, errors in validate(net, validation, config.width, config.height).items():
                    log.info("step %d  validation %s: %s", step, name, summary(errors))
                net.to(device)
            if step % config.reload_every == 0 or step >= config.steps:
                break
    return last
