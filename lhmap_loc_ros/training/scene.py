# SPDX-License-Identifier: Apache-2.0
"""Learns a relocalizer from the material of a mapping drive: a small head for each stretch of the path, in minutes.

Coordinates (ACE, CVPR 2023): cells of all images, shuffled; first the places that the LiDAR map tells, then how far a
place is drawn from its cell, which cells without LiDAR teach, too. Constraints (arXiv 2312.00500): places in the map
and in the camera's frame, aligned with weights, and the relative poses of images. Regression (PoseNet, ICCV 2015).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..arrays import read_arrays, write_arrays
from ..errors import InputError
from ..geometry import distance_along
from ..lhmap import LHMap
from ..networks.scene import SceneHead
from ..progress import Report, quiet
from ..scenes.inputs import CellInputs
from ..scenes.section import LAYERS, OUTPUTS, Learned, LearnedImages
from .scene_material import SceneMaterial
from .scene_steps import METHOD_STEPS, Stretch

STRETCH_M, MARGIN_M = 125.0, 10.0
"""A head learns so much of the path, and so much beyond each end of it."""
WIDTH = {"coordinates": 192, "constraints": 192, "regression": 128}
"""Of the heads' layers."""
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 1e-2


@dataclass(frozen=True)
class Amount:
    """How much is learned, and of what; other than this in experiments alone."""

    steps: int = 0
    """Of each head; 0: as the method takes."""
    coordinates: float = 1.0
    """Share of the cells whose places the LiDAR map tells."""
    relations: bool = True
    """constraints: the relative poses of images count, too."""
    kb_per_km: float = 200.0
    """codes: so much a map stores at most."""


def learn(
    material: SceneMaterial, method: str, lhmap: LHMap, folder=None, report: Report | None = None,
    amount: Amount | None = None,
) -> Learned:  # fmt: skip
    """What `method` learns of the material; heads that are done are kept in `folder`, and taken from there."""
    report, amount = report or quiet, amount or Amount()
    inputs = CellInputs.of(material.features, material.coarse, material.view)
    poses = material.T_map_camera.copy()
    poses[:, :3, 3] -= lhmap.metadata.origin
    head = stretches(poses[:, :3, 3])
    count, parts = int(head.max()) + 1, []
    along = distance_along(poses[:, :3, 3])
    for number in range(count):
        own = along[head == number]
        members = np.flatnonzero((along >= own[0] - MARGIN_M) & (along <= own[-1] + MARGIN_M))
        stretch = Stretch.of(material, poses, members, inputs, amount.coordinates)

        def follow(done: int, total: int, number: int = number) -> None:
            report("heads", number * total + done, count * total)

        layers = _kept(folder, method, stretch, amount, lambda s=stretch, f=follow: train_head(method, s, amount, f))
        parts.append((stretch.centre, stretch.scale, layers))
    layers = tuple(
        tuple(np.stack([part[2][k][of] for part in parts]).astype(np.float16) for of in (0, 1)) for k in range(LAYERS)
    )
    return Learned(
        method, material.encoder, material.view, inputs, learned_images(material, poses, inputs, head),
        np.array([part[0] for part in parts], np.float32), np.array([part[1] for part in parts], np.float32), layers,
    )  # fmt: skip


def stretches(positions: np.ndarray, length_m: float = STRETCH_M) -> np.ndarray:
    """Numbers (N,) of the stretches of the path, about so long each, that images at positions (N, 3) are in."""
    along = distance_along(positions)
    count = max(1, round(float(along[-1]) / length_m))
    number = np.minimum((along / max(float(along[-1]), 1e-9) * count).astype(int), count - 1)
    # a stretch that no image is in has no head
    return np.unique(number, return_inverse=True)[1]


def train_head(
    method: str, stretch: Stretch, amount: Amount, report: Callable[[int, int], None]
) -> list[tuple[np.ndarray, np.ndarray]]:  # fmt: skip
    """Weights (in, out) and biases (out,) of the five layers of a head; the same stretch gives the same."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = METHOD_STEPS[method](stretch, amount.relations, device)
    net = SceneHead(step.inputs, WIDTH[method], OUTPUTS[method]).to(device)
    steps = amount.steps or step.STEPS
    optimizer = torch.optim.AdamW(net.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for number in range(steps):
        optimizer.zero_grad()
        loss = step.loss(net, number / steps)
        if torch.isfinite(loss):
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimizer.step()
        schedule.step()
        if number % 20 == 19 or number == steps - 1:
            report(number + 1, steps)
    return [
        (layer.weight.detach().T.cpu().numpy(), layer.bias.detach().cpu().numpy()) for layer in net.layers
    ]  # fmt: skip


def learned_images(
    material: SceneMaterial, poses: np.ndarray, inputs: CellInputs, head: np.ndarray
) -> LearnedImages:  # fmt: skip
    """The material's images, with poses (N, 4, 4) relative to the map's origin and numbers (N,) of their heads."""
    codes = np.array([inputs.code(one.astype(np.float32), material.view) for one in material.features])
    # over base_link's height, as places have it
    positions = poses[:, :3, 3].copy()
    T_camera_base = np.linalg.inv(material.T_base_camera)
    positions[:, 2] = (poses @ T_camera_base)[:, 2, 3]
    yaws = np.arctan2(poses[:, 1, 2], poses[:, 0, 2])
    return LearnedImages(
        positions.astype(np.float32), yaws.astype(np.float32), codes.astype(np.float16), head.astype(np.uint16)
    )


def _kept(folder, method: str, stretch: Stretch, amount: Amount, compute) -> list[tuple[np.ndarray, np.ndarray]]:
    """A head from the folder, where all that it depends on is the same; else computed, and kept there."""
    if folder is None:
        return compute()
    name = hashlib.sha256(f"{method} {amount} {WIDTH[method]}".encode())
    for part in (stretch.inputs, stretch.places, stretch.known, stretch.poses):
        name.update(np.ascontiguousarray(part))
    path = Path(folder) / f"head_{method}_{name.hexdigest()[:16]}.npz"
    names = [f"{kind}{k}" for k in range(LAYERS) for kind in ("weights", "biases")]
    if path.exists():
        try:
            found = read_arrays(path, names, "a head")
            return [(found[f"weights{k}"], found[f"biases{k}"]) for k in range(LAYERS)]
        except InputError:
            path.unlink()  # damaged: learned anew
    layers = compute()
    write_arrays(path, dict(zip(names, (array for pair in layers for array in pair), strict=True)))
    return layers
