#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads a map: what it says of itself, and the points around a place.

examples/read_a_map.py campus.lhmap
"""

import sys

from lhmap_loc_ros import LHMap


def main(path):
    with LHMap.open(path) as lhmap:
        about = lhmap.metadata
        print(f"{about.points} points in frame {about.frame!r}, made of {', '.join(about.sources) or 'no bag'}")
        # the middle of the map; only the tiles around it are read
        low, high = about.bounds
        middle = [(a + b) / 2 for a, b in zip(low, high)]
        around = lhmap.crop(middle, radius=20.0)
        # small coordinates in float32 around an origin in float64: maps in UTM keep their precision
        positions = around.points + around.origin
        print(f"{len(positions)} points within 20 m of {[round(value, 1) for value in middle]}")
        hottest = around.heat.argmax()
        print(f"a camera matches best: {positions[hottest].round(2).tolist()}, heat {around.heat[hottest]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
