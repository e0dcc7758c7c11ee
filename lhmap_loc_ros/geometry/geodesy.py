# SPDX-License-Identifier: Apache-2.0
"""Latitude and longitude (WGS 84) to metres about a point on the earth, and back."""

from __future__ import annotations

import numpy as np

_SEMI_MAJOR_M, _FLATTENING = 6378137.0, 1 / 298.257223563
_ECCENTRICITY2 = _FLATTENING * (2 - _FLATTENING)


def enu_from_geodetic(geodetic: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """East, north and up (N, 3) [m] of an origin (3) at points (N, 3); both latitude, longitude [deg], altitude [m]."""
    return (_ecef(geodetic) - _ecef(origin)) @ _axes(origin)


def geodetic_from_enu(enu: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Latitude, longitude [deg] and altitude [m] (N, 3) of points (N, 3) [m] east, north and up of an origin."""
    x, y, z = np.moveaxis(_ecef(origin) + np.asarray(enu, float) @ _axes(origin).T, -1, 0)
    # Bowring's parametric latitude: exact to a micrometre near the earth's surface
    semi_minor = _SEMI_MAJOR_M * (1 - _FLATTENING)
    level = np.hypot(x, y)
    beta = np.arctan2(_SEMI_MAJOR_M * z, semi_minor * level)
    second = _ECCENTRICITY2 / (1 - _ECCENTRICITY2)
    latitude = np.arctan2(
        z + second * semi_minor * np.sin(beta) ** 3, level - _ECCENTRICITY2 * _SEMI_MAJOR_M * np.cos(beta) ** 3
    )
    radius = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY2 * np.sin(latitude) ** 2)
    # at the poles `level` is zero, at the equator `z`
    altitude = level * np.cos(latitude) + z * np.sin(latitude) - radius * (1 - _ECCENTRICITY2 * np.sin(latitude) ** 2)
    return np.stack([np.degrees(latitude), np.degrees(np.arctan2(y, x)), altitude], axis=-1)


def _ecef(geodetic: np.ndarray) -> np.ndarray:
    """Earth-centred, earth-fixed coordinates (..., 3) [m]."""
    latitude, longitude, altitude = np.moveaxis(np.asarray(geodetic, float), -1, 0)
    latitude, longitude = np.radians(latitude), np.radians(longitude)
    radius = _SEMI_MAJOR_M / np.sqrt(1 - _ECCENTRICITY2 * np.sin(latitude) ** 2)
    level = (radius + altitude) * np.cos(latitude)
    return np.stack([
        level * np.cos(longitude), level * np.sin(longitude),
        (radius * (1 - _ECCENTRICITY2) + altitude) * np.sin(latitude),
    ], axis=-1)  # fmt: skip


def _axes(origin: np.ndarray) -> np.ndarray:
    """East, north and up at a point, as columns (3, 3) of the earth's axes."""
    latitude, longitude = np.radians(np.asarray(origin, float)[:2])
    (a, b), (c, d) = (np.sin(latitude), np.cos(latitude)), (np.sin(longitude), np.cos(longitude))
    return np.array([[-c, -a * d, b * d], [d, -a * c, b * c], [0.0, b, a]])
