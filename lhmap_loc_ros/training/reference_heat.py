# SPDX-License-Identifier: Apache-2.0
"""Samples and loss of the reference method's offline heat network.

Choosing the hottest points has no derivative. Each chosen point therefore enters the online network's depth image
multiplied by a gate whose value is one and whose derivative is that of the point's heat, in units of the mean heat of
the chosen points. A pixel without a point holds zero, so the derivative of the loss by the gate is, to first order,
what the point's presence changes: points that help grow hotter, points that mislead cool down. Points that were not
chosen get no derivative from stage 2; they rise where chosen ones fall, for the heat of a view is shared out, and
stage 1 judges all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from ..geometry import NO_POINT
from ..localization.features import MIN_WIDTH_M, MapView, render_map
from ..localization.regressor import depth_input, image_input, padded
from ..networks.reference_heat import hottest, total_heat
from .regress import RegressSampleConfig, pose_loss, target, varied_by
from .samples import start_pose
from .shards import Frame


class ReferenceHeatSample(NamedTuple):
    """What one training step sees of one frame; float32, H and W padded to multiples of 64."""

    image: np.ndarray
    """(3, H, W), as in `RegressSample`."""
    depth: np.ndarray
    """(1, H, W) [100 m] of the map from the start pose."""
    true_depth: np.ndarray
    """(1, H, W) [100 m] of the map from the true pose: what the heat branch sees."""
    place: np.ndarray
    """(H, W) int64: the pixel (row * W + column) of the start view where the point of each pixel of the true view
    lies; H * W where the start camera does not have it in view, -1 where no point lies in the pixel (it may be
    drawn there, wider than a pixel, and lie in another)."""
    moved_depth: np.ndarray
    """(H, W) [100 m], depth of that point in the start camera."""
    translation: np.ndarray
    """(3) [m] of T_start_true."""
    quaternion: np.ndarray
    """(4) of T_start_true, x, y, z, w."""


def reference_heat_sample(frame: Frame, config: RegressSampleConfig, rng) -> ReferenceHeatSample:
    """One varied sample of a frame, its start pose drawn from the stage's errors."""
    frame, image, wider = varied_by(frame, config, rng)
    width = wider * MIN_WIDTH_M
    truth = frame.T_map_camera
    start = start_pose(truth, config.stage, rng)
    views = [render_map(frame.points, frame.intensity, pose, frame.camera, width) for pose in (start, truth)]
    return ReferenceHeatSample(
        image_input(image), *(depth_input(view) for view in views), *places(*views), *target(start, truth)
    )


def places(start: MapView, true: MapView) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of the true view's pixels lie in the start view; `place` and `moved_depth` of the sample.

    Both views are of the same points and the same camera.
    """
    height, width = true.index.shape
    place = np.full(padded(true.index[None])[0].shape, -1, np.int64)
    depth = np.zeros(place.shape, np.float32)
    rows, columns = np.nonzero(true.index != NO_POINT)
    point = true.index[rows, columns]
    own = (np.floor(true.uv[point] + 0.5) == np.column_stack([columns, rows])).all(1)
    rows, columns, point = rows[own], columns[own], point[own]
    # not a number behind the start camera: then no comparison holds
    column, row = np.floor(start.uv[point] + 0.5).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place[rows, columns] = np.where(inside, np.nan_to_num(row * place.shape[1] + column), place.size)
    depth[rows, columns] = start.depth[point] / 100
    return place, depth


def kept_depth(heat: torch.Tensor, kept: torch.Tensor, place: torch.Tensor, moved_depth: torch.Tensor) -> torch.Tensor:
    """Depth (B, 1, H, W) [100 m] of the kept points alone from the start pose, with the gates' derivative.

    `heat` (B, 1, H, W) and `kept`, likewise, bool and only where there is a place, are of the true view, `place` and
    `moved_depth` (B, H, W) as in the sample. The nearest point of a pixel is drawn, one pixel wide.
    """
    flat, chosen = heat.flatten(1), kept.flatten(1)
    mean = (flat * chosen).sum(1, keepdim=True).detach() / chosen.sum(1, keepdim=True).clamp(min=1)
    share = flat / mean.clamp(min=1e-12)
    value = moved_depth.flatten(1) * (1 + share - share.detach())
    # a cell more than there are pixels takes what is not drawn
    nowhere = flat.shape[1]
    place = torch.where(chosen, place.flatten(1), nowhere)
    empty = value.new_full((len(value), nowhere + 1), torch.inf)
    nearest = empty.scatter_reduce(1, place, value, "amin")[:, :nowhere]
    return torch.where(torch.isfinite(nearest), nearest, 0.0).view_as(heat)


def reference_heat_loss(
    net, image, depth, true_depth, place, moved_depth, translation, quaternion,
    kept: int = 1000, rotation_weight: float = 10.0, first_stage: float = 0.4,
):  # fmt: skip
    """The loss of one batch of `ReferenceHeatSample`, and figures to watch.

    `kept` is the number of points left of each view (published: 5000 at 384x1280), `first_stage` the weight of
    stage 1, the rest that of stage 2; stage 2 trains `net.online` too.
    """
    truth = translation, quaternion
    channels = net.heat_channels(true_depth)
    heat = total_heat(channels, true_depth)
    loss1, metres1, angle1 = pose_loss(*net.rough(image, depth, channels), *truth, rotation_weight)
    chosen = hottest(heat.detach() * (place >= 0).unsqueeze(1), kept)
    sparse = kept_depth(heat, chosen, place, moved_depth)
    loss2, metres2, angle2 = pose_loss(*net.online(image, sparse), *truth, rotation_weight)
    figures = {
        "stage1_m": metres1.median(),
        "stage1_deg": torch.rad2deg(angle1).median(),
        "stage2_m": metres2.median(),
        "stage2_deg": torch.rad2deg(angle2).median(),
        "kept": (sparse > 0).float().sum((1, 2, 3)).mean(),
    }
    return first_stage * loss1 + (1 - first_stage) * loss2, {k: float(v.detach()) for k, v in figures.items()}
