# SPDX-License-Identifier: Apache-2.0
"""Learns the codes of a mapping drive's grid cells, with the decoder as it is (NeuMap, arXiv 2211.11177).

The first codes are what the decoder's encoder makes of some cells of images; then they alone are optimised. Those that
are least attended to are left out until the map is small enough, and the others learn on.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import InputError
from ..geometry import distance_along
from ..inference.models import models_dir
from ..lhmap import LHMap
from ..networks.codes import CodesNet
from ..progress import Report, quiet
from ..scenes.codes import HALF_M, MAX_CODES, NETWORKS, MapCodes, quantized
from .checkpoint import load_checkpoint, read_metadata, save_checkpoint, sha256_of
from .codes import codes_loss, noisy
from .codes_material import CodesFeatures
from .codes_worlds import Worlds
from .scene import Amount, learned_images, stretches
from .scene_codes_material import asked_cells, inputs_of, scene_features, thinned
from .scene_material import SceneMaterial

MIN_CODES = 4
"""A grid cell has at least so many, whatever the budget."""
SPARE = 2
"""So many times the codes that the budget allows are learned at first."""
MIN_PIXELS = 40
"""A grid cell with fewer known cells of images has no codes."""
CELLS, INSIDE, OUTSIDE = 8, 128, 64
"""Grid cells of a step, and cells of images in and outside of each."""
VISITS = 500
"""So often a grid cell is drawn."""
RATE = 2e-2
PRUNED_AT = 0.5
"""So far through the learning codes are left out."""
SAVE_EVERY = 200
"""Steps after which the folder holds what was learned."""
_DRAWN = "drawn"
"""In the metadata of what the folder holds: `Worlds.drawn`."""


class SceneCodes(nn.Module):
    """C grid cells with K codes of V values: the first ones, which stay, and what is learned."""

    def __init__(self, shape=(1, 1, 1)):
        super().__init__()
        self.settings = {"shape": list(shape)}
        self.register_buffer("first", torch.zeros(*shape))
        self.register_buffer("kept", torch.ones(*shape[:2]))
        self.learned = nn.Embedding(shape[0], shape[1] * shape[2], sparse=True)
        nn.init.zeros_(self.learned.weight)

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """(B, K, V) of grid cells (B,)."""
        return self.first[cells] + self.learned(cells).reshape(len(cells), *self.first.shape[1:])


def learn_codes(
    material: SceneMaterial, method: str, lhmap: LHMap, folder=None, report: Report | None = None,
    amount: Amount | None = None, weights: Path | None = None,
) -> MapCodes:  # fmt: skip
    """As `scene.learn`: the codes of the material's grid cells; an interrupted run goes on from what `folder` keeps.

    `weights`: a checkpoint of the decoder, by default the shipped one. Raises InputError for one of other features, and
    where no grid cell is seen well enough.
    """
    report, amount = report or quiet, amount or Amount()
    weights = weights or models_dir() / "checkpoints" / f"{NETWORKS}.safetensors"
    net, _ = load_checkpoint(weights, CodesNet)
    net.eval().requires_grad_(False)
    # 1. what the images show of each grid cell
    poses = material.T_map_camera.copy()
    poses[:, :3, 3] -= lhmap.metadata.origin
    features = scene_features(material, poses)
    if features.cells.shape[1] != net.settings["cells"][0]:
        raise InputError(
            f"{weights}: a decoder of {net.settings['cells'][0]} features, expected one of {features.cells.shape[1]}"
        )
    head = stretches(poses[:, :3, 3], HALF_M)
    images = thinned(learned_images(material, poses, inputs_of(net, material.coarse), head))
    worlds = Worlds([features], net, MAX_CODES, np.random.default_rng(0), MIN_PIXELS)
    empty = MapCodes(
        material.encoder, sha256_of(weights), material.view, images, asked_cells(worlds, features, head),
        np.array([cell.centre for cell in worlds.cells], np.float32), np.zeros(len(worlds.cells), np.uint8),
        np.zeros(0, np.float16), np.zeros((0, net.settings["code"][0]), np.int8),
    )  # fmt: skip
    # 2. its codes, as many as the bytes allow that the rest leaves
    lengths = [float(distance_along(path)[-1]) for path in (poses[:, :3, 3], lhmap.metadata.path[:, :3]) if len(path)]
    bytes_left = amount.kb_per_km * min(lengths) - len(empty.to_section().data)
    budget = max(int(bytes_left) // (empty.values.shape[1] + 2), MIN_CODES * len(worlds.cells))
    codes = _learned(net, worlds, budget, amount, folder, report, _digest(weights, features, budget, amount))
    kept = codes.kept.bool().cpu()
    with torch.no_grad():
        values = codes(torch.arange(len(kept), device=codes.kept.device)).cpu()[kept]
    steps, values = quantized(values.numpy())
    return replace(empty, counts=kept.sum(1).numpy().astype(np.uint8), steps=steps, values=values)


def _learned(
    net: CodesNet, worlds: Worlds, budget: int, amount: Amount, folder: Path | str | None, report: Report, digest: str
) -> SceneCodes:  # fmt: skip
    """Codes of all grid cells, learned, and pruned to a budget; the same material gives the same, interrupted or not.

    `digest` names what the folder keeps of an interrupted run.
    """
    device, cells = "cuda" if torch.cuda.is_available() else "cpu", len(worlds.cells)
    count = int(np.clip(SPARE * budget // cells, 16, MAX_CODES))
    steps = amount.steps or max(1, VISITS * cells // CELLS)
    net, codes = net.to(device), SceneCodes((cells, count, net.settings["code"][0])).to(device)
    codes.first.copy_(_first_codes(net, worlds, count, device))
    optimizer = torch.optim.SparseAdam(list(codes.parameters()), RATE)
    path, step = None if folder is None else Path(folder) / f"codes_{digest}.safetensors", 0
    if path is not None and path.exists():
        _, step = load_checkpoint(path, codes, optimizer)
        if _DRAWN in (told := read_metadata(path)):
            worlds.drawn = json.loads(told[_DRAWN])
    while step < steps:
        torch.manual_seed(step)
        if step == int(PRUNED_AT * steps):
            codes.kept.copy_(most_attended(net, worlds, codes, budget, device))
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * step / steps)))
        chosen = worlds.draw(min(CELLS, cells))
        batch, numbers = _moved(worlds.teaching(chosen, INSIDE, OUTSIDE), device), torch.from_numpy(chosen).to(device)
        out, _ = net.attend(noisy(net, batch), codes(numbers), codes.kept[numbers])
        loss, _ = codes_loss(out, batch, step / steps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 20 == 0 or step == steps:
            report("codes", step, steps)
        if path is not None and (step % SAVE_EVERY == 0 or step == steps):
            save_checkpoint(path, codes, optimizer, step, {_DRAWN: json.dumps(worlds.drawn)})
    return codes


def _first_codes(net: CodesNet, worlds: Worlds, count: int, device: str) -> torch.Tensor:
    """(C, count, V), of cells of images drawn in each grid cell."""
    parts = []
    for chosen in np.array_split(np.arange(len(worlds.cells)), -(-len(worlds.cells) // CELLS)):
        anchors = _moved(worlds.anchors(chosen), device)
        parts.append(net.encode(net.embed(anchors["cells"], anchors["place"]), anchors["coordinates"])[:, :count])
    return torch.cat(parts)


@torch.no_grad()
def most_attended(net: CodesNet, worlds: Worlds, codes: SceneCodes, budget: int, device: str) -> torch.Tensor:
    """Which codes (C, K) to keep, 1 or 0: those that the cells of images look at most, `budget` of them in all."""
    looks = []
    for chosen in np.array_split(np.arange(len(worlds.cells)), -(-len(worlds.cells) // CELLS)):
        batch, numbers = _moved(worlds.teaching(chosen, 4 * INSIDE, 0), device), torch.from_numpy(chosen).to(device)
        embedded = net.embed(batch["cells"], batch["place"])
        _, attention = net.attend(embedded, codes(numbers), codes.kept[numbers])
        many = torch.tensor([len(worlds.cells[k].teach) ** 0.5 for k in chosen], device=device)
        looks.append(torch.stack(attention).mean((0, 2, 3)) * many[:, None])
    looks = torch.cat(looks)
    # a few of each grid cell stay, whatever is looked at elsewhere
    looks.scatter_add_(1, looks.topk(MIN_CODES, 1).indices, torch.full_like(looks, 1e9))
    kept = torch.zeros_like(looks).flatten()
    kept[looks.flatten().topk(min(budget, looks.numel())).indices] = 1
    return kept.reshape(looks.shape)


def _moved(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    return {name: values.to(device) for name, values in batch.items()}


def _digest(weights: Path, features: CodesFeatures, budget: int, amount: Amount) -> str:
    """Of all that the codes depend on."""
    name = hashlib.sha256(f"{sha256_of(weights)} {budget} {amount}".encode())
    for part in (features.cells, features.depth, features.poses):
        name.update(np.ascontiguousarray(part))
    return name.hexdigest()[:16]
