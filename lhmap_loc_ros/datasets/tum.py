# SPDX-License-Identifier: Apache-2.0
"""Trajectories as text: TUM (`stamp x y z qx qy qz qw`, seconds and metres) and KITTI (12 numbers a pose)."""

from __future__ import annotations

import logging
import re
import reprlib
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..geometry import from_quaternion, make_pose, to_quaternion
from .trajectory import Trajectory

_log = logging.getLogger(__name__)
_COLUMNS = "stamp", "x", "y", "z", "qx", "qy", "qz", "qw"
_QUATERNION = re.compile(r"(q|rot|orient)\S*[wxyz]", re.IGNORECASE)
"""Names of the columns of the rotation: qw, q_RS_w, orientation.w."""
_COMMENT = re.compile(r"\s*(#|%|//)")
_QUOTED = reprlib.Repr()
_QUOTED.maxstring = 100
"""Lines of damaged files may be of any length."""
_MAX_NS = Decimal(2**63 - 1)
_UNITS = (
    ("nanoseconds", 0, Decimal("1e17")),
    ("microseconds", 3, Decimal("1e14")),
    ("milliseconds", 6, Decimal("1e11")),
)
"""A unit, how many digits of nanoseconds it has, and the least stamp in it: since 1973, no time in a larger unit."""


def read_tum(path) -> Trajectory:
    """Reads a TUM trajectory; lines that start with #, % or // are skipped.

    A heading that names the columns tells their order, where the quaternion begins with w, too. Stamps may be whole
    milli-, micro- or nanoseconds since 1970 instead of seconds, which is logged. Raises InputError, with the line, for
    a file that is missing or not of this form, a pose that is NaN, or stamps of no time.
    """
    stamps, poses, digits, order = [], [], 9, _order(path)
    for number, words in _lines(path):
        if len(words) != 8:
            raise InputError(f"{path}:{number}: {len(words)} values found, expected 8: {' '.join(_COLUMNS)}")
        values = _floats(path, number, words)[order]
        try:
            poses.append(from_quaternion(values[1:4], values[4:]))
        except InputError as error:
            raise InputError(f"{path}:{number}: {error}") from None
        # float64 seconds of today resolve some hundred nanoseconds only
        stamp = Decimal(words[0])
        if not stamps:
            digits = _digits(path, stamp)
        if abs(stamp) > (limit := _MAX_NS.scaleb(-digits)):
            raise InputError(
                f"{path}:{number}: stamp {_QUOTED.repr(words[0])} found, expected seconds (of at most {limit:.0f})"
            )
        stamps.append(int(stamp.scaleb(digits).to_integral_value()))
    if not poses:
        raise InputError(f"{path}: holds no poses, expected lines of: {' '.join(_COLUMNS)}")
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


def _digits(path, stamp: Decimal) -> int:
    """How many decimal digits of nanoseconds the unit of a file's first stamp has: 9 of seconds."""
    for unit, digits, above in _UNITS:
        if above <= stamp <= _MAX_NS:
            _log.warning("%s: stamps such as %s are taken to be %s", path, stamp, unit)
            return digits
    return 9


def _order(path) -> list[int]:
    """The places of stamp, position and quaternion among eight columns, as a heading names them."""
    for line in _text(path).splitlines():
        names = _words(re.sub(r"\[[^]]*\]|[#%/]", " ", line))
        if not _is_heading(line) and not _COMMENT.match(line) and names:
            break
        turned = {name[-1].lower(): k for k, name in enumerate(names) if _QUATERNION.fullmatch(name)}
        if len(names) == len(_COLUMNS) and set(turned) == set("wxyz") and 0 not in turned.values():
            position = [k for k in range(1, 8) if k not in turned.values()]
            return [0, *position, *(turned[axis] for axis in "xyzw")]
    return list(range(8))


def _lines(path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and words of the lines that hold any but a heading; commas or semicolons may separate them."""
    first = True
    for number, line in enumerate(_text(path).splitlines(), 1):
        words = [] if _COMMENT.match(line) else _words(line.split("#")[0])
        if words and not (first and _is_heading(line)):
            yield number, words
        first = first and not words


def _text(path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")  # Windows' programs begin with a mark
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read: {error.strerror}, expected a trajectory: lines of {' '.join(_COLUMNS)}"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text, expected a trajectory") from None


def _words(line: str) -> list[str]:
    return line.replace(",", " ").replace(";", " ").split()


def _is_heading(line: str) -> bool:
    """Whether a line names columns: no number is in it."""
    return not any(_is_number(word) for word in _words(line))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _floats(path, number: int, words: list[str]) -> np.ndarray:
    try:
        if not Decimal(words[0]).is_finite():
            raise InputError(f"{path}:{number}: {_QUOTED.repr(words[0])} found, expected finite numbers")
        return np.array([float(word) for word in words])
    except (ValueError, InvalidOperation):
        raise InputError(
            f"{path}:{number}: {_QUOTED.repr(' '.join(words))} found, expected {len(words)} numbers"
        ) from None
