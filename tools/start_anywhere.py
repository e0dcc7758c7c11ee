#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts localizer_node without a pose, over DDS, and carries it off mid-run; one simulated world a seed.

    tools/start_anywhere.py WORK [--seeds 9601-9610] [--length 300] [--seconds 20] [--no-odometry]
                            [--json FILE] [--only-prepare]

The node hears the last seconds of a drive, then, with the odometry unmoved, its first ones, as if somebody had
carried the robot to another street. Told for each leg: seconds until the node is TRACKING within 0.5 m and 5 degrees
of the truth, how long it was TRACKING anywhere else by more than 1 m, and its largest error while TRACKING after it
found its place. Bags and maps in the folder WORK are used again.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lhmap_loc_ros.console import ProgressBars, print_table
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.frames import frame_numbers
from lhmap_loc_ros.datasets.messages import Odometry
from lhmap_loc_ros.datasets.synthetic.runs import Settings
from lhmap_loc_ros.datasets.synthetic.sensors import CAMERAS
from lhmap_loc_ros.datasets.synthetic.simulate import simulate
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_tum, write_tum
from lhmap_loc_ros.geometry import inverse, pose_error
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.live import make_plan, play_to_node, read
from lhmap_loc_ros.localization.inputs import DEFAULT_ODOMETRY, BagInputs, read_setup
from lhmap_loc_ros.localization.offline import LocalizeConfig
from lhmap_loc_ros.localization.record import RunRecord
from lhmap_loc_ros.mapping.builder import build_map

RIGHT = 0.5, 5.0
"""Found, if TRACKING within these of the truth [m, deg]."""
WRONG_M = 1.0
SECOND_NS = 10**9
CARRIED_NS = 2 * SECOND_NS
"""How long the robot sees nothing while it is carried."""


@dataclass
class Leg:
    """What the node said from where it was put down on."""

    seed: int
    carried: bool
    found_s: float | None
    """Until it was TRACKING at the right place; None: it never was."""
    wrong_s: float
    """How long it was TRACKING elsewhere, from when it was put down on."""
    believed_wrong: int
    """How many wrong places it was TRACKING at after it had been LOST, or before it had been anywhere."""
    largest_m: float | None
    """Its largest error while TRACKING, once found."""


def prepare(work: Path, seed: int, length: float, span_ns: int, report) -> tuple[Path, Path]:
    """The map, and the bag of both legs with its truth beside it."""
    drive, lhmap, bag = work / f"drive_{seed}", work / f"{seed}.lhmap", work / f"carried_{seed}"
    if not drive.exists():
        camera = CAMERAS["default"].model_copy(update={"rate": 5.0})
        simulate(drive, seed, length, report, Settings(camera=camera))
    if not lhmap.exists():
        build_map(drive / "mapping", lhmap, report=report).close()
    if not bag.exists():
        carry(drive / "query", read_tum(drive / "query.tum"), bag, span_ns)
    return lhmap, bag


def carry(drive: Path, truth: Trajectory, bag: Path, span_ns: int) -> None:
    """Writes the last `span_ns` of a drive and then the first, with stamps and odometry that go on."""
    inputs = BagInputs()
    begin, end = int(truth.stamps_ns[0]), int(truth.stamps_ns[-1])
    parts = (end - span_ns, end), (begin, begin + span_ns)
    poses, stamps, reached, told = [], [], begin, np.eye(4)
    with BagReader(drive) as reader, BagWriter(bag) as out:
        setup, info = read_setup(reader, inputs), reader.camera_info(inputs.camera_info).calibration
        out.tf_static(begin, {(inputs.base_frame, setup.frame): setup.T_base_camera})
        for first, last in parts:
            shift, before = reached - first, None
            for message in reader.messages([inputs.image, DEFAULT_ODOMETRY], first, last):
                stamp = message.stamp_ns + shift
                if isinstance(message, Odometry):
                    if before is not None:
                        told = told @ inverse(before) @ message.pose
                    before = message.pose
                    out.odometry(DEFAULT_ODOMETRY, stamp, message.frame, message.child, told)
                else:
                    size = info.width, info.height
                    out.camera_info(inputs.camera_info, stamp, setup.frame, *size, info.matrix, info.distortion)
                    out.image(inputs.image, stamp, setup.frame, message.image)
                    poses.append(truth.at(message.stamp_ns))
                    stamps.append(stamp)
            reached = last + shift + CARRIED_NS
    write_tum(bag.with_suffix(".tum"), Trajectory(np.array(stamps), np.array(poses)))


