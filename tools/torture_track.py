#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tracks bags with random faults, and counts poses that are wrong and sure of themselves while TRACKING.

    tools/torture_track.py MAP BAG TRUTH [--runs 20] [--seed 0] [--json FILE]

Each run draws its faults: stretches of images that are missing, black, overexposed, blurred, half covered, or of
another part of the drive (kidnapped); odometry that is silent, jumps or slips. A pose is wrong and sure if it is more
than 3 m off while three of its standard deviations are less than that error.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.geometry import make_pose, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.estimate import PosedCamera, PoseEstimate
from lhmap_loc_ros.localization.inputs import BagInputs, images, read_odometry, read_setup
from lhmap_loc_ros.localization.localizer import Localizer
from lhmap_loc_ros.localization.manifold import max_std
from lhmap_loc_ros.localization.refine import Refiner, RefinerConfig
from lhmap_loc_ros.localization.start import near_truth

WRONG_M = 3.0
IMAGE_FAULTS = ("missing", "black", "overexposed", "blurred", "half covered", "kidnapped")
ODOMETRY_FAULTS = ("silent", "jump", "slip")


@dataclass(frozen=True)
class Fault:
    """Something is wrong for a while."""

    kind: str
    first: int
    last: int
    strength: float

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


def draw_faults(count: int, rng) -> list[Fault]:
    """Three to six faults in a run of so many images, the first ten of which are left in peace."""
    faults = []
    for _ in range(rng.integers(3, 7)):
        kind = rng.choice(IMAGE_FAULTS + ODOMETRY_FAULTS)
        first = int(rng.integers(10, count))
        faults.append(Fault(str(kind), first, first + int(rng.integers(3, 40)), float(rng.uniform(0.2, 1))))
    return sorted(faults, key=lambda fault: fault.first)


def disturbed(number: int, frames: list, faults: list[Fault]) -> np.ndarray | None:
    """The image that the tracker gets; None for none."""
    image = frames[number][1]
    for fault in faults:
        if number not in fault:
            continue
        if fault.kind == "missing":
            return None
        if fault.kind == "black":
            image = np.zeros_like(image)
        elif fault.kind == "overexposed":
            image = np.clip(image * (1 + 6.0 * fault.strength), 0, 255).astype(np.uint8)
        elif fault.kind == "blurred":
            image = cv2.GaussianBlur(image, (0, 0), 8 * fault.strength)
        elif fault.kind == "half covered":
            image = image.copy()
            image[:, : image.shape[1] // 2] = 30
        elif fault.kind == "kidnapped":
            # at least some 20 m away
            image = frames[(number + len(frames) // 3) % len(frames)][1]
    return image


class FaultyOdometry:
    """Odometry with faults: what it is wrong by stays in its frame, wherever the robot turns to later."""

    def __init__(self, faults: list[Fault]):
        self._faults = faults
        self._error = np.zeros(3)

    def at(self, number: int, pose: np.ndarray) -> np.ndarray | None:
        """What it says at an image where `pose` (4, 4) is right; None for nothing."""
        for fault in self._faults:
            if fault.kind == "jump" and number == fault.first:
                self._error += 10 * fault.strength * pose[:3, 0]
            if fault.kind == "slip" and number in fault:
                self._error += 0.1 * fault.strength * pose[:3, 0]
        if any(fault.kind == "silent" and number in fault for fault in self._faults):
            return None
        return make_pose(pose[:3, :3], pose[:3, 3] + self._error)


@dataclass(frozen=True)
class Drive:
    """A bag, its truth and its map, ready to be driven again and again."""

    frames: list
    """Stamps [ns] and undistorted images."""
    odometry: Trajectory | None
    truth: Trajectory
    lhmap: LHMap
    refiner: Refiner
    camera: PosedCamera

    @classmethod
    def load(cls, bag: Path, lhmap: LHMap, truth: Trajectory) -> "Drive":
        """All images of a bag whose true pose is known."""
        inputs = BagInputs()
        with BagReader(bag) as reader:
            setup, odometry = read_setup(reader, inputs), read_odometry(reader, inputs)
            frames = [(stamp, image) for stamp, image in images(reader, inputs, setup) if truth.covers(stamp)]
        camera = PosedCamera(setup.camera, setup.T_base_camera)
        return cls(frames, odometry, truth, lhmap, Refiner(RefinerConfig()), camera)

    def track(self, faults: list[Fault], seed: int) -> Iterator[tuple[int, PoseEstimate, float]]:
        """Number of the image, result, and position error [m], of every image that came."""
        faulty, localizer = FaultyOdometry(faults), Localizer(self.lhmap, refiner=self.refiner)
        start = near_truth(self.truth, self.frames[0][0], seed)
        localizer.start(start.T_map_base, start.covariance, self.frames[0][0])
        for number, (stamp_ns, _) in enumerate(self.frames):
            if self.odometry is not None:
                pose = faulty.at(number, self.odometry.at(stamp_ns))
                if pose is not None:
                    localizer.add_odometry(stamp_ns, pose)
            image = disturbed(number, self.frames, faults)
            if image is None:
                continue
            result = localizer.localize(image, self.camera, stamp_ns)
            yield number, result, pose_error(result.T_map_base, self.truth.at(stamp_ns))[0]


def run(drive: Drive, seed: int) -> dict:
    """One drive with faults."""
    faults = draw_faults(len(drive.frames), np.random.default_rng(seed))
    states, wrong, errors = Counter(), 0, []
    for _, result, metres in drive.track(faults, seed):
        states[result.state.value] += 1
        if result.state.value == "TRACKING":
            errors.append(metres)
            wrong += metres > WRONG_M and 3 * max_std(result.covariance)[0] < metres
    return {
        "seed": seed, "faults": [f"{f.kind} {f.first}-{f.last}" for f in faults], "states": dict(states),
        "wrong_and_sure": int(wrong), "worst_tracking_m": round(max(errors, default=0.0), 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", type=Path)
    parser.add_argument("bag", type=Path)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with LHMap.open(args.map) as lhmap:
        drive = Drive.load(args.bag, lhmap, read_tum(args.truth))
        for seed in range(args.seed, args.seed + args.runs):
            rows.append(run(drive, seed))
            print(rows[-1], flush=True)
    total = sum(row["wrong_and_sure"] for row in rows)
    print(f"{len(rows)} runs: {total} poses wrong and sure while TRACKING")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
