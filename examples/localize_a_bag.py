#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Localizes the images of a bag in a map: from a start pose that may be a metre wrong, or from anywhere.

examples/localize_a_bag.py campus.lhmap street/query [X Y Z YAW_DEG]
"""

import sys

from lhmap_loc_ros import Localizer, PosedCamera
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_odometry, read_setup
from lhmap_loc_ros.localization.offline import SensorFeed
from lhmap_loc_ros.localization.start import given


def main(map_path, bag, *start):
    inputs = BagInputs()  # names of topics and frames; these are the usual ones
    with BagReader(bag) as reader, Localizer(map_path) as localizer:
        # 1. the camera, as CameraInfo and /tf_static have it, and the odometry, if there is any
        setup = read_setup(reader, inputs)
        camera = PosedCamera(setup.camera, setup.T_base_camera)
        odometry = SensorFeed(read_odometry(reader, inputs), localizer)
        # 2. where the robot is at the first image, about
        if start:
            localizer.start(given([float(value) for value in start]).T_map_base)
        # 3. image by image
        for stamp_ns, image in images(reader, inputs, setup):
            odometry.until(stamp_ns)
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
