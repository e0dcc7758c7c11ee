# SPDX-License-Identifier: Apache-2.0
"""Training the decoder of codes on many worlds (NeuMap, arXiv 2211.11177).

Each grid cell of each world has codes of its own, learned along with the decoder: the encoder's of some anchors, and
what is added to them. Images that only ask teach the decoder, and no code: what it does with codes must hold for other
views.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import nn

from ..configuration import Config
from ..networks.codes import CodesNet
from ..scenes.codes import HALF_M
from ..scenes.encoder import COARSE
from .checkpoint import load_checkpoint, save_checkpoint
from .codes_material import CodesFeatures, fitted_inputs, write_features
from .codes_worlds import Worlds
from .data import find_shards
from .descent import descend
from .scene_losses import MAX_PX, coordinates_loss, likelihood, pixel_errors
from .scene_steps import CODE_NOISE, NOISE

log = logging.getLogger(__name__)
FIRST = 0.3
"""So much of the training is by the places alone, the rest by where they are drawn, too."""
UNTAUGHT = 0.25
"""Share of the grid cells of a step whose codes are the encoder's alone."""
TABLE_RATE = 10.0
"""Learning rate of what is added to codes, over the decoder's."""


class CodesTrainConfig(Config):
    """Settings of `lhmap train codes`."""

    train: list[str] = Field(description="glob patterns of the training shards")
    steps: int = Field(12000, ge=1)
    cells: int = Field(8, ge=1, description="grid cells of a step")
    pixels: int = Field(256, ge=4, description="cells of images for each: 1/2 in it, 1/4 not, 1/4 held out")
    codes: int = Field(48, ge=16, description="codes of a grid cell; a step takes some of them")
    width: int = Field(96, ge=16, multiple_of=16, description="of the decoder")
    layers: int = Field(3, ge=1)
    values: int = Field(48, ge=8, description="of a code")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    threads: int = Field(1, ge=1, description="CPU threads of the training")
    log_every: int = Field(100, ge=1)
    save_every: int = Field(500, ge=1)
    seed: int = 0


class CodeTable(nn.Module):
    """What is added to the encoder's codes of each grid cell."""

    def __init__(self, cells=(1,), codes=(48,), values=(48,)):
        super().__init__()
        self.settings = {"cells": list(cells), "codes": list(codes), "values": list(values)}
        self.codes = nn.Embedding(cells[0], codes[0] * values[0], sparse=True)
        nn.init.zeros_(self.codes.weight)
        self._shape = codes[0], values[0]

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """(B, K, C) of grid cells (B,)."""
        return self.codes(numbers).reshape(len(numbers), *self._shape)


def noisy(net: CodesNet, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Embedded cells (B, N, W), with noise: else images are learned by heart."""
    cells, place = batch["cells"], batch["place"]
    return net.embed(cells + NOISE * torch.randn_like(cells), place + CODE_NOISE * torch.randn_like(place))


def codes_loss(out: torch.Tensor, batch: dict[str, torch.Tensor], progress: float) -> tuple[torch.Tensor, float]:
    """Of outputs (B, N, 4) for a batch, `progress` from 0 to 1; and the median error of places [m]."""
    flat = {name: values.flatten(0, 1) for name, values in batch.items()}
    out, inside, pose = out.flatten(0, 1), flat["inside"], flat["pose"]
    moved = (out[:, :3] - flat["coordinates"]) * HALF_M
    places = out[:, :3] * HALF_M - pose[:, :3, 3]
    seen = (pose[:, :3, :3].transpose(1, 2) @ places[..., None])[..., 0]
    errors = pixel_errors(seen, flat["rays"], flat["focal"])
    # what is not in the grid cell is as far off as can be, whatever place it was given
    first = progress < FIRST
    errors = torch.where(inside, errors.detach() if first else errors, torch.full_like(errors, MAX_PX))
    loss = coordinates_loss(moved, flat["depth"], inside)
    loss = loss + 0.05 * likelihood(errors, out[:, 3]) if first else 0.5 * loss + 0.1 * likelihood(errors, out[:, 3])
    return loss, float(moved.detach()[inside].norm(dim=1).median()) if inside.any() else float("nan")


def train_codes(config: CodesTrainConfig, out: Path, resume: bool = True) -> Path:
    """Train the decoder and return its last checkpoint.

    Writes OUT/features (made once), OUT/last.safetensors and OUT/codes.safetensors, the codes of the worlds, with which
    it goes on. Raises InputError for shards that are not there.
    """
    # 1. features of all shards, and what is usual among them
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(config.threads)
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    files = write_features(find_shards(config.train), out / "features")
    features = [CodesFeatures.read(file) for file in files]
    net = CodesNet(
        cells=(features[0].cells.shape[1],), whole=(features[0].whole.shape[1],), width=(config.width,),
        layers=(config.layers,), code=(config.values,),
    )  # fmt: skip
    inputs = fitted_inputs(features, COARSE)
    for name, values in (("mean", inputs.mean), ("scale", inputs.scale),
                         ("whole_mean", inputs.code_mean), ("basis", inputs.basis)):  # fmt: skip
        getattr(net, name).copy_(torch.from_numpy(values))
    worlds = Worlds(features, net, config.codes, rng)
    del features
    # 2. the decoder, and the worlds' codes
    table = CodeTable((len(worlds.cells),), (config.codes,), (config.values,))
    optimizer = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    of_table = torch.optim.SparseAdam(list(table.parameters()), TABLE_RATE * config.learning_rate)
    step, last, codes = 0, out / "last.safetensors", out / "codes.safetensors"
    if resume and last.exists():
        load_checkpoint(codes, table, of_table)
        _, step = load_checkpoint(last, net, optimizer)
        rng.bit_generator.state = np.random.default_rng([config.seed, step]).bit_generator.state
        torch.manual_seed(config.seed + step)
    log.info("%d grid cells, %d weights", len(worlds.cells), sum(p.numel() for p in net.parameters()))
    # 3. step by step

    def save(step: int, done: bool) -> None:
        if step % config.save_every == 0 or done:
            save_checkpoint(codes, table, of_table, step)
            save_checkpoint(last, net, optimizer, step)

    descend(
        config, step, net, {optimizer: 1.0, of_table: TABLE_RATE},
        lambda step: _loss(net, table, worlds, config, step / config.steps), save,
    )  # fmt: skip
    return last


def _loss(
    net: CodesNet, table: CodeTable, worlds: Worlds, config: CodesTrainConfig, progress: float
) -> tuple[torch.Tensor, dict[str, float]]:  # fmt: skip
    chosen, quarter, count = worlds.draw(config.cells), config.pixels // 4, config.codes
    anchors, teach = worlds.anchors(chosen), worlds.teaching(chosen, 2 * quarter, quarter)
    ask, numbers = worlds.asking(chosen, quarter), torch.from_numpy(chosen)
    first = net.encode(noisy(net, anchors), anchors["coordinates"])
    added = table(numbers) * (torch.rand(len(chosen), 1, 1) > UNTAUGHT)
    # pruned codes are missing, too
    kept = (torch.arange(count) < torch.randint(count // 4, count + 1, ())).float().expand(len(chosen), count)
    taught, _ = net.attend(noisy(net, teach), first + added, kept)
    asked, _ = net.attend(noisy(net, ask), first + added.detach(), kept)
    (loss, metres), (asking, asked_m) = codes_loss(taught, teach, progress), codes_loss(asked, ask, progress)
    return loss + 0.5 * asking, {"metres": metres, "asked_m": asked_m}
