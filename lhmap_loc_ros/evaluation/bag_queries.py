# SPDX-License-Identifier: Apache-2.0
"""The images of a bag, with their true poses, as queries of the evaluation protocol."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..datasets.bag import BagReader, in_full
from ..datasets.frames import frame_numbers
from ..errors import InputError
from ..lhmap import LHMap
from ..localization.image_sets import BagCameras
from ..localization.inputs import BagInputs
from ..localization.submap_cache import SUBMAP_RADIUS_M
from .check import known_poses
from .metrics import pose_at
from .protocol import Query

CROP_RADIUS_M = SUBMAP_RADIUS_M
"""As the tracker's: the map is cropped this far around the start pose."""


class BagQueries:
    """Opened by `with`; iterated, as often as wanted, gives the queries of the chosen frames in order."""

    def __init__(self, bag, lhmap: LHMap, truth=None, frames: str = "all", inputs: BagInputs | None = None):
        """`truth` is a TUM file of base_link in the map, else ``<bag>.tum``, else the TF in the bag.

        Raises InputError for a bag that the map was built from, for unknown frames and for frames without truth,
        BagError for a bag without what is needed.
        """
        self._map, self._inputs = lhmap, inputs or BagInputs()
        name = in_full(bag).name
        if name in lhmap.metadata.sources:
            raise InputError(
                f"{lhmap.path} was built from {name}: a map that holds the queries' own scans proves "
                "nothing (if this is another run of that name, rename its folder)"
            )
        self._reader = BagReader(bag)
        try:
            self._cameras = BagCameras(self._reader, self._inputs)
            self.numbers = frame_numbers(frames, self._cameras.count())
            joined = lhmap.metadata.frame, self._inputs.base_frame, self._inputs.tf_static
            self._truth = known_poses(self._reader, truth, *joined)
        except BaseException:
            self._reader.close()
            raise

    def __enter__(self) -> BagQueries:
        return self

    def __exit__(self, *_) -> None:
        self._reader.close()

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def left_out(self) -> dict[str, int]:
        """How many messages could not be used so far, by topic and reason."""
        return self._reader.left_out.counts

    def __iter__(self) -> Iterator[Query]:
        return (query for query, _ in self.with_mounting())

    def with_mounting(self) -> Iterator[tuple[Query, np.ndarray]]:
        """The queries, and where the camera of each is on the robot, (4, 4) T_base_camera."""
        wanted = set(self.numbers)
        for number, seen in enumerate(self._cameras):
            if number > self.numbers[-1]:
                return
            if number not in wanted:
                continue
            pose = pose_at(self._truth, seen.stamp_ns)
            if pose is None:
                raise InputError(
                    f"{self._reader.path}: the truth does not cover image {number} at {seen.stamp_ns / 1e9:.3f} s; "
                    "every frame counts, so leave it out by its number if it has to be"
                )
            T_base_camera = seen.camera.T_base_camera
            yield Query(number, seen.image, seen.camera.camera, pose @ T_base_camera, self._crop), T_base_camera

    def _crop(self, T_map_camera: np.ndarray):
        return self._map.crop(T_map_camera[:3, 3], CROP_RADIUS_M)
