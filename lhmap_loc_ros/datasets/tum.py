# SPDX-License-Identifier: Apache-2.0
"""Trajectories as text: TUM (`stamp x y z qx qy qz qw`, seconds and metres) and KITTI (12 numbers a pose)."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry import from_quaternion, make_pose, to_quaternion
from .trajectory import Trajectory

_FIRST_COLUMN = "stamp", "timestamp", "time", "t"
_MAX_S = Decimal(2**63 - 1).scaleb(-9)
"""Of the seconds whose nanoseconds are an int64: the year 2262."""


def read_tum(path) -> Trajectory:
    """Reads a TUM trajectory; lines that start with # are skipped.

    Raises InputError, with the line, for a file that is missing or not of this form, a pose that is NaN, or stamps
    that are no seconds.
    """
    stamps, poses = [], []
    for number, words in _lines(path):
        if len(words) != 8:
            raise InputError(f"{path}:{number}: {len(words)} values found, expected 8: stamp x y z qx qy qz qw")
        values = _floats(path, number, words)
        try:
            poses.append(from_quaternion(values[1:4], values[4:]))
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        # float64 seconds of today resolve some hundred nanoseconds only
        seconds = Decimal(words[0])
        if abs(seconds) > _MAX_S:
            raise InputError(f"{path}:{number}: stamp {words[0]} found, expected seconds (of at most {_MAX_S:.0f})")
        stamps.append(int(seconds.scaleb(9).to_integral_value()))
    if not poses:
        raise InputError(f"{path}: holds no poses, expected lines of: stamp x y z qx qy qz qw")
    return Trajectory.sorted(stamps, poses)


def write_tum(path, trajectory: Trajectory) -> None:
    """Writes a TUM trajectory: stamps to the nanosecond, positions to the micrometre."""
    lines = ["# stamp x y z qx qy qz qw"]
    for stamp, pose in zip(trajectory.stamps_ns.tolist(), trajectory.poses, strict=True):
        position, quaternion = to_quaternion(pose)
        numbers = [f"{v:.6f}" for v in position] + [f"{v:.9f}" for v in quaternion]
        lines.append(" ".join([f"{stamp // 10**9}.{stamp % 10**9:09d}", *numbers]))
    Path(path).write_text("\n".join(lines) + "\n")


def read_kitti_poses(path) -> np.ndarray:
    """The poses (N, 4, 4) of a KITTI pose file: the rows of a 3x4 matrix on each line. Raises InputError."""
    poses = []
    for number, words in _lines(path):
        if len(words) != 12:
            raise InputError(f"{path}:{number}: {len(words)} values found, expected the 12 of a 3x4 pose")
        matrix = np.reshape(_floats(path, number, words), (3, 4))
        if not np.isfinite(matrix).all():
            raise InputError(f"{path}:{number}: pose is not finite")
        if np.abs(matrix[:, :3] @ matrix[:, :3].T - np.eye(3)).max() > 1e-3:
            raise InputError(f"{path}:{number}: the left 3x3 of the pose is not a rotation")
        poses.append(make_pose(matrix[:, :3], matrix[:, 3]))
    if not poses:
        raise InputError(f"{path}: holds no poses, expected lines of 12 numbers")
    return np.array(poses)


def write_kitti_poses(path, poses: np.ndarray) -> None:
    """Writes poses (N, 4, 4) as lines of 12 numbers."""
    np.savetxt(path, np.asarray(poses)[:, :3].reshape(-1, 12), fmt="%.9e")


def read_trajectory(path, stamps_ns=None) -> Trajectory:
    """Reads a TUM file, or a KITTI pose file whose lines belong to `stamps_ns` (N,), told by their width.

    Raises InputError if it is neither, or a KITTI file has another number of poses than there are stamps.
    """
    first = next(_lines(path), (0, []))[1]
    if len(first) != 12:
        return read_tum(path)
    poses = read_kitti_poses(path)
    if stamps_ns is None or len(poses) != len(stamps_ns):
        known = "no stamps are known" if stamps_ns is None else f"there are {len(stamps_ns)} scans"
        raise InputError(f"{path}: {len(poses)} KITTI poses found, but {known}; expected one pose a scan")
    return Trajectory.sorted(stamps_ns, poses)


def _lines(path):
    """Line numbers and words of the lines that hold any but names of columns; commas may separate them."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows' programs begin with a mark
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}, expected a trajectory") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, expected a trajectory") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if words and not (number == 1 and words[0].lower() in _FIRST_COLUMN):
            yield number, words


def _floats(path, number: int, words: list[str]) -> list[float]:
    try:
        if not Decimal(words[0]).is_finite():
            raise InputError(f"{path}:{number}: {words[0]} found, expected finite numbers")
        return [float(word) for word in words]
    except (ValueError, InvalidOperation):
        raise InputError(f"{path}:{number}: {' '.join(words)!r} found, expected {len(words)} numbers") from None
