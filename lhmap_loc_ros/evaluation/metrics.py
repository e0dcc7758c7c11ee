# SPDX-License-Identifier: Apache-2.0
"""Figures of a trajectory against the truth, of all frames given; nothing is aligned, both are in the map frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation
from scipy.special import chdtri

from ..datasets.trajectory import Trajectory
from ..geometry import inverse
from ..localization.motion import SECOND_NS

ONE_SIGMA = 0.6827
"""Share of a Gaussian within one standard deviation."""
RECALL_LIMITS = {"recall_025m_2deg": (0.25, 2), "recall_050m_5deg": (0.5, 5), "recall_5m_10deg": (5, 10)}
"""Names of the recalls, and the position [m] and rotation [deg] within which a pose counts: the usual ones."""


def sample(trajectory: Trajectory, stamps_ns: np.ndarray, max_gap_s: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Poses (N, 4, 4) of a trajectory at stamps (N), and which of them (N, bool) it covers.

    Stamps outside the trajectory or in a gap longer than `max_gap_s` are not covered; their poses are NaN.
    """
    stamps_ns, known = np.asarray(stamps_ns, np.int64), trajectory.stamps_ns
    right = np.clip(np.searchsorted(known, stamps_ns), 0, len(known) - 1)
    left = np.maximum(right - 1, 0)
    near = known[right] - known[left] <= max_gap_s * SECOND_NS
    covered = trajectory.covers(stamps_ns) & (near | (known[right] == stamps_ns))
    out = np.full((len(stamps_ns), 4, 4), np.nan)
    out[covered] = trajectory.at(stamps_ns[covered])
    return out, covered


def pose_at(trajectory: Trajectory, stamp_ns: int) -> np.ndarray | None:
    """The known pose (4, 4) of an image; None where the trajectory, gaps of a second apart, does not cover it."""
    poses, covered = sample(trajectory, np.array([stamp_ns]), max_gap_s=1.0)
    return poses[0] if covered[0] else None


def differences(estimate: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Errors (N, 6) of poses (N, 4, 4): along and about the axes of the true body [m, rad]."""
    turned = np.swapaxes(truth[:, :3, :3], 1, 2)
    translation = np.einsum("nij,nj->ni", turned, estimate[:, :3, 3] - truth[:, :3, 3])
    return np.concatenate([translation, Rotation.from_matrix(turned @ estimate[:, :3, :3]).as_rotvec()], axis=1)


def norms(difference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances (N) [m] and angles (N) [deg] of errors (N, 6)."""
    return np.linalg.norm(difference[:, :3], axis=1), np.degrees(np.linalg.norm(difference[:, 3:], axis=1))


def spread(values: np.ndarray, name: str, unit: str) -> dict[str, float]:
    """Median, mean, 90th percentile and maximum of errors, as ``{name}_median_{unit}`` ..."""
    figures = {
        "median": np.median(values), "mean": np.mean(values), "p90": np.percentile(values, 90), "max": np.max(values)
    }  # fmt: skip
    return {f"{name}_{key}_{unit}": float(value) for key, value in figures.items()}


def ate(difference: np.ndarray) -> tuple[float, float]:
    """Absolute trajectory error: root mean square of the distances [m] and of the angles [deg]."""
    metres, degrees = (float(np.sqrt(np.mean(values**2))) for values in norms(difference))
    return metres, degrees


def rpe(estimate: np.ndarray, truth: np.ndarray, seconds: np.ndarray, span_s: float = 1.0) -> tuple[float, float]:
    """Relative pose error over a second, or another span: root mean square [m], [deg]; NaN for shorter trajectories.

    `seconds` (N,) tells when each pose is of; those that none follows after the span, as in a gap, do not count.
    """
    if len(seconds) < 2:
        return float("nan"), float("nan")
    slack = float(np.median(np.diff(seconds))) / 2
    second = np.searchsorted(seconds, seconds + span_s - slack)
    first = np.flatnonzero(second < len(seconds))
    first = first[seconds[second[first]] <= seconds[first] + span_s + slack]
    if not len(first):
        return float("nan"), float("nan")
    second = second[first]
    return ate(differences(_relative(estimate[first], estimate[second]), _relative(truth[first], truth[second])))


def _relative(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.array([inverse(a) @ b for a, b in zip(before, after, strict=True)])


def coverage(difference: np.ndarray, covariances: np.ndarray, sigmas: float = 1.0) -> np.ndarray:
    """Share of errors (N, 6) within so many standard deviations of their covariance (N, 6, 6), per axis (6).

    An honest covariance gives 0.68 at one sigma.
    """
    limit = sigmas * np.sqrt(np.einsum("nii->ni", covariances))
    return np.mean(np.abs(difference) <= limit, axis=0)


def ellipsoid_coverage(difference: np.ndarray, covariances: np.ndarray) -> float:
    """Share of errors (N, 6) inside the ellipsoid of their covariance (N, 6, 6) that should hold 68 % of them."""
    distance2 = np.einsum("ni,ni->n", difference, np.linalg.solve(covariances, difference[:, :, None])[:, :, 0])
    return float(np.mean(distance2 <= chdtri(6, 1 - ONE_SIGMA)))


def losses(states: Sequence[str] | np.ndarray) -> int:
    """How often the track was lost: entries into LOST."""
    lost = np.array([state == "LOST" for state in states], dtype=int)
    return int((np.diff(lost, prepend=0) == 1).sum())


def recall(difference: np.ndarray) -> dict[str, float]:
    """Share of the frames within each of RECALL_LIMITS."""
    metres, degrees = norms(difference)
    return {name: float(np.mean((metres <= m) & (degrees <= d))) for name, (m, d) in RECALL_LIMITS.items()}


def anchored(odometry: Trajectory, stamps_ns: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Odometry alone at stamps (N), laid on the true pose (N, 4, 4) of the first stamp it covers; and that mask (N)."""
    poses, covered = sample(odometry, stamps_ns)
    if covered.any():
        first = np.flatnonzero(covered)[0]
        poses[covered] = truth[first] @ inverse(poses[first]) @ poses[covered]
    return poses, covered
