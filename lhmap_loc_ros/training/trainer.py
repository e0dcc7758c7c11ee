# SPDX-License-Identifier: Apache-2.0
"""One training loop for every method: resumable, mixed precision, any number of GPUs, validated by the protocol."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field, NonNegativeFloat
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from ..configuration import Config
from ..errors import InputError
from ..evaluation.protocol import Method
from .checkpoint import load_checkpoint, read_metadata, save_checkpoint
from .data import batches, find_shards, weight_of
from .descent import RunningAverages, learning_rate
from .shards import Frame, Shard
from .validate import summary, validate

log = logging.getLogger(__name__)


class TrainConfig(Config):
    """Settings that every method shares."""

    train: list[str] = Field(description="glob patterns of the training shards")
    weights: dict[str, NonNegativeFloat] = Field(
        default_factory=dict, description="how often shards matching a part of name come"
    )
    validation: dict[str, str] = Field(
        default_factory=dict, description="name -> glob pattern of the shards that choose the best checkpoint"
    )
    validation_frames: int = Field(24, ge=1, description="frames of each validation shard")
    levels: tuple[int, ...] = Field((1, 2), description="levels of the protocol to validate on")
    init: Path | None = Field(
        None, description="checkpoint whose weights a new run begins with; batch normalisation keeps its statistics"
    )
    width: int = Field(320, multiple_of=16, description="network input width [pixels]")
    height: int = Field(96, multiple_of=16, description="network input height [pixels]")
    shapes: list[tuple[int, int]] = Field(
        default_factory=list, description="pixel grids instead of that one; one named twice comes twice as often"
    )
    batch: int = Field(8, ge=1, description="samples per step and device")
    steps: int = Field(20000, ge=1, description="optimiser steps in total")
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    # not 16-mixed: the fused optimiser undoes the loss's scale by itself, after gradients have been clipped
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(1, ge=1, description="GPUs to train on")
    workers: int = Field(1, ge=0, description="processes per device that prepare samples")
    threads: int = Field(2, ge=1, description="CPU threads of the network")
    log_every: int = Field(50, ge=1)
    save_every: int = Field(100, ge=1, description="steps between checkpoints")
    validate_every: int = Field(1000, ge=1)
    reload_every: int = Field(500, ge=1, description="steps after which new shards are looked for")
    seed: int = 0

    @property
    def grids(self) -> list[tuple[int, int]]:
        """Width and height of the pixel grids to train on."""
        return self.shapes or [(self.width, self.height)]


class Task(Protocol):
    """What a method brings to the trainer."""

    net: nn.Module
    """To train; has `settings`, with which its class makes it anew."""

    def sample(self, frame: Frame, rng: np.random.Generator, grid: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """One varied training sample of a frame on a grid of (width, height) pixels."""

    def loss(self, net: nn.Module, batch: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch of samples, and figures to watch."""

    def method(self, net: nn.Module) -> Method | None:
        """The network as a method of the evaluation protocol; None if it localizes nothing by itself."""


class _Step(nn.Module):
    """Loss as a forward pass: what mixed precision and data parallelism wrap."""

    def __init__(self, task: Task):
        super().__init__()
        self.net, self._loss = task.net, task.loss

    def forward(self, batch: _Batch):
        return self._loss(self.net, batch.tensors)


class _Batch:
    """Tensors that pass Fabric as they are: it would round targets in pixels to half precision along with the rest."""

    def __init__(self, tensors, device: torch.device):
        self.tensors = tuple(x.to(device, non_blocking=True) for x in tensors)


def _fabric(config: TrainConfig) -> Fabric:
    """What runs the loop on its devices."""
    # a loss need not ask for every weight: that of matching alone has nothing to say to the heads
    strategy = "auto" if config.devices == 1 else "ddp_find_unused_parameters_true"
    return Fabric(accelerator=config.accelerator, devices=config.devices, precision=config.precision, strategy=strategy)


