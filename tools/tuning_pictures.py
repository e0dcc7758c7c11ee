#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures of docs/tuning.md: a calibration right and wrong, maps of two budgets, a track under faults.

    tools/tuning_pictures.py WORK [--out docs/images]

Simulates and maps a street in the folder WORK; what is there is used again.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from torture_track import Drive, Fault

from lhmap_loc_ros.console import ProgressBars
from lhmap_loc_ros.datasets.synthetic.simulate import simulate
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.evaluation.figures import STATE_COLORS
from lhmap_loc_ros.evaluation.overlay import draw_overlay
from lhmap_loc_ros.geometry import perturb
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization.manifold import max_std
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.mapping.config import BuildConfig

SEED, LENGTH_M, FRAME = 11, 180.0, 60
BUDGETS = (2.0, 0.25)
FAULTS = [Fault("black", 40, 52, 1.0), Fault("jump", 85, 85, 0.5), Fault("kidnapped", 120, 160, 1.0)]


def street(work: Path) -> tuple[Path, list[Path]]:
    """The bag of images and the maps."""
    with ProgressBars() as report:
        if not (work / "street").exists():
            work.mkdir(parents=True, exist_ok=True)
            simulate(work / "street", SEED, LENGTH_M, report)
        maps = [work / f"{budget:g}.lhmap" for budget in BUDGETS]
        for path, budget in zip(maps, BUDGETS, strict=True):
            if not path.exists():
                config = BuildConfig().model_copy(update={"budget_mb_per_km": budget})
                build_map(work / "street" / "mapping", path, config, report, work=work / "build").close()
    return work / "street" / "query", maps


def stacked(pictures: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures (H, W, 3) RGB, one below the other, each with its name."""
    rows = []
    for name, picture in pictures.items():
        picture = np.ascontiguousarray(cv2.resize(picture, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC))
        (width, height), _ = cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.55, 1)
        cv2.rectangle(picture, (0, 0), (width + 16, height + 16), (30, 30, 30), cv2.FILLED)
        cv2.putText(picture, name, (8, height + 7), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
        rows.append(picture)
    return np.vstack(rows)


def save(path: Path, picture: np.ndarray) -> None:
    """Writes a JPEG."""
    cv2.imwrite(str(path), picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    print(path)


def calibration(drive: Drive, pose: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The overlay with the camera where it is, turned, and moved."""
    crop = drive.lhmap.crop(pose[:3, 3], 70.0)
    wrong = {
        "as calibrated": ((0, 0, 0), (0, 0, 0)),
        "camera turned by 1.5 degrees to the side": ((0, 0, 0), (0, 1.5, 0)),
        "camera 0.3 m too high": ((0, 0.3, 0), (0, 0, 0)),
    }
    shown = {name: perturb(pose, shift, turn) for name, (shift, turn) in wrong.items()}
    return stacked({name: draw_overlay(image, drive.camera.camera, crop, pose) for name, pose in shown.items()})


def budgets(drive: Drive, maps: list[Path], pose: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The overlay of each map."""
    pictures = {}
    for path in maps:
        with LHMap.open(path) as lhmap:
            size = path.stat().st_size / lhmap.metadata.path_length_m / 1e3
            crop = lhmap.crop(pose[:3, 3], 70.0)
            pictures[f"{size:.1f} MB/km"] = draw_overlay(image, drive.camera.camera, crop, pose)
    return stacked(pictures)


def faults(drive: Drive) -> Figure:
    """Error, three standard deviations and state of a track whose images and odometry fail for a while."""
    track = drive.track(FAULTS, seed=0)
    rows = [(number, metres, 3 * max_std(result.covariance)[0], result.state.value) for number, result, metres in track]
    number, error, bound = (np.array(x) for x in list(zip(*rows, strict=True))[:3])
    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    axis = figure.subplots()
    for fault in FAULTS:
        axis.axvspan(fault.first / 10, (fault.last + 1) / 10, color="#e5e7eb")
        axis.text(fault.first / 10, 12, f" {fault.kind}", fontsize=8, va="top")
    axis.semilogy(number / 10, bound, color="#0b6bcb", label="three standard deviations")
    axis.semilogy(number / 10, error, color="#111827", linewidth=1, label="position error")
    for state, color in STATE_COLORS.items():
        there = np.array([row[3] == state for row in rows])
        if there.any():
            axis.plot(number[there] / 10, np.full(there.sum(), 0.012), "s", color=color, markersize=4, label=state)
    axis.set(xlabel="time [s]", ylabel="[m]", ylim=(0.01, 15))
    axis.grid(color="#e5e7eb", linewidth=0.7)
    axis.legend(fontsize=8, ncols=3, loc="upper left", bbox_to_anchor=(0, 0.9))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    bag, maps = street(args.work)
    with LHMap.open(maps[0]) as lhmap:
        drive = Drive.load(bag, lhmap, read_tum(bag.with_name("query.tum")))
        stamp, image = drive.frames[FRAME]
        pose = drive.truth.at(stamp) @ drive.camera.T_base_camera
        save(args.out / "calibration.jpg", calibration(drive, pose, image))
        save(args.out / "budgets.jpg", budgets(drive, maps, pose, image))
        faults(drive).savefig(args.out / "faults.png")
        print(args.out / "faults.png")


if __name__ == "__main__":
    main()
