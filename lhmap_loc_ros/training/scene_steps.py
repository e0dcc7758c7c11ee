# SPDX-License-Identifier: Apache-2.0
"""One step of learning for each method: what is drawn from a stretch of the path, and the loss on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..networks.scene import SceneHead, aligned
from ..scenes.encoder import cell_rays
from ..scenes.inputs import CODE, CellInputs
from .scene_losses import coordinates_loss, likelihood, pixel_errors, pose_loss, relative
from .scene_material import SceneMaterial

NOISE, CODE_NOISE = 0.2, 0.5
"""Standard deviations of what is added to a cell's inputs and to an image's code: else images are learned by heart."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of the path with N images of M cells, relative to its centre."""

    inputs: np.ndarray
    """(N, M, D) float16, see `scenes.inputs`."""
    places: np.ndarray
    """(N, M, 3) float32 [m]; any where they are not known."""
    depth: np.ndarray
    """(N, M) float32 [m]."""
    known: np.ndarray
    """(N, M) bool: the LiDAR map tells the place."""
    seen: np.ndarray
    """(N, M) bool: the cell shows what the map has, as far as anybody knows."""
    poses: np.ndarray
    """(N, 4, 4) float32 T_stretch_camera."""
    rays: np.ndarray
    """(M, 3) float32 of depth 1."""
    focal: float
    """[pixels]."""
    centre: np.ndarray
    """(3,) [m], relative to the map's origin."""
    scale: float
    """[m], about the size of the stretch."""

    @classmethod
    def of(
        cls, material: SceneMaterial, poses: np.ndarray, members: np.ndarray, inputs: CellInputs, share: float = 1.0
    ) -> Stretch:  # fmt: skip
        """That of some images, with poses (N, 4, 4) relative to the map's origin, and a share of the known places."""
        cells = [inputs.cells(material.features[k].astype(np.float32), material.view) for k in members]
        rays, poses = cell_rays(material.view), poses[members]
        depth = np.nan_to_num(material.depth[members])
        known = np.isfinite(material.depth[members]) & ~material.hidden[members]
        points = rays * depth[..., None]
        places = np.einsum("nij,nmj->nmi", poses[:, :3, :3], points) + poses[:, None, :3, 3]
        told = places[known] if known.any() else poses[:, :3, 3]
        centre = told.mean(0).astype(np.float32)
        local = poses.copy()
        local[:, :3, 3] -= centre
        if share < 1:
            known &= np.random.default_rng(0).random(known.shape) < share
        return cls(
            np.array(cells, np.float16), (places - centre).astype(np.float32), depth.astype(np.float32), known,
            ~material.hidden[members], local.astype(np.float32), rays.astype(np.float32),
            float(np.sqrt(material.view.fx * material.view.fy)), centre, float(max(told.std(0).max(), 5.0)),
        )  # fmt: skip


