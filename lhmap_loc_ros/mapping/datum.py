# SPDX-License-Identifier: Apache-2.0
"""Where on the earth a map lies, by what a GPS receiver told on the mapping drive."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.trajectory import Trajectory
from ..geometry.geodesy import enu_from_geodetic, geodetic_from_enu
from ..lhmap import GeodeticDatum

MIN_FIXES, MIN_EXTENT_M = 5, 20.0
"""Fewer fixes, or of a shorter piece of road, do not tell which way the map is turned."""
MAX_RESIDUAL_M = 10.0
"""Half of the fixes must lie nearer to the drive than this: else they are not of it."""
_ROUNDS = 10
_log = logging.getLogger(__name__)


def find_datum(bags: Sequence[Path], drives: Sequence[Trajectory]) -> GeodeticDatum | None:
    """The datum of the frame of some drives T_map_base, by the sensor_msgs/NavSatFix in their bags; None if they do not
    tell it."""
    told, driven = [], []
    for bag, drive in zip(bags, drives, strict=True):
        for fix, position in _fixes(bag, drive):
            told.append(fix)
            driven.append(position)
    if not told:
        return None
    geodetic, positions = np.array(told), np.array(driven)
    extent = np.linalg.norm(np.ptp(positions[:, :2], axis=0))
    if len(geodetic) < MIN_FIXES or extent < MIN_EXTENT_M:
        _log.warning(
            "the map gets no datum: %d fixes over %.0f m found, expected %d over %.0f m",
            len(geodetic), extent, MIN_FIXES, MIN_EXTENT_M,
        )  # fmt: skip
        return None
    datum, residual_m = fit_datum(geodetic, positions)
    if residual_m > MAX_RESIDUAL_M:
        _log.warning(
            "the map gets no datum: the fixes lie %.0f m from the drive in the median, expected less than %.0f m",
            residual_m, MAX_RESIDUAL_M,
        )  # fmt: skip
        return None
    _log.info("datum from %d fixes, which lie %.1f m from the drive in the median", len(geodetic), residual_m)
    return datum


def fit_datum(geodetic: np.ndarray, positions: np.ndarray) -> tuple[GeodeticDatum, float]:
    """The datum for which latitude, longitude [deg] and altitude [m] (N, 3) best meet positions (N, 3) in the map.

    Also the median of the horizontal distances that are left [m]. Fixes far off count little: the sum of distances is
    minimized, not that of their squares.
    """
    # about the middle of the drive: the zero of a map in UTM is thousands of kilometres away
    middle = np.median(positions, axis=0).round(2)
    offsets, about = positions - middle, np.median(geodetic, axis=0)
    enu = enu_from_geodetic(geodetic, about)
    heading, place, distances = _fit_plane(enu[:, :2], offsets[:, :2])
    place = np.array([*place, np.median(enu[:, 2] - offsets[:, 2])])
    latitude, longitude, altitude = geodetic_from_enu(place, about).tolist()
    datum = GeodeticDatum(
        latitude_deg=latitude, longitude_deg=longitude, altitude_m=altitude, heading_deg=float(np.degrees(heading)),
        position=tuple(middle.tolist()),
    )  # fmt: skip
    return datum, float(np.median(distances))


def _fit_plane(enu: np.ndarray, positions: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """How far the x axis of positions is turned from east [rad], their zero (2,) east and north, and what is left (N,)
    [m]."""
    weights = np.ones(len(enu))
    for _ in range(_ROUNDS):
        middle_enu, middle_map = (np.average(points, axis=0, weights=weights) for points in (enu, positions))
        a, b = positions - middle_map, enu - middle_enu
        heading = np.arctan2(
            weights @ (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]), weights @ (a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1])
        )
        turn = np.array([[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]])
        distances = np.linalg.norm(b - a @ turn.T, axis=1)
        weights = 1.0 / np.maximum(distances, 0.1)
    return float(heading), middle_enu - turn @ middle_map, distances


def _fixes(path: Path, drive: Trajectory) -> list[tuple[np.ndarray, np.ndarray]]:
    """Latitude, longitude, altitude (3,) and the position of base_link (3,) at each fix of a bag."""
    with BagReader(path) as bag:
        fixes = bag.fixes()
    stamps = np.array([fix.stamp_ns for fix in fixes], np.int64)
    covered = np.flatnonzero(drive.covers(stamps)) if len(stamps) else np.zeros(0, int)
    return [(fixes[k].geodetic, drive.at(int(stamps[k]))[:3, 3]) for k in covered]
