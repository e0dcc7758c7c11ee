# SPDX-License-Identifier: Apache-2.0
"""The cameras of a bag: images of one stamp come together, each set with the rig that saw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ..datasets.bag import BagReader
from ..geometry import Images, joined, joined_images
from .estimate import PosedCamera
from .inputs import BagInputs, CameraSetup, images_of_all, read_setup
from .stamp_sets import StampSet, StampSets


@dataclass(frozen=True)
class ImageSet:
    """What was seen at one moment, as `Tracker.process_image` takes it."""

    stamp_ns: int
    image: Images
    """Undistorted (H, W, 3) uint8 RGB; of a rig one of each of its cameras."""
    camera: PosedCamera


def mounted(setups: Sequence[CameraSetup]) -> PosedCamera:
    """Some cameras of a robot as one; a single one of an ordinary lens stays a camera."""
    return PosedCamera(*joined([(setup.rig, setup.T_base_camera) for setup in setups]))


class BagCameras:
    """The cameras that the inputs name; raises BagError as `read_setup` does."""

    def __init__(self, reader: BagReader, inputs: BagInputs):
        self._reader, self._inputs = reader, inputs.cameras
        self.setups = tuple(read_setup(reader, camera, number > 0) for number, camera in enumerate(self._inputs))
        """Of each camera."""
        # most sets are of the same cameras
        self._mounted = cache(lambda numbers: mounted([self.setups[k] for k in numbers]))

    def __len__(self) -> int:
        """About how many sets there are: as many as the camera has images that has most."""
        return max(self._reader.count(camera.image) for camera in self._inputs)

    def count(self) -> int:
        """How many sets there are, also where images of several cameras come alone; reads the bag for it.

        Images that are of no use, as those of a false stamp, count as well.
        """
        topics = [camera.image for camera in self._inputs]
        if len(topics) == 1:
            return len(self)
        stamps = [(ns, topic) for topic in topics for ns in self._reader.first_stamps(topic, None)]
        sets: StampSets[None] = StampSets(topics)
        return sum(len(sets.put(topic, ns, None)) for ns, topic in sorted(stamps)) + len(sets.flush())

    def __iter__(self) -> Iterator[ImageSet]:
        """In order of their stamps; a camera that is missing at a moment does not hold up the others."""
        numbers = {camera.image: k for k, camera in enumerate(self._inputs)}
        sets: StampSets[Images] = StampSets(list(numbers))
        undistort = [setup.rectifier.views for setup in self.setups]
        for k, stamp_ns, image in images_of_all(self._reader, self._inputs, undistort):
            topic, late = self._inputs[k].image, sets.late
            for found in sets.put(topic, stamp_ns, image):
                yield self._image_set(found, numbers)
            if sets.late > late:
                self._reader.left_out.add(topic, "comes after a later image of another camera", stamp_ns)
        for found in sets.flush():
            yield self._image_set(found, numbers)

    def _image_set(self, found: StampSet[Images], numbers: dict[str, int]) -> ImageSet:
        camera = self._mounted(tuple(numbers[topic] for topic in found.items))
        return ImageSet(found.stamp_ns, joined_images(list(found.items.values())), camera)