class _Buffer:
    """A stretch on the device that learns."""

    def __init__(self, stretch: Stretch, device: str):
        self.stretch, self.device = stretch, device
        for name in ("inputs", "places", "depth", "known", "poses", "rays"):
            setattr(self, name, torch.from_numpy(np.ascontiguousarray(getattr(stretch, name))).to(device))
        seen = np.argwhere(stretch.seen)
        self.image, self.cell = (torch.from_numpy(column.copy()).to(device) for column in seen.T)

    def noisy(self, image: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """Inputs (B, D) of cells, with noise; that of its code is the same for all cells of an image."""
        x = self.inputs[image, cell].float()
        code = CODE_NOISE * torch.randn(len(self.inputs), CODE, device=self.device)
        noise = torch.cat([NOISE * torch.randn(len(x), x.shape[1] - CODE, device=self.device), code[image]], dim=1)
        return x + noise


class CoordinatesStep:
    """Cells drawn from anywhere in the stretch."""

    STEPS, BATCH = 2500, 2048
    FIRST = 0.3
    """So much of the learning is by the LiDAR's places alone."""

    def __init__(self, stretch: Stretch, relations: bool, device: str):
        self._buffer, self.inputs = _Buffer(stretch, device), stretch.inputs.shape[2]

    def loss(self, net: SceneHead, progress: float) -> torch.Tensor:
        """Of a batch, `progress` from 0 to 1 through the learning."""
        b, s = self._buffer, self._buffer.stretch
        drawn = torch.randint(len(b.image), (self.BATCH,), device=b.device)
        image, cell = b.image[drawn], b.cell[drawn]
        out = net(b.noisy(image, cell))
        places, turned = out[:, :3] * s.scale, b.poses[image, :3, :3].transpose(1, 2)
        seen = (turned @ (places - b.poses[image, :3, 3])[..., None])[..., 0]
        errors = pixel_errors(seen, b.rays[cell], s.focal)
        loss = coordinates_loss(places - b.places[image, cell], b.depth[image, cell], b.known[image, cell])
        if progress < self.FIRST:
            return loss + 0.05 * likelihood(errors.detach(), out[:, 3])
        return 0.3 * loss + 0.1 * likelihood(errors, out[:, 3])


class ConstraintsStep:
    """Some cells of a few images: two neighbours and two from anywhere."""

    STEPS, CELLS = 2500, 384

    def __init__(self, stretch: Stretch, relations: bool, device: str):
        self._buffer, self.inputs, self._relations = _Buffer(stretch, device), stretch.inputs.shape[2], relations

    def loss(self, net: SceneHead, progress: float) -> torch.Tensor:
        """Of a batch, `progress` from 0 to 1 through the learning."""
        b, s = self._buffer, self._buffer.stretch
        count = len(b.poses)
        first, *far = torch.randint(count, (3,)).tolist()
        images = torch.tensor([first, (first + 1) % count, *far], device=b.device)
        image = images.repeat_interleave(self.CELLS)
        cell = torch.randint(len(b.rays), (len(image),), device=b.device)
        out = net(b.noisy(image, cell))
        places, log_depth = out[:, :3] * s.scale, out[:, 3].clamp(-2, 5)
        depth, known = b.depth[image, cell], b.known[image, cell]
        loss = coordinates_loss(places - b.places[image, cell], depth, known)
        apart = (log_depth - depth.clamp(min=0.5).log()).abs()
        loss = loss + (apart * known).sum() / known.sum().clamp(min=1)
        seen = b.rays[cell] * log_depth.exp()[:, None]
        weights = torch.sigmoid(out[:, 4]) * torch.from_numpy(s.seen).to(b.device)[image, cell]
        shape = (len(images), self.CELLS)
        poses, true = aligned(places.view(*shape, 3), seen.view(*shape, 3), weights.view(shape)), b.poses[images]
        loss = loss + 0.3 * pose_loss(poses, true)
        if self._relations:
            here, there = torch.tensor([0, 0, 1]), torch.tensor([1, 2, 3])
            loss = loss + 0.3 * pose_loss(relative(poses[here], poses[there]), relative(true[here], true[there]))
            # two clouds of one pair are one rigid scene: each image's points, moved by the true poses, are their places
            moved = (b.poses[image, :3, :3] @ seen[..., None])[..., 0] + b.poses[image, :3, 3]
            sure = weights.detach() > 0
            loss = loss + 0.3 * coordinates_loss(places - moved, log_depth.exp().detach(), sure)
        return loss


class RegressionStep:
    """Codes of images, with noise."""

    STEPS, BATCH = 2000, 64

    def __init__(self, stretch: Stretch, relations: bool, device: str):
        self.inputs, self._device, self._scale = CODE, device, stretch.scale
        codes = stretch.inputs[:, 0, -CODE:].astype(np.float32)
        self._codes, self._poses = (torch.from_numpy(a).to(device) for a in (codes, stretch.poses))

    def loss(self, net: SceneHead, progress: float) -> torch.Tensor:
        """Of a batch, `progress` from 0 to 1 through the learning."""
        drawn = torch.randint(len(self._codes), (self.BATCH,), device=self._device)
        codes, poses = self._codes[drawn], self._poses[drawn]
        out = net(codes + 0.3 * torch.randn_like(codes))
        metres = (out[:, :3] * self._scale - poses[:, :3, 3]).norm(dim=1)
        axes = torch.cat([poses[:, :3, 2], poses[:, :3, 1]], dim=1)
        return metres.mean() + 10 * (out[:, 3:] - axes).norm(dim=1).mean()


METHOD_STEPS = {"coordinates": CoordinatesStep, "constraints": ConstraintsStep, "regression": RegressionStep}
