# SPDX-License-Identifier: Apache-2.0
"""All figures of one run: what metrics.json holds and the table shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..datasets.trajectory import Trajectory
from ..errors import InputError
from ..geometry import distance_along
from ..localization.motion import SECOND_NS
from ..localization.record import RunRecord
from . import metrics

AXES = ("x", "y", "z", "roll", "pitch", "yaw")


@dataclass(frozen=True)
class Comparison:
    """A run beside the truth and beside odometry alone; all arrays over the frames the truth covers."""

    record: RunRecord
    truth: np.ndarray
    """(N, 4, 4), true pose of base_link in the map at each frame."""
    difference: np.ndarray
    """(N, 6), error of the run, axes of the true body [m, rad]."""
    odometry: np.ndarray | None
    """(N, 4, 4), odometry anchored at the true first pose; NaN where it does not reach. None without odometry."""
    odometry_difference: np.ndarray | None
    """(N, 6), its error."""
    without_truth: int = 0
    """Frames of the run that the truth does not cover."""

    @property
    def seconds(self) -> np.ndarray:
        """(N,) time since the first frame."""
        return (self.record.stamps_ns - self.record.stamps_ns[0]) / SECOND_NS


def compare(record: RunRecord, truth: Trajectory, odometry: Trajectory | None = None) -> Comparison:
    """The run against the truth at every frame that the truth covers.

    Raises InputError if there is no such frame.
    """
    true_poses, covered = metrics.sample(truth, record.stamps_ns)
    if not covered.any():
        raise InputError(
            f"the truth covers none of {len(record)} frames: it spans {_span(truth.stamps_ns)}, "
            f"the frames {_span(record.stamps_ns)}"
        )
    record, true_poses, without_truth = record.select(covered), true_poses[covered], int((~covered).sum())
    difference = metrics.differences(record.poses, true_poses)
    if odometry is None:
        return Comparison(record, true_poses, difference, None, None, without_truth)
    alone, reached = metrics.anchored(odometry, record.stamps_ns, true_poses)
    alone_difference = np.full((len(record), 6), np.nan)
    if reached.any():
        alone_difference[reached] = metrics.differences(alone[reached], true_poses[reached])
    return Comparison(record, true_poses, difference, alone, alone_difference, without_truth)


def summarize(comparison: Comparison) -> dict[str, float]:
    """The figures by name, units in the names; `frames` are those they are of.

    `frames_without_pose` are those before the place was found; whoever knows of others sets it.
    """
    record, difference = comparison.record, comparison.difference
    metres, degrees = metrics.norms(difference)
    ate, rpe = metrics.ate(difference), metrics.rpe(record.poses, comparison.truth, comparison.seconds)
    out = {
        "frames": len(record), "frames_without_pose": record.searched, "frames_without_truth": comparison.without_truth,
        "length_m": float(distance_along(comparison.truth[:, :3, 3])[-1]),
        "duration_s": float(comparison.seconds[-1]),
        **metrics.spread(metres, "translation", "m"),
        **metrics.spread(degrees, "rotation", "deg"),
        **metrics.recall(difference),
        "ate_m": ate[0], "ate_deg": ate[1], "rpe_1s_m": rpe[0], "rpe_1s_deg": rpe[1],
        "losses": metrics.losses(record.states),
        "tracking_share": float(np.mean([state == "TRACKING" for state in record.states])),
        **_axes(comparison),
        **_timing(record),
    }  # fmt: skip
    return {**out, **_odometry(comparison)}


def _axes(comparison: Comparison) -> dict[str, float]:
    difference = comparison.difference
    shares = metrics.coverage(difference, comparison.record.covariances)
    wide = metrics.coverage(difference, comparison.record.covariances, 3.0)
    out = {f"coverage_1sigma_{axis}": float(share) for axis, share in zip(AXES, shares, strict=True)}
    out |= {f"coverage_3sigma_{axis}": float(share) for axis, share in zip(AXES, wide, strict=True)}
    out["coverage_1sigma_ellipsoid"] = metrics.ellipsoid_coverage(difference, comparison.record.covariances)
    medians = np.median(np.abs(difference), axis=0)
    for name, value in zip(("forward", "lateral", "vertical"), medians[:3], strict=True):
        out[f"{name}_median_m"] = float(value)
    for name, value in zip(AXES[3:], np.degrees(medians[3:]), strict=True):
        out[f"{name}_median_deg"] = float(value)
    return out


def _timing(record: RunRecord) -> dict[str, float]:
    """Rate of the poses by their arrival, and how long after its image a pose came."""
    p50, p99 = np.percentile(record.latency_ms, [50, 99])
    span = record.arrival_s[-1] - record.arrival_s[0]
    rate = (len(record) - 1) / span if span > 0 else float("nan")
    return {"rate_hz": float(rate), "latency_ms_p50": float(p50), "latency_ms_p99": float(p99)}


def _odometry(comparison: Comparison) -> dict[str, float]:
    if comparison.odometry_difference is None:
        return {}
    reached = np.isfinite(comparison.odometry_difference).all(axis=1)
    if not reached.any():
        return {}
    metres, degrees = metrics.norms(comparison.odometry_difference[reached])
    return {
        **metrics.spread(metres, "odometry_translation", "m"),
        **metrics.spread(degrees, "odometry_rotation", "deg"),
    }


def _span(stamps_ns: np.ndarray) -> str:
    return f"{stamps_ns[0] / SECOND_NS:.3f} to {stamps_ns[-1] / SECOND_NS:.3f} s" if len(stamps_ns) else "nothing"
