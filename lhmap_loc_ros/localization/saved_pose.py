# SPDX-License-Identifier: Apache-2.0
"""The last good pose on disk, to start from after the next start of the robot."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from ..configuration import Config
from ..errors import InputError
from ..geometry import from_quaternion, to_quaternion
from ..lhmap import LHMap
from ..lhmap.atomic import replacing
from ..outputs import make_folder_of
from .manifold import is_covariance
from .start import StartPose

STANDING_SIGMA_M, STANDING_SIGMA_DEG = 0.5, 3.0
"""How far a robot that is switched off is pushed about, one standard deviation."""


class SavedPose(Config):
    """What the file holds, as JSON."""

    map: str
    """`LHMap.identity` of the map that the pose is in."""
    saved_at: float
    """Seconds since 1970, clock of the machine."""
    position: tuple[float, float, float]
    """Of base_link in the map [m]."""
    orientation: tuple[float, float, float, float]
    """Quaternion x, y, z, w."""
    covariance: tuple[float, ...] = Field(min_length=36, max_length=36)
    """(6, 6) by rows, body frame of base_link, translation first [m, rad]."""

    def start(self) -> StartPose:
        """A start pose as sure as the saved one, but for what may have happened since."""
        pose = from_quaternion(self.position, self.orientation)
        moved = np.diag([STANDING_SIGMA_M**2] * 3 + [np.radians(STANDING_SIGMA_DEG) ** 2] * 3)
        return StartPose(pose, np.reshape(self.covariance, (6, 6)) + moved)


def save_pose(path: Path, lhmap: LHMap, T_map_base: np.ndarray, covariance: np.ndarray) -> None:
    """Writes a pose (4, 4) with its covariance (6, 6); a reader sees the file before or the file now.

    Raises InputError if it cannot be written.
    """
    position, orientation = to_quaternion(T_map_base)
    saved = SavedPose(
        map=lhmap.identity, saved_at=time.time(), position=tuple(position), orientation=tuple(orientation),
        covariance=tuple(np.ravel(covariance)),
    )  # fmt: skip
    make_folder_of(path)
    with replacing(path) as file:
        file.write(saved.model_dump_json(indent=1).encode())


def load_pose(path: Path, lhmap: LHMap) -> SavedPose | None:
    """The saved pose; None if there is no file.

    Raises InputError if it is damaged, holds no pose, or one in another map.
    """
    try:
        saved = SavedPose.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a saved pose") from error
    except ValidationError as error:
        raise InputError(f"{path}: damaged: {error.errors()[0]['msg']}, expected a saved pose") from None
    if saved.map != lhmap.identity:
        raise InputError(f"{path}: the pose is in map {saved.map[:12]}, expected {lhmap.identity[:12]} ({lhmap.path})")
    if not is_covariance(np.reshape(saved.covariance, (6, 6))):
        raise InputError(f"{path}: damaged: covariance not symmetric and positive")
    saved.start()
    return saved
