# SPDX-License-Identifier: Apache-2.0
"""A camera localizes itself, 6-DoF, in a compact LiDAR heat map (LHMap).

    from lhmap_loc_ros import Camera, Localizer, PosedCamera

    camera = PosedCamera(Camera(1280, 384, 720.0, 720.0, 640.0, 192.0), T_base_camera)
    with Localizer("campus.lhmap") as localizer:
        localizer.start(T_map_base)
        for stamp_ns, image in frames:
            estimate = localizer.localize(image, camera, stamp_ns)
            print(estimate.state.value, estimate.T_map_base, estimate.covariance)

What is named here is the public interface; it is imported when it is first used, so that importing the package costs
nothing. It needs neither ROS nor PyTorch. Poses T_a_b are (4, 4) matrices, the pose of frame b in frame a, metres.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .extras import names_extra
from .numba_cache import find_cache_folder

_WHERE = {
    "LHMap": "lhmap", "MapPoints": "lhmap", "MapMetadata": "lhmap", "write_map": "lhmap",
    "Camera": "geometry", "Rectifier": "geometry",
    "PosedCamera": "localization.estimate", "PoseEstimate": "localization.estimate",
    "TrackState": "localization.states",
    "Localizer": "localization.localizer", "LocalizerConfig": "localization.localizer",
    "Relocalizer": "localization.relocalize", "PoseHypothesis": "localization.relocalize",
    "build_map": "mapping.builder", "BuildConfig": "mapping.config",
    "LhmapError": "errors", "InputError": "errors", "MapFormatError": "errors", "BagError": "errors",
    "ModelError": "errors", "ConfigError": "errors",
}  # fmt: skip
"""The module of each public name."""

find_cache_folder()

__all__ = [
    "BagError", "BuildConfig", "Camera", "ConfigError", "InputError", "LHMap", "LhmapError", "Localizer",
    "LocalizerConfig", "MapFormatError", "MapMetadata", "MapPoints", "ModelError", "PoseHypothesis", "PoseEstimate",
    "PosedCamera", "Rectifier", "Relocalizer", "TrackState", "build_map", "write_map",
]  # fmt: skip

if TYPE_CHECKING:
    __version__: str
    from .errors import BagError, ConfigError, InputError, LhmapError, MapFormatError, ModelError
    from .geometry import Camera, Rectifier
    from .lhmap import LHMap, MapMetadata, MapPoints, write_map
    from .localization.estimate import PosedCamera, PoseEstimate
    from .localization.localizer import Localizer, LocalizerConfig
    from .localization.relocalize import PoseHypothesis, Relocalizer
    from .localization.states import TrackState
    from .mapping.builder import build_map
    from .mapping.config import BuildConfig


def __getattr__(name: str):
    if name == "__version__":
        from .version import version

        return version()
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with names_extra():
        value = getattr(import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
