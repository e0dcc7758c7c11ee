#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Localizes images of places that trained nothing, as other cameras and in maps of other LiDARs would have them.

    tools/other_sensors.py NAME=SHARD.npz... [--level 1] [--images 24] [--before CHECKOUT] [--write]

The shards are those of `lhmap train data` (config/train/data.yaml, data_val.yaml). Each is evaluated whole, cut to
narrower fields of view, without intensity, and with every fourth beam. --before runs the code and the weights of
another checkout beside it; --write puts the table into docs/accuracy.md.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from accuracy import PAGE, ROOT, cell
from marked_part import with_part

BEAM_DEG = 0.42
"""Between the beams of the LiDAR that KITTI has, which is the densest here."""
FIELDS_DEG = (58, 49, 38)
CONDITIONS = ("whole", *(f"{field}°" for field in FIELDS_DEG), "no intensity", "every 4th beam")


def cut(frame, field_deg: float):
    """The frame as a camera of a narrower field of view, of 16:10 at most, sees it: the middle of the image."""
    camera = frame.camera
    width = min(camera.width, 2 * round(camera.fx * np.tan(np.radians(field_deg / 2))))
    height = min(camera.height, round(width / 1.6))
    left, top = (camera.width - width) // 2, (camera.height - height) // 2
    seen = replace(camera, width=width, height=height, cx=camera.cx - left, cy=camera.cy - top)
    image = np.ascontiguousarray(frame.image[top : top + height, left : left + width])
    return replace(frame, image=image, camera=seen, depth=None)


def every_fourth_beam(frame):
    """The frame in a map of which a LiDAR with a quarter of the beams would have met the points."""
    offset = frame.points - frame.T_map_camera[:3, 3].astype(np.float32)
    elevation = np.degrees(np.arctan2(offset[:, 2], np.hypot(offset[:, 0], offset[:, 1])))
    kept = np.floor(elevation / BEAM_DEG).astype(int) % 4 == 0
    return replace(frame, points=frame.points[kept], intensity=frame.intensity[kept])


def under(condition: str, frame):
    if condition == "no intensity":
        return replace(frame, intensity=np.zeros_like(frame.intensity))
    if condition == "every 4th beam":
        return every_fourth_beam(frame)
    return frame if condition == "whole" else cut(frame, float(condition[:-1]))


def measure(shard_path: str, level: int, images: int, model: str | None) -> dict[str, dict]:
    """By condition the figures of the protocol, signed medians besides, with the code that Python finds."""
    from lhmap_loc_ros.evaluation.methods import make_method
    from lhmap_loc_ros.evaluation.protocol import Query, figures, run
    from lhmap_loc_ros.training.shards import Shard

    shard, method = Shard(Path(shard_path)), make_method("flow", model)
    numbers = np.linspace(0, len(shard) - 1, min(images, len(shard))).astype(int)
    out = {}
    for condition in CONDITIONS:

        def queries(condition=condition):
            for k in numbers:
                frame = under(condition, shard.frame(int(k)))
                image = np.ascontiguousarray(frame.image)
                yield Query(int(k), image, frame.camera, frame.T_map_camera, lambda _, crop=frame.crop: crop)

        outcome = run(queries(), method, level)
        metres = np.linalg.norm(outcome.errors[:, -1, :3], axis=1)
        sure = np.abs(outcome.sigmas).max(axis=1) > 6
        out[condition] = figures(outcome) | {
            "signed_medians": (np.median(outcome.errors[:, -1], axis=0) * np.r_[1, 1, 1, [180 / np.pi] * 3]).tolist(),
            "wrong_and_sure": float(np.mean((metres > 1.0) & sure)),
        }
        print(f"{shard_path} {condition}", file=sys.stderr, flush=True)
    return out


def measured_by(checkout: Path, shard: str, options: list[str]) -> dict[str, dict]:
    """`measure` in a process of its own, by the code and weights of a checkout."""
    command = [sys.executable, __file__, "--measure", f"x={shard}", *options]
    paths = [str(checkout), str(checkout / "tools" / "ros_standins" / "python")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "LHMAP_MODELS": str(checkout / "models")}
    done = subprocess.run(command, env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def signed(f: dict) -> str:
    metres, degrees = f["signed_medians"][:3], f["signed_medians"][3:]
    return ", ".join(f"{x:+.2f}" for x in metres) + " m; " + ", ".join(f"{x:+.2f}" for x in degrees) + "°"


def table(results: dict[str, dict[str, dict[str, dict]]]) -> str:
    """By checkout, data and condition."""
    first = next(iter(results.values()))
    lines = [
        "| data | as | " + " | ".join(results) + " | signed medians: right, down, forward | wrong and sure |",
        "|---" * (len(results) + 4) + "|",
    ]
    for data, conditions in first.items():
        for condition in conditions:
            columns = [by_data[data][condition] for by_data in results.values()]
            images = columns[0]["frames"]
            sure = f"{100 * columns[-1]['wrong_and_sure']:.0f} %"
            words = [f"{data} ({images} images)", condition, *map(cell, columns), signed(columns[-1]), sure]
            lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="+", metavar="NAME=SHARD.npz")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--images", type=int, default=24, help="of each shard, evenly spaced")
    parser.add_argument("--model", help="weights instead of the shipped ones: a path without _image.onnx")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout to compare with")
    parser.add_argument("--write", action="store_true", help="put the table into docs/accuracy.md")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    shards = dict(word.split("=", 1) for word in words.shards)
    if words.measure:
        json.dump(measure(*shards.values(), words.level, words.images, words.model), sys.stdout)
        return
    options = ["--level", str(words.level), "--images", str(words.images)]
    checkouts = {"before": words.before.resolve()} if words.before else {}
    results = {}
    for name, checkout in {**checkouts, "now": ROOT}.items():
        own = [*options, "--model", str(Path(words.model).resolve())] if words.model and name == "now" else options
        results[name] = {data: measured_by(checkout, str(Path(p).resolve()), own) for data, p in shards.items()}
    text = table(results)
    print(text)
    if words.write:
        PAGE.write_text(with_part(PAGE, "other sensors", text))


if __name__ == "__main__":
    main()
