# SPDX-License-Identifier: Apache-2.0
"""Steps of optimisers for small networks that learn from features in memory; `trainer` has the loop of large ones."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

log = logging.getLogger(__name__)
WARM_UP_STEPS = 300
AVERAGING = 0.02
"""Weight of the newest step in the running averages that are logged."""


class Schedule(Protocol):
    """What every training's settings have."""

    steps: int
    learning_rate: float
    log_every: int


def learning_rate(config: Schedule, step: int) -> float:
    """Warm-up, of a short run over its first fifth, then a cosine to 3 %."""
    warm = min(1.0, (step + 1) / max(1, min(WARM_UP_STEPS, config.steps // 5)))
    return config.learning_rate * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / config.steps))))


class RunningAverages:
    """Of figures by their names, over about the last fifty steps."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def add(self, figures: dict[str, Any]) -> None:
        """Those of a step; what has nothing to measure in its batch, a median of no cells, is NaN and left out."""
        for name, value in figures.items():
            if math.isfinite(value):
                self.values[name] = (1 - AVERAGING) * self.values.get(name, value) + AVERAGING * value

    def __str__(self) -> str:
        return " ".join(f"{name} {value:.3f}" for name, value in self.values.items())


def descend(
    config: Schedule,
    step: int,
    net: nn.Module,
    rates: dict[torch.optim.Optimizer, float],
    loss: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
    after: Callable[[int, bool], None],
) -> None:
    """Trains from step number `step` to `config.steps`, at the rate of `learning_rate` times what `rates` says.

    `loss(step)` gives the loss of a new batch and figures to log; `after(step, done)` is called with the steps done so
    far, and whether that is all. The gradients of `net` are clipped.
    """
    averages, began, first = RunningAverages(), time.monotonic(), step
    while step < config.steps:
        for optimizer, factor in rates.items():
            for group in optimizer.param_groups:
                group["lr"] = factor * learning_rate(config, step)
            optimizer.zero_grad(set_to_none=True)
        of_batch, figures = loss(step)
        of_batch.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        for optimizer in rates:
            optimizer.step()
        step += 1
        averages.add({**figures, "loss": float(of_batch.detach())})
        done = step >= config.steps
        if step % config.log_every == 0 or done:
            log.info("step %d  %s  %.3f s/step", step, averages, (time.monotonic() - began) / (step - first))
        after(step, done)
