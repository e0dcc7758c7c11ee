# SPDX-License-Identifier: Apache-2.0
"""Map points as Open3D has them, for its algorithms and windows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError
from ..extras import names_extra
from .points import MapPoints


def load_open3d() -> Any:
    """The module; raises ModuleNotFoundError that names the extra, and InputError for missing system libraries."""
    try:
        with names_extra():
            import open3d
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        raise InputError(
            f"Open3D cannot be loaded ({error}): sudo apt install libgl1 libgomp1 libusb-1.0-0 libx11-6"
        ) from None
    return open3d


def to_open3d(points: MapPoints) -> Any:
    """An open3d.t.geometry.PointCloud: `positions` (N, 3) float64 [m] in the map frame; `heat`, `intensity` (N, 1).

    `.to_legacy()` gives an open3d.geometry.PointCloud, of the positions alone. Raises as `load_open3d`.
    """
    open3d = load_open3d()
    # a memory of its own: a tensor may share an array's
    cloud = open3d.t.geometry.PointCloud(open3d.core.Tensor(points.points + points.origin))
    for name in ("heat", "intensity"):
        cloud.point[name] = open3d.core.Tensor(np.array(getattr(points, name))[:, None])
    return cloud
