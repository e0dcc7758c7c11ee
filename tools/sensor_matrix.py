#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Localizes single images of simulated robots: cameras by LiDARs, each pair on a robot, by day and some by night.

    tools/sensor_matrix.py WORK [--level 1] [--only CAMERA] [--write]

WORK keeps bags, maps and results; what is there is not made again. Every pair has a world of its own, which trained
nothing. --write puts the table into docs/accuracy.md.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accuracy import NO_GREY, PAGE, Bench, cell
from marked_part import with_part

from lhmap_loc_ros.datasets.synthetic.robots import ROBOTS

CAMERAS = ("kitti", "realsense", "realsense-vga", "action", "phone")
LIDARS = ("16", "32", "128", "solid-state")
ROAD_M, FOOTPATH_M = 80.0, 20.0
"""Length of a run [m] on either: shorter where robots are slow, which take five times as many images a metre."""
FIRST_SEED = 9600
NIGHT_LIDAR = "32"
"""With this one each camera sees a night as well."""
FRAMES = 16
"""Images of each query run, evenly spread."""


@dataclass(frozen=True)
class Pair:
    """A robot with a camera in a map of a LiDAR."""

    camera: str
    lidar: str
    robot: str
    light: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.camera}.{self.lidar}.{self.robot}.{self.light}"


def pairs() -> Iterator[Pair]:
    """All of them; robots take turns, so that each carries every camera and every LiDAR."""
    for row, camera in enumerate(CAMERAS):
        for column, lidar in enumerate(LIDARS):
            robot, seed = tuple(ROBOTS)[(row + column) % len(ROBOTS)], FIRST_SEED + row * len(LIDARS) + column
            yield Pair(camera, lidar, robot, "day", seed)
            if lidar == NIGHT_LIDAR:
                yield Pair(camera, lidar, robot, "night", seed)


def made(bench: Bench, pair: Pair) -> dict:
    """The map and the query run of a pair."""
    robot = ROBOTS[pair.robot]
    speed, length = sum(robot.speed) / 2, ROAD_M if robot.on_road else FOOTPATH_M
    sensors = ("--camera", pair.camera, "--lidar", pair.lidar, "--robot", pair.robot, "--light", pair.light)
    world = bench.make(pair.name, "simulate", pair.name, "--seed", pair.seed, "--length", length, *sensors)
    path = f"{pair.name}.lhmap"
    built = bench.make(path, "build", f"{world}/mapping", "-o", path, "--work", f"{pair.name}.work", "--no-places")
    return {"map": built, "bag": f"{world}/query", "frames": f"0-99999/{max(1, round(10 * length / speed / FRAMES))}"}


def table(found: dict[Pair, dict]) -> str:
    """Cameras by LiDARs: medians, the share within 0.5 m and 5 degrees, and how honest the covariance is."""
    head = ["camera", "light", *(f"LiDAR {lidar}" for lidar in LIDARS), "errors within 1, 2, 3 sigma"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for camera, light in dict.fromkeys((pair.camera, pair.light) for pair in found):
        row = {pair.lidar: (pair.robot, f) for pair, f in found.items() if (pair.camera, pair.light) == (camera, light)}
        cells = [f"{cell(row[lidar][1])} ({row[lidar][0]})" if lidar in row else "" for lidar in LIDARS]
        lines.append(f"| {' | '.join([camera, light, *cells, within([f for _, f in row.values()])])} |")
    figures = list(found.values())
    images = np.array([f["frames"] for f in figures])
    sure = 100 * np.average([f["wrong_and_sure"] for f in figures], weights=images)
    return "\n".join([*lines, "", f"{images.sum()} images; {sure:.1f} % wrong and sure; within {within(figures)}."])


def within(figures: list[dict]) -> str:
    """Shares of the errors of all axes within so many reported standard deviations."""
    images = [f["frames"] for f in figures]
    shares = [np.average([np.mean(f["within_sigmas"][k]) for f in figures], weights=images) for k in "123"]
    return ", ".join(f"{100 * share:.0f}" for share in shares) + " %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--only", choices=CAMERAS, help="one camera")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    words = parser.parse_args()
    words.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(words.work.resolve())
    asked = [pair for pair in pairs() if words.only in (None, pair.camera)]
    cases = [(made(bench, pair), words.level, NO_GREY) for pair in asked]
    text = table(dict(zip(asked, bench.evaluate(cases), strict=True)))
    print(text)
    if words.write:
        PAGE.write_text(with_part(PAGE, "sensor matrix", text))


if __name__ == "__main__":
    main()
