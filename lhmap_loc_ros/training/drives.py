# SPDX-License-Identifier: Apache-2.0
"""Settings of the real drives that `lhmap train data` makes shards of, one model a kind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import Field

from ..configuration import Config
from ..datasets.camera_lidar import CameraLidarDrive
from ..localization.inputs import BagInputs

Write = Callable[[Path, int], None]
"""Writes a shard to a path, its images at most so many pixels wide."""


class Source(Config):
    """What all kinds have."""

    name: str = Field(min_length=1, description="name of the shards")
    frames: str = Field("all", description="'all', or the frames that may be learned from: 0-109, every tenth 0-109/10")

    @abstractmethod
    def shards(self) -> dict[str, Write]:
        """Names of the shards, and what writes each to a path."""


class DatasetDrive(Source):
    """A drive with scans and images: the images of odd frames in the map of even ones, and the other way round."""

    queries: list[Literal["odd", "even"]] = Field(
        ["odd", "even"], description="odd: map of even frames, images of odd ones"
    )

    @abstractmethod
    def open(self) -> CameraLidarDrive:
        """The drive; raises BagError if it is missing or damaged."""

    def shards(self) -> dict[str, Write]:
        """One shard for each of `queries`."""
        return {f"{self.name}_{queries}": self._writer(queries) for queries in self.queries}

    def _writer(self, queries: Literal["odd", "even"]) -> Write:
        def write(path: Path, width: int) -> None:
            from .material import drive_shard

            drive_shard(self.open(), path, self.frames, queries, width=width)

        return write


class KittiDrive(DatasetDrive):
    """A sequence in the KITTI odometry layout."""

    kind: Literal["kitti"] = "kitti"
    root: Path
    sequence: str
    deskew: bool | None = Field(None, description="scans are distorted by motion; null: found out")

    def open(self) -> CameraLidarDrive:
        from ..datasets.kitti import Sequence

        return Sequence(self.root, self.sequence, self.deskew)


class KittiRawDrive(DatasetDrive):
    """A drive in the KITTI raw layout, synchronized and rectified."""

    kind: Literal["kitti_raw"]
    root: Path
    drive: str = Field(description="such as 2011_09_26_drive_0005_sync")
    poses: Path | None = Field(None, description="TUM or KITTI file of the Velodyne's poses; null: GPS/IMU")

    def open(self) -> CameraLidarDrive:
        from ..datasets.kitti_raw import RawDrive

        return RawDrive(self.root, self.drive, self.poses)


class Argoverse2Drive(DatasetDrive):
    """A log of the Argoverse 2 Sensor dataset; a frame is a sweep and the images nearest to it in time."""

    kind: Literal["argoverse2"]
    log: Path
    camera: str = "ring_front_center"

    def open(self) -> CameraLidarDrive:
        from ..datasets.argoverse2 import SensorLog

        return SensorLog(self.log, self.camera)


class PairsOfImages(Source):
    """Places seen once, see `datasets.image_pairs`."""

    kind: Literal["image_pairs"]
    root: Path
    places: list[str] = Field(default_factory=list, description="names of the places; none: all but `without`")
    without: list[str] = Field(default_factory=list, description="names of places that are left out")

    def shards(self) -> dict[str, Write]:
        """One shard."""
        return {self.name: self._write}

    def _write(self, path: Path, width: int) -> None:
        from ..datasets.image_pairs import ImagePairs
        from .material import pairs_shard

        pairs = ImagePairs(self.root)
        names = self.places or [name for name in pairs.names if name not in self.without]
        pairs_shard(pairs, names, path, width)


class BagDrive(Source):
    """The images of a bag in a map; a frame is an image."""

    kind: Literal["bag"]
    bag: Path
    map: Path = Field(description="an .lhmap file, best of another run, built with budget_mb_per_km: null")
    truth: Path | None = Field(None, description="TUM file of the poses of base_link in the map; null: BAG.tum")
    spacing_m: float = Field(0.5, ge=0, description="one image is taken every so many metres, or 5 degrees")
    points_topic: str = Field("/points", description="scans tell what the images show, if the bag has this topic")
    inputs: BagInputs = BagInputs()

    def shards(self) -> dict[str, Write]:
        """One shard."""
        return {self.name: self._write}

    def _write(self, path: Path, width: int) -> None:
        from .bag_material import bag_shard

        where = (self.truth, self.frames, self.spacing_m, self.inputs, self.points_topic)
        bag_shard(self.bag, self.map, path, *where, width=width)


AnyDrive = Annotated[
    Union[KittiDrive, KittiRawDrive, Argoverse2Drive, PairsOfImages, BagDrive],  # noqa: UP007
    Field(discriminator="kind"),
]
