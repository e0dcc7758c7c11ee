# SPDX-License-Identifier: Apache-2.0
"""Pose errors on fixed frames and fixed start errors, with the localizer's own code around the torch network."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ..geometry import inverse, se3_log
from ..localization.refine import Refiner, RefinerConfig
from .samples import near_start, start_pose
from .shards import Shard


class TorchModelSet:
    """The refiner's `ModelSet` around a torch network."""

    def __init__(self, net, width: int, height: int, covariance_scale=None):
        self.net, self.width, self.height = net.eval(), width, height
        self.covariance_scale = np.ones(6) if covariance_scale is None else np.asarray(covariance_scale)

    @torch.no_grad()
    def image(self, image):
        return self.net.image(torch.from_numpy(image[None]))

    @torch.no_grad()
    def coarse(self, view, image8):
        flow, scale = self.net.coarse(torch.from_numpy(view[None]), image8)
        return flow[0].numpy(), scale[0].numpy()

    @torch.no_grad()
    def fine(self, view, image4):
        flow, scale = self.net.fine(torch.from_numpy(view[None]), image4)
        return flow[0].numpy(), scale[0].numpy()


def pose_errors(refiner: Refiner, shards: list[Shard], level: int, frames: int, grey: bool = False, seed: int = 5):
    """Errors (frames, passes + 1, 6) of the start and after every pass, in the axes of the true camera.

    Translation right, down, forward [m], then the rotation vector [deg]. The start errors depend on the seed,
    the level and the frame's number alone; no frame is left out.
    """
    out = []
    for number, shard in enumerate(shards):
        for k in np.linspace(0, len(shard) - 1, min(frames, len(shard))).astype(int):
            frame = shard.frame(int(k))
            rng = np.random.default_rng([seed, level, number, int(k)])
            start = start_pose(frame.T_map_camera, level, rng)
            image = np.full_like(frame.image, 128) if grey else np.ascontiguousarray(frame.image)
            result = refiner.refine(image, frame.camera, frame.crop, start, keep_trace=True)
            poses = [start, *result.trace]
            poses += [poses[-1]] * (refiner.config.fine_passes + 2 - len(poses))
            deltas = [inverse(frame.T_map_camera) @ pose for pose in poses]
            out.append([[*d[:3, 3], *np.degrees(Rotation.from_matrix(d[:3, :3]).as_rotvec())] for d in deltas])
    return np.array(out)


def figures(errors: np.ndarray) -> dict:
    """The protocol's figures of `pose_errors`: medians per pass, spread and recalls of the last."""
    metres, degrees = np.linalg.norm(errors[..., :3], axis=2), np.linalg.norm(errors[..., 3:], axis=2)
    last_m, last_d = metres[:, -1], degrees[:, -1]
    recalls = {f"recall_{name}": (m, d) for name, m, d in (("025m_2deg", 0.25, 2), ("050m_5deg", 0.5, 5))}
    out = {
        "frames": len(errors),
        "medians_m": np.median(metres, 0).tolist(),
        "medians_deg": np.median(degrees, 0).tolist(),
        "translation_mean_m": float(last_m.mean()),
        "translation_p90_m": float(np.quantile(last_m, 0.9)),
        "rotation_p90_deg": float(np.quantile(last_d, 0.9)),
        "start_forward_median_m": float(np.median(np.abs(errors[:, 0, 2]))),
        "forward_median_m": float(np.median(np.abs(errors[:, -1, 2]))),
    }
    for name, (m, d) in (recalls | {"recall_5m_10deg": (5, 10)}).items():
        out[name] = float(np.mean((last_m < m) & (last_d < d)))
    return out


def summary(errors: np.ndarray) -> str:
    """Medians per pass, the forward error before and after, and the recall at 0.5 m and 5 degrees."""
    f = figures(errors)
    medians = " -> ".join(f"{m:.2f}m/{d:.2f}d" for m, d in zip(f["medians_m"], f["medians_deg"], strict=True))
    forward = f"forward {f['start_forward_median_m']:.2f} -> {f['forward_median_m']:.2f}m"
    return f"{medians}  {forward}  recall {100 * f['recall_050m_5deg']:.0f}%"


def validate(net, shards: dict[str, list[Shard]], width: int, height: int, frames: int = 24, levels=(1, 2)) -> dict:
    """Medians by data set and level, with the grey control at level 1."""
    refiner = Refiner(RefinerConfig(), TorchModelSet(net, width, height))
    report = {}
    for name, group in shards.items():
        for level in levels:
            report[f"{name} L{level}"] = pose_errors(refiner, group, level, frames)
        report[f"{name} L1 grey"] = pose_errors(refiner, group, 1, max(6, frames // 2), grey=True)
    net.train()
    return report


def covariance_scale(net, shards: list[Shard], width: int, height: int, frames: int = 60) -> np.ndarray:
    """Factor (6) on each axis' standard deviation after which 68 % of the errors lie within one sigma.

    Errors of neighbouring cells are correlated, which the solver's own covariance does not know. The starts are
    those of a tracked pose, for which the covariance is used.
    """
    refiner = Refiner(RefinerConfig(), TorchModelSet(net, width, height))
    ratios = []
    for number, shard in enumerate(shards):
        for k in np.linspace(0, len(shard) - 1, min(frames, len(shard))).astype(int):
            frame = shard.frame(int(k))
            start = near_start(frame.T_map_camera, np.random.default_rng([9, number, int(k)]))
            image = np.ascontiguousarray(frame.image)
            result = refiner.refine(image, frame.camera, frame.crop, start, coarse=False)
            if result.succeeded:
                error = se3_log(inverse(result.T_map_camera) @ frame.T_map_camera)
                ratios.append(np.abs(error) / np.sqrt(np.diag(result.covariance)))
    return np.quantile(np.array(ratios), 0.683, axis=0)