def play(lhmap: Path, bag: Path, seed: int, span_ns: int, logs: Path, report, inputs: BagInputs) -> list[Leg]:
    """Plays the bag to a node that is told nothing."""
    config = LocalizeConfig(inputs=inputs)
    with LHMap.open(lhmap) as opened:
        frame = opened.metadata.frame
    logs.mkdir(parents=True, exist_ok=True)
    recording = play_to_node(bag, lhmap, make_plan(bag, config.inputs), None, frame, config, logs, report)
    record, truth = read(recording)[0], read_tum(bag.with_suffix(".tum"))
    begin, carried = int(truth.stamps_ns[0]), int(truth.stamps_ns[0]) + span_ns + CARRIED_NS
    return [leg_of(record, truth, seed, False, begin, span_ns), leg_of(record, truth, seed, True, carried, span_ns)]


def leg_of(record: RunRecord, truth: Trajectory, seed: int, carried: bool, begin_ns: int, span_ns: int) -> Leg:
    """What a record says of the leg that begins at a stamp."""
    found_s, wrong_s, believed_wrong, largest, tracked_elsewhere = None, 0.0, 0, None, carried
    chosen = record.select((record.stamps_ns >= begin_ns) & (record.stamps_ns <= begin_ns + span_ns))
    for k, stamp in enumerate(chosen.stamps_ns):
        if chosen.states[k] != "TRACKING":
            tracked_elsewhere = False
            continue
        metres, degrees = pose_error(chosen.poses[k], truth.at(int(stamp)))
        if found_s is None and metres <= RIGHT[0] and degrees <= RIGHT[1]:
            found_s = (stamp - begin_ns) / SECOND_NS
        if metres > WRONG_M:
            after = chosen.stamps_ns[min(k + 1, len(chosen) - 1)]
            wrong_s += (after - stamp) / SECOND_NS
            believed_wrong += not tracked_elsewhere
            tracked_elsewhere = True
        else:
            tracked_elsewhere = False
        if found_s is not None:
            largest = max(largest or 0.0, metres)
    return Leg(seed, carried, found_s, wrong_s, believed_wrong, largest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", default="9601-9610")
    parser.add_argument("--length", type=float, default=300.0, help="of each drive [m]")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each leg")
    parser.add_argument("--no-odometry", action="store_true", help="play the images alone")
    parser.add_argument("--only-prepare", action="store_true", help="make bags and maps, play nothing")
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    legs: list[Leg] = []
    span_ns, inputs = round(a.seconds * SECOND_NS), BagInputs(odometry="" if a.no_odometry else None)
    with ProgressBars() as report:
        for seed in frame_numbers(a.seeds, 1 << 31):
            lhmap, bag = prepare(a.work, seed, a.length, span_ns, report)
            if not a.only_prepare:
                legs += play(lhmap, bag, seed, span_ns, a.work / f"logs_{seed}", report, inputs)
    rows = [
        (
            str(leg.seed), "carried" if leg.carried else "started",
            "-" if leg.found_s is None else f"{leg.found_s:.1f} s", f"{leg.wrong_s:.1f} s", str(leg.believed_wrong),
            "" if leg.largest_m is None else f"{leg.largest_m:.2f} m",
        )
        for leg in legs
    ]  # fmt: skip
    print_table(
        "", ("seed", "leg", "found after", "wrong and TRACKING", "wrong places believed", "largest error"), rows
    )
    if a.json:
        a.json.write_text(json.dumps([asdict(leg) for leg in legs], indent=1))


if __name__ == "__main__":
    main()