def fit(task: Task, config: TrainConfig, out: Path, resume: bool = True) -> Path:
    """Train until `config.steps` and return the best checkpoint, or the last where nothing validates.

    Writes OUT/last.safetensors (with the optimiser's state: a run goes on from there), OUT/best.safetensors (the
    best validation so far) and TensorBoard curves. Raises InputError for shards or checkpoints that do not fit.
    """
    # 1. the network on its devices
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    fabric = _fabric(config)
    fabric.launch()
    if config.init is not None:
        load_checkpoint(config.init, task.net)
    _set_training(task.net, config)
    step, last, best = 0, out / "last.safetensors", out / "best.safetensors"
    optimizer = torch.optim.AdamW(
        task.net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    stepper, optimizer = fabric.setup(_Step(task), optimizer)
    if resume and last.exists():
        # not before: the optimiser's state goes to where its parameters are, and does not follow them to a GPU
        _, step = load_checkpoint(last, task.net, optimizer)
    # 2. what it learns from, which would else be missed far from here, what it is validated on, and the best so far
    if not any(weight_of(path, config.weights) for path in find_shards(config.train)):
        raise InputError(f"weights {config.weights}: no training shard has one above zero")
    validation = {name: [Shard(p) for p in find_shards([g])] for name, g in config.validation.items()}
    best_score = float(read_metadata(best).get("score", "inf")) if resume and best.exists() else math.inf
    watch = _Watch(out, step, config.batch * fabric.world_size) if fabric.is_global_zero else None
    # 3. step by step; now and then the loader is made anew, to find new shards
    while step < config.steps:
        torch.manual_seed(config.seed + step)
        for batch in batches(config, task.sample, [config.seed, step, fabric.global_rank]):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            loss, figures = stepper(_Batch(batch, fabric.device))
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            fabric.clip_gradients(stepper, optimizer, max_norm=1.0)
            optimizer.step()
            step += 1
            done = step >= config.steps
            if watch is not None:
                watch.add({**figures, "loss": float(loss.detach())})
                if step % config.log_every == 0 or done:
                    watch.show(step, optimizer.param_groups[0]["lr"])
                if step % config.save_every == 0 or done:
                    save_checkpoint(last, task.net, optimizer, step)
                if validation and (step % config.validate_every == 0 or done):
                    score = _validate(task, config, validation, watch, step)
                    if score < best_score:
                        best_score = score
                        save_checkpoint(best, task.net, None, step, {"score": repr(score)})
            if done or step % config.reload_every == 0:
                break
    fabric.barrier()
    if torch.distributed.is_initialized():
        # its threads would else be cut off when the process ends, which may abort it
        torch.distributed.destroy_process_group()
    # not one that another run left
    return best if math.isfinite(best_score) else last


def _set_training(net: nn.Module, config: TrainConfig) -> None:
    """Training mode, where batch normalisation of weights that are trained on stays in evaluation mode.

    Statistics of a few samples, some of which show maps without intensity, are far from those the weights know: the
    first hundreds of steps would go into getting used to them, for a network that is run with the running ones.
    """
    net.train()
    if config.init is not None:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _validate(task: Task, config: TrainConfig, validation, watch: _Watch, step: int) -> float:
    """Score of the present weights, less is better: mean log of the medians over data sets and levels."""
    method = task.method(task.net)
    if method is None:
        return math.inf
    task.net.eval()
    logs = []
    for name, figures in validate(method, validation, config.validation_frames, config.levels).items():
        log.info("step %d  validation %s: %s", step, name, summary(figures))
        watch.write(step, {k: v for k, v in figures.items() if isinstance(v, float)}, f"validation {name}/")
        logs += [math.log(figures["translation_median_m"] + 1e-3), math.log(figures["rotation_median_deg"] + 1e-3)]
    _set_training(task.net, config)
    return float(np.mean(logs))


class _Watch:
    """Running averages, in the log and in TensorBoard."""

    def __init__(self, out: Path, step: int, samples_per_step: int):
        self._writer = SummaryWriter(str(out / "tensorboard"), purge_step=step)
        self._averages = RunningAverages()
        self._first, self._began, self._samples = step, time.time(), samples_per_step

    def add(self, figures: dict[str, Any]) -> None:
        self._averages.add(figures)

    def show(self, step: int, rate: float) -> None:
        pace = (time.time() - self._began) / max(step - self._first, 1) / self._samples * 1e3
        log.info("step %d  %s  %.0f ms/sample", step, self._averages, pace)
        self.write(step, {**self._averages.values, "learning_rate": rate, "ms_per_sample": pace}, "train/")

    def write(self, step: int, figures: dict[str, float], prefix: str) -> None:
        for k, v in figures.items():
            self._writer.add_scalar(prefix + k, v, step)
        self._writer.flush()
