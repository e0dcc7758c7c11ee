#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What geometric constraints are worth where the places of few cells are known.

    tools/few_coordinates.py MAPPING_BAG QUERY_BAG --map MAP --work DIR [--share 0.01] [--steps 500] [--spacing 0.5]

Learns by `constraints` from a share of the coordinates, with the relative poses of images and without, and by
`coordinates` from as many; prints the errors on the images of QUERY_BAG. Truths are the .tum files beside the bags.
"""

import argparse
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import ProgressBars, print_table
from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.scenes.heads import Heads
from lhmap_loc_ros.training.scene import Amount, learn
from lhmap_loc_ros.training.scene_material import SceneMaterial, gather

CASES = {
    "constraints, with relative poses": ("constraints", True),
    "constraints, without": ("constraints", False),
    "coordinates": ("coordinates", True),
}


def errors(learned, material: SceneMaterial, origin: np.ndarray) -> np.ndarray:
    """Distances [m] and angles [deg] (N, 2) of the poses that the nearest stretch's head gives; infinite where none."""
    heads, out = Heads(learned), []
    seen = np.ones(material.features.shape[1], bool)
    for features, truth in zip(material.features, material.T_map_camera, strict=True):
        look = heads.look(features.astype(np.float32))
        apart = np.linalg.norm(learned.images.codes - look.code, axis=1)
        found = heads.pose(int(learned.images.head[np.argmin(apart)]), look, seen)
        if found is None:
            out.append((np.inf, np.inf))
            continue
        found.T_map_camera[:3, 3] += origin
        out.append(pose_error(found.T_map_camera, truth))
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mapping_bag", type=Path)
    parser.add_argument("query_bag", type=Path)
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--spacing", type=float, default=0.5)
    given = parser.parse_args()
    rows = []
    with LHMap.open(given.map) as lhmap, ProgressBars() as report:
        mapping, query = (
            gather(bag, lhmap, given.work / name, spacing_m=given.spacing, report=report)
            for bag, name in ((given.mapping_bag, "mapping"), (given.query_bag, "query"))
        )
        for name, (method, relations) in CASES.items():
            amount = Amount(given.steps, given.share, relations)
            learned = learn(mapping, method, lhmap, given.work, report, amount)
            metres, degrees = errors(learned, query, np.array(lhmap.metadata.origin)).T
            rows.append((name, f"{np.median(metres):.2f} m", f"{np.median(degrees):.1f} deg",
                         f"{100 * np.mean((metres < 5) & (degrees < 10)):.0f} %"))  # fmt: skip
    title = f"{100 * given.share:g} % of the coordinates, {given.steps} steps, {len(query.features)} images"
    print_table(title, ["", "median", "", "within 5 m, 10 deg"], rows)


if __name__ == "__main__":
    main()
