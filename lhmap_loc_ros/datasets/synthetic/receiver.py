# SPDX-License-Identifier: Apache-2.0
"""What a GPS receiver on a robot tells."""

from __future__ import annotations

import numpy as np

from ...lhmap import GeodeticDatum

DATUM = GeodeticDatum(latitude_deg=52.5, longitude_deg=13.4, altitude_m=40.0, heading_deg=25.0)
"""Where all simulated worlds lie."""
PERIOD = 1.0
SIGMA_M, STEADY_S = 2.0, 60.0
"""Errors are as large, on each axis, and stay about the same for so long, as those of satellites and walls do."""


def fixes(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Latitude, longitude [deg] and altitude [m] (N, 3) told at positions (N, 3) in the map, `PERIOD` apart."""
    keep = np.exp(-PERIOD / STEADY_S)
    error, errors = SIGMA_M * rng.normal(size=3), []
    for _ in positions:
        errors.append(error)
        error = keep * error + np.sqrt(1 - keep**2) * SIGMA_M * rng.normal(size=3)
    return DATUM.to_geodetic(positions + np.array(errors).reshape(-1, 3))
