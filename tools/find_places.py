#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How often a lost robot finds its place along the mapped path, and how often it believes a wrong one.

    tools/find_places.py MAP BAG [--strangers OTHER]... [--images 8] [--metres 12] [--json FILE]

Of each image of BAG the last good position is as far off as --metres on each axis. Then the same without the places
within ELSEWHERE_M of the true one, as for a robot carried farther than the search reaches; and with images of other
streets. Truths are the .tum files beside the bags.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import print_table
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.importing import truth_path
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.estimate import PosedCamera
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_setup
from lhmap_loc_ros.localization.refine import Refinement, Refiner, RefinerConfig
from lhmap_loc_ros.localization.relocalize import AlongPath, find_place
from lhmap_loc_ros.localization.submap_cache import SUBMAP_RADIUS_M

RIGHT_M = 1.0
"""A place is right below this error."""
ELSEWHERE_M = 8.0
"""Refinements reach the true pose from nearer places."""


class Street:
    """Some images of a bag, each with its true pose, and their camera."""

    def __init__(self, bag: Path, count: int):
        truth, inputs = read_tum(truth_path(bag)), BagInputs()
        with BagReader(bag) as reader:
            setup = read_setup(reader, inputs)
            seen = [(stamp, image) for stamp, image in images(reader, inputs, setup) if truth.covers(stamp)]
        chosen = np.unique(np.linspace(0, len(seen) - 1, count).astype(int))
        self.name, self.camera = str(bag), PosedCamera(setup.camera, setup.T_base_camera)
        self.images = [seen[number][1] for number in chosen]
        self.poses = [truth.at(seen[number][0]) for number in chosen]


class Remembering:
    """A refiner that looks but once at each place of an image."""

    def __init__(self, refiner: Refiner):
        self._refiner, self._known = refiner, {}

    def refine(self, image, camera, submap, T_map_camera) -> Refinement:
        key = id(image), T_map_camera.tobytes()
        if key not in self._known:
            self._known[key] = self._refiner.refine(image, camera, submap, T_map_camera)
        return self._known[key]


class Search:
    """Looks for images along the path of a map, as localizer_node does once it is lost."""

    def __init__(self, lhmap: LHMap, refiner, metres: float):
        self.lhmap, self.refiner, self.metres = lhmap, refiner, metres

    def found(self, image: np.ndarray, camera: PosedCamera, near: np.ndarray, seed: int, without=None):
        """The place believed of a robot last seen around `near` (4, 4), or None; tried are not those by `without`."""
        along, rng = AlongPath(self.lhmap), np.random.default_rng(seed)
        along.around = near[:3, 3] + np.r_[rng.uniform(-self.metres, self.metres, 2), 0.0]
        places = along.candidates(image, camera.camera)
        if without is not None:
            places = [p for p in places if pose_error(p.T_map_base, without)[0] > ELSEWHERE_M]
        radius = SUBMAP_RADIUS_M
        return find_place(places, self.refiner, self.lhmap, image, camera, radius)


def verdict(found, truth: np.ndarray | None) -> str:
    """right, wrong or none; no place is right of an image whose `truth` (4, 4) is on another street."""
    if found is None:
        return "none"
    return "right" if truth is not None and pose_error(found.T_map_base, truth)[0] < RIGHT_M else "wrong"


def count(search: Search, street: Street, strangers: list[Street]) -> dict[str, Counter]:
    """Verdicts of the images of a street in its map, without their places, and of images of other streets."""
    rows = {street.name: Counter(), f"{street.name}, place left out": Counter()}
    for seed, (image, pose) in enumerate(zip(street.images, street.poses, strict=True)):
        rows[street.name][verdict(search.found(image, street.camera, pose, seed), pose)] += 1
        other = search.found(image, street.camera, pose, seed, without=pose)
        rows[f"{street.name}, place left out"][verdict(other, pose)] += 1
    for other in strangers:
        row = rows[f"{other.name} in the map of {street.name}"] = Counter()
        for seed, image in enumerate(other.images):
            near = street.poses[seed % len(street.poses)]
            row[verdict(search.found(image, other.camera, near, seed), None)] += 1
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--strangers", type=Path, action="append", default=[], metavar="OTHER")
    parser.add_argument("--images", type=int, default=8, help="so many of each bag, evenly")
    parser.add_argument("--metres", type=float, default=12.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with LHMap.open(args.map) as lhmap:
        search = Search(lhmap, Remembering(Refiner(RefinerConfig())), args.metres)
        others = [Street(bag, args.images) for bag in args.strangers]
        rows = count(search, Street(args.bag, args.images), others)
    kinds = ("right", "wrong", "none")
    table = [(name, *(str(row[kind]) for kind in kinds)) for name, row in rows.items()]
    print_table("places believed", ("images", *kinds), table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
