#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds a map of a bag with LiDAR scans and the vehicle's poses (TF or odometry).

examples/build_a_map.py street/mapping campus.lhmap
"""

import sys

from lhmap_loc_ros import BuildConfig, build_map


def main(bag, out):
    # all settings: docs/map-format.md
    config = BuildConfig(points_topic="/points", budget_mb_per_km=3.0)
    with build_map(bag, out, config, report=progress) as lhmap:
        print(f"\n{out}: {lhmap.metadata.points} points along {lhmap.metadata.path_length_m:.1f} m")


def progress(stage, done, total):
    print(f"\r{stage}: {done} of {total}    ", end="", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
