#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the poses that each backend and precision leads to with those of PyTorch in single precision.

    tools/parity.py MAP BAG [--truth TUM] [--frames 40] [--whole 40] [--threads 2] [--json FILE]

One iteration: a single refinement at 1/4 from the true pose, where all get the same input. Whole: every iteration of a
first image, from 1 m and 3 degrees beside the truth; there the least difference moves points to other pixels of the
next iteration's picture, so one row tells what a start 1 micrometre further on does to PyTorch itself.
What is not available on this machine is listed with the reason.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import print_table
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.importing import truth_path
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.errors import LhmapError
from lhmap_loc_ros.geometry import perturb, pose_error
from lhmap_loc_ros.inference import Backend, Precision
from lhmap_loc_ros.inference.choice import PRECISIONS
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_setup
from lhmap_loc_ros.localization.refine import RefineMode, Refiner, RefinerConfig
from lhmap_loc_ros.localization.refine_plan import Geometry, RefinePlan
from lhmap_loc_ros.localization.start import near_truth

RADIUS_M, MOVED_M = 60.0, 1e-6
REFERENCE = (Backend.TORCH, Precision.FP32)
CHOICES = [
    (b, p) for b in Backend for p in PRECISIONS[b] if b is not Backend.AUTO and p is not Precision.AUTO
    and (b, p) != REFERENCE
]  # fmt: skip


class Frames:
    """Some images of a bag, each with a piece of map and the pose to start from."""

    def __init__(self, bag: Path, lhmap: LHMap, truth: Path, count: int, whole: int):
        """`count` images, of which `whole` are refined by all iterations."""
        poses, inputs = read_tum(truth), BagInputs()
        with BagReader(bag) as reader:
            setup = read_setup(reader, inputs)
            seen = [(stamp, image) for stamp, image in images(reader, inputs, setup) if poses.covers(stamp)]
        self.camera = setup.camera
        self.cases, self.truth = [], []
        for number in np.unique(np.linspace(0, len(seen) - 1, count).astype(int)):
            stamp, image = seen[number]
            start = near_truth(poses, stamp, seed=int(number)).T_map_base @ setup.T_base_camera
            self.cases.append((image, lhmap.crop(start[:3, 3], RADIUS_M), start))
            self.truth.append(poses.at(stamp) @ setup.T_base_camera)
        self.some = np.unique(np.linspace(0, len(self.cases) - 1, min(whole, len(self.cases))).astype(int))

    def whole(self, refiner: Refiner, moved_m: float = 0.0) -> list[np.ndarray]:
        """The poses (4, 4) of `some` that all iterations lead to, the start moved so far."""
        cases = [self.cases[number] for number in self.some]
        starts = [perturb(start, (moved_m, 0.0, 0.0), (0.0, 0.0, 0.0)) for _, _, start in cases]
        return self._refined(refiner, cases, starts, RefineMode.WIDE)

    def one_iteration(self, refiner: Refiner) -> list[np.ndarray]:
        """The poses after a single iteration at 1/4 from the true ones."""
        return self._refined(refiner, self.cases, self.truth, RefineMode.TRACK)

    def _refined(self, refiner: Refiner, cases: list, starts: list[np.ndarray], kind: RefineMode) -> list[np.ndarray]:
        each = zip(cases, starts, strict=True)
        return [refiner.refine(i, self.camera, crop, pose, kind).T_map_camera for (i, crop, _), pose in each]


def differences(poses: list[np.ndarray], others: list[np.ndarray]) -> dict[str, float]:
    """Median and largest distance [mm] and angle [deg] between poses."""
    metres, degrees = np.transpose([pose_error(a, b) for a, b in zip(poses, others, strict=True)])
    return {
        "median_mm": 1e3 * float(np.median(metres)), "largest_mm": 1e3 * float(metres.max()),
        "median_deg": float(np.median(degrees)), "largest_deg": float(degrees.max()),
    }  # fmt: skip


def compare(frames: Frames, threads: int) -> dict:
    """A row for each choice, the reference first, and why others could not be had."""

    def refiner_of(backend: Backend, precision: Precision, geometry: Geometry = Geometry.AUTO) -> Refiner:
        config = RefinerConfig(backend=backend, precision=precision, threads=threads, max_iterations=1)
        return Refiner(config, plan=RefinePlan(geometry=geometry))

    reference = refiner_of(*REFERENCE, Geometry.CPU)
    whole = frames.whole(reference)
    one = frames.one_iteration(reference)
    name = f"{REFERENCE[0].value} {REFERENCE[1].value}"
    rows, missing = [_row(frames, name, reference, one, one, whole, whole)], {}
    moved = frames.whole(reference, MOVED_M)
    rows.append(_row(frames, f"{name}, moved", reference, one, one, moved, whole))
    refiner = refiner_of(*REFERENCE, Geometry.DEVICE)
    rows.append(
        _row(frames, f"{name}, geometry too", refiner, frames.one_iteration(refiner), one, frames.whole(refiner), whole)
    )
    for backend, precision in CHOICES:
        name = f"{backend.value} {precision.value}"
        try:
            refiner = refiner_of(backend, precision)
        except LhmapError as error:
            missing[name] = str(error)
            continue
        rows.append(_row(frames, name, refiner, frames.one_iteration(refiner), one, frames.whole(refiner), whole))
    return {"frames": len(frames.cases), "whole_frames": len(frames.some), "rows": rows, "missing": missing}


def _row(frames: Frames, name: str, refiner: Refiner, one: list, one_expected: list, whole: list, expected: list):
    return {
        "choice": name,
        "used": refiner.networks[0].backend,
        "one_iteration": differences(one, one_expected),
        "whole": differences(whole, expected),
        "truth": differences(whole, [frames.truth[number] for number in frames.some]),
    }


def show(result: dict) -> None:
    """Prints the table; each cell is median / largest."""

    def both(figures: dict) -> list[str]:
        return [f"{figures[f'median_{unit}']:.2g} / {figures[f'largest_{unit}']:.2g}" for unit in ("mm", "deg")]

    header = ["", "one iteration [mm]", "[deg]", "whole [mm]", "[deg]", "to the truth [mm]"]
    rows = [
        [row["choice"], *both(row["one_iteration"]), *both(row["whole"]), f"{row['truth']['median_mm']:.0f}"]
        for row in result["rows"]
    ]
    counts = f"{result['frames']} frames, {result['whole_frames']} of them whole"
    print_table(f"{counts}, poses against PyTorch fp32: median / largest", header, rows)
    for choice, reason in result["missing"].items():
        print(f"{choice}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("--truth", type=Path, help="TUM file of the true poses of base_link (default: BAG.tum)")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--whole", type=int, default=40)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    try:
        with LHMap.open(args.map) as lhmap:
            truth = args.truth or truth_path(args.bag)
            result = compare(Frames(args.bag, lhmap, truth, args.frames, args.whole), args.threads)
    except LhmapError as error:
        sys.exit(f"error: {error}")
    show(result)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
