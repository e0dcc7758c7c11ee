# SPDX-License-Identifier: Apache-2.0
"""The training loop of the flow network: resumable, logged, validated by pose errors."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load_file, save_file

from ..errors import InputError
from ..networks.flow import FlowNet
from .losses import flow_loss
from .samples import training_sample
from .shards import Shard
from .validate import summary, validate

log = logging.getLogger(__name__)


class TrainConfig(BaseModel):
    """Settings of `lhmap train flow`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: list[str] = Field(description="glob patterns of the training shards")
    weights: dict[str, float] = Field(default_factory=dict, description="how often shards matching a part of name come")
    validation: dict[str, str] = Field(description="name -> glob pattern of the validation shards")
    width: int = Field(320, multiple_of=16, description="network input width [pixels]")
    height: int = Field(96, multiple_of=16, description="network input height [pixels]")
    batch: int = Field(8, ge=1)
    steps: int = Field(20000, ge=1, description="optimiser steps in total")
    learning_rate: float = Field(1.5e-3, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    regression: float = Field(0.3, ge=0, description="weight of the displacement likelihood beside the matching")
    workers: int = Field(1, ge=0, description="processes that prepare samples")
    threads: int = Field(2, ge=1, description="CPU threads of the network")
    validate_every: int = Field(1000, ge=1)
    reload_every: int = Field(500, ge=1, description="steps after which new shards are looked for")
    seed: int = 0


def find_shards(patterns: list[str]) -> list[Path]:
    """Files of glob patterns, in order; none is an InputError."""
    found = sorted({p for pattern in patterns for p in Path("/").glob(str(Path(pattern).resolve())[1:])})
    found = [p for p in found if not p.name.endswith(".part.npz")]
    if not found:
        raise InputError(f"no training shard matches {patterns}")
    return found


class _Samples(torch.utils.data.IterableDataset):
    """Endless samples of all shards; every worker draws its own."""

    def __init__(self, config: TrainConfig, start: int):
        self.config, self.start = config, start

    def __iter__(self) -> Iterator[tuple[np.ndarray, ...]]:
        torch.set_num_threads(1)
        c = self.config
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([c.seed, self.start, info.id if info else 0])
        paths = find_shards(c.train)
        shards = [Shard(p) for p in paths]
        weights = np.array([self._weight(s) for s in shards])
        while True:
            shard = shards[rng.choice(len(shards), p=weights / weights.sum())]
            s = training_sample(shard.frame(int(rng.integers(len(shard)))), c.width, c.height, rng)
            yield s.image, s.view, s.flow8, s.flow4

    def _weight(self, shard: Shard) -> float:
        factor = next((w for part, w in self.config.weights.items() if part in shard.path.name), 1.0)
        return factor * len(shard)


def save_checkpoint(path: Path, net: FlowNet, optimizer, step: int) -> None:
    """Weights and optimiser state in one safetensors file, replaced at once."""
    tensors = {f"net.{k}": v.contiguous() for k, v in net.state_dict().items()}
    for k, state in optimizer.state_dict()["state"].items():
        tensors |= {f"opt.{k}.{n}": torch.as_tensor(v).contiguous() for n, v in state.items()}
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, {"step": str(step), "settings": json.dumps(net.settings)})
    os.replace(temporary, path)


def load_checkpoint(path: Path, optimizer=None, net: FlowNet | None = None) -> tuple[FlowNet, int]:
    """The network (a new one unless given) and the step of a checkpoint; the optimiser's state if given."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as f:
            metadata = f.metadata() or {}
        tensors = load_file(path)
        settings, step = json.loads(metadata["settings"]), int(metadata["step"])
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path} is not a checkpoint of the flow network: {error}") from error
    net = net or FlowNet(**{k: tuple(v) for k, v in settings.items()})
    net.load_state_dict({k[4:]: v for k, v in tensors.items() if k.startswith("net.")})
    if optimizer is not None:
        state: dict[int, dict] = {}
        for k, v in tensors.items():
            if k.startswith("opt."):
                _, number, name = k.split(".", 2)
                state.setdefault(int(number), {})[name] = v
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return net, step


def _learning_rate(config: TrainConfig, step: int) -> float:
    """Warm-up over 300 steps, then a cosine to 3 %."""
    warm = min(1.0, (step + 1) / 300)
    return config.learning_rate * warm * (0.03 + 0.97 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / config.steps))))


def train_flow(config: TrainConfig, out: Path, resume: bool = True, init: Path | None = None) -> Path:
    """Train and return the checkpoint `out`/last.safetensors; goes on where an earlier run stopped."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = FlowNet() if init is None else load_checkpoint(init)[0]
    net.to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    step, last = 0, out / "last.safetensors"
    if resume and last.exists():
        _, step = load_checkpoint(last, optimizer, net)
    validation = {name: [Shard(p) for p in find_shards([g])] for name, g in config.validation.items()}
    averages: dict[str, float] = {}
    started, first = time.time(), step
    while step < config.steps:
        loader = torch.utils.data.DataLoader(
            _Samples(config, step), batch_size=config.batch, num_workers=config.workers,
            prefetch_factor=3 if config.workers else None,
        )  # fmt: skip
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = _learning_rate(config, step)
            batch = [x.to(device, non_blocking=True) for x in batch]
            with torch.autocast(device, dtype=torch.bfloat16):
                loss, figures = flow_loss(net, *batch, regression=config.regression)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            step += 1
            for k, v in (figures | {"loss": float(loss)}).items():
                averages[k] = 0.98 * averages.get(k, v) + 0.02 * v
            if step % 50 == 0:
                pace = (time.time() - started) / (step - first) / config.batch * 1e3
                text = " ".join(f"{k} {v:.3f}" for k, v in averages.items())
                log.info("step %d  %s  %.0f ms/sample", step, text, pace)
            if step % config.validate_every == 0 or step == config.steps:
                save_checkpoint(last, net, optimizer, step)
                net.cpu()
                for name, errors in validate(net, validation, config.width, config.height).items():
                    log.info("step %d  validation %s: %s", step, name, summary(errors))
                net.to(device)
            if step % config.reload_every == 0 or step >= config.steps:
                break
    return last
