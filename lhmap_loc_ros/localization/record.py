# SPDX-License-Identifier: Apache-2.0
"""What a run of the tracker leaves behind: one row per image, in memory and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import ArrayLike

from ..geometry import to_quaternion
from .estimate import PoseEstimate

COLUMNS = (
    "stamp_ns state accepted x y z qx qy qz qw sigma_x_m sigma_y_m sigma_z_m sigma_roll_deg sigma_pitch_deg "
    "sigma_yaw_deg inlier_ratio innovation latency_ms arrival_s"
).split()


@dataclass(frozen=True)
class RunRecord:
    """The poses of a run, in order of their stamps; N images."""

    stamps_ns: np.ndarray
    """(N,) int64, stamps of the images."""
    states: np.ndarray
    """(N,) names of the `TrackState`."""
    accepted: np.ndarray
    """(N,) bool, the image moved the pose."""
    poses: np.ndarray
    """(N, 4, 4), T_map_base."""
    covariances: np.ndarray
    """(N, 6, 6), body frame of base_link, translation first [m, rad]."""
    inlier_ratio: np.ndarray
    """(N,) of the refinement, 0 without one."""
    innovation: np.ndarray
    """(N,) squared Mahalanobis distance of the measurement, NaN without one."""
    latency_ms: np.ndarray
    """(N,) how long after its image the pose was there [ms]."""
    arrival_s: np.ndarray
    """(N,) when the pose was there, on a clock of arbitrary zero [s]."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many messages could not be used, by topic and reason."""
    searched: int = 0
    """How many images passed before the place was found; they have no row."""

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def select(self, mask: np.ndarray) -> RunRecord:
        """The rows where `mask` (N, bool) is set."""
        rows = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name not in ("left_out", "searched")}
        return RunRecord(**rows, left_out=self.left_out, searched=self.searched)

    @classmethod
    def of(
        cls, results: Sequence[PoseEstimate], latency_ms: ArrayLike, arrival_s: ArrayLike,
        left_out: dict[str, int] | None = None, searched: int = 0,
    ) -> RunRecord:  # fmt: skip
        """From the `PoseEstimate`s of a run, when they were there, what could not be used, images before them."""
        return cls(
            stamps_ns=np.array([r.stamp_ns for r in results], np.int64),
            states=np.array([r.state.value for r in results]),
            accepted=np.array([r.accepted for r in results], bool),
            poses=np.array([r.T_map_base for r in results]).reshape(-1, 4, 4),
            covariances=np.array([r.covariance for r in results]).reshape(-1, 6, 6),
            inlier_ratio=np.array([0.0 if r.refinement is None else r.refinement.inlier_ratio for r in results]),
            innovation=np.array([r.innovation for r in results]),
            latency_ms=np.array(latency_ms, float),
            arrival_s=np.array(arrival_s, float),
            left_out=left_out or {},
            searched=searched,
        )

    def to_csv(self) -> str:
        """The rows as CSV text with a header; covariances as standard deviations, body axes."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for k in range(len(self)):
            translation, quaternion = to_quaternion(self.poses[k])
            sigma = np.sqrt(np.diag(self.covariances[k])) * np.r_[[1.0] * 3, [np.degrees(1)] * 3]
            numbers = [*translation, *quaternion, *sigma, self.inlier_ratio[k], self.innovation[k]]
            writer.writerow(
                [self.stamps_ns[k], self.states[k], int(self.accepted[k]), *(f"{v:.6f}" for v in numbers),
                 f"{self.latency_ms[k]:.2f}", f"{self.arrival_s[k]:.3f}"]
            )  # fmt: skip
        return out.getvalue()
