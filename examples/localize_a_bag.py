#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Localizes the images of a bag in a map: from a start pose that may be a metre wrong, or from anywhere.

examples/localize_a_bag.py campus.lhmap street/query [X Y Z YAW_DEG]
"""

import sys

from lhmap_loc_ros import Localizer
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.localization.image_sets import BagCameras
from lhmap_loc_ros.localization.inputs import BagInputs, read_odometry
from lhmap_loc_ros.localization.offline import SensorFeed
from lhmap_loc_ros.localization.start import given


def main(map_path, bag, *start):
    inputs = BagInputs()  # names of topics and frames; these are the usual ones
    with BagReader(bag) as reader, Localizer(map_path) as localizer:
        # 1. the camera, as CameraInfo and /tf_static have it; odometry and GPS fixes, if there are any
        cameras = BagCameras(reader, inputs)
        sensors = SensorFeed(read_odometry(reader, inputs), localizer, reader.fixes())
        # 2. where the robot is at the first image, about
        if start:
            localizer.start(given([float(value) for value in start]).T_map_base)
        # 3. image by image
        for seen in cameras:
            stamp_ns, image, camera = seen.stamp_ns, seen.image, seen.camera
            sensors.until(stamp_ns)
            if not localizer.started:
                place = localizer.locate(image, camera, stamp_ns)
                if place is None:
                    continue
                localizer.start(place.T_map_base, place.covariance)
            estimate = localizer.localize(image, camera, stamp_ns)
            x, y, z = estimate.T_map_base[:3, 3]
            print(f"{stamp_ns} {estimate.state.value:12} x {x:.2f} y {y:.2f} z {z:.2f} m")


if __name__ == "__main__":
    main(*sys.argv[1:])
