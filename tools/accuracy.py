#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what docs/accuracy.md reports, every figure by one `lhmap` command, and writes its tables.

    tools/accuracy.py WORK [--kitti ROOT] [--regress PREFIX] [--flow NAME=PREFIX]... [--heat NAME=ONNX]... [--only PART]

WORK keeps bags, maps and results; what is there is not made again. Without --kitti (the odometry layout, drives named
as in DRIVES) there are no rows of real drives. Tables go between the markers in docs/accuracy.md.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "accuracy.md"
SEEDS = (9100, 9101)
SYNTHETIC_FRAMES = "0-9999/4"
FEWER = {"0-9999/4": "0-9999/16", "all": "0-9999/3"}
"""Images of the tables that compare many variants, in place of those of the main table."""
DRIVES = {
    "KITTI 0013, 120-143": ("2011_09_26_0013", "60-71"),
    "KITTI 0005": ("2011_09_26_0005", "all"),
}
"""Sequence and images of the bag of odd frames (frame 121 is its image 60)."""
LEVELS = (1, 2, 3)


class Bench:
    """Runs commands, and remembers their results in WORK/results.json by the command."""

    def __init__(self, work: Path):
        self.work, self._file = work, work / "results.json"
        self.results = self._read()

    def _read(self) -> dict:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def lhmap(self, *words, cwd=None) -> str:
        command = [sys.executable, "-m", "lhmap_loc_ros.cli", *map(str, words)]
        done = subprocess.run(command, cwd=cwd or self.work, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"lhmap {shlex.join(map(str, words))}\n{done.stderr[-2000:]}")
        return done.stdout

    def make(self, path: str, *words) -> str:
        """A file or folder of WORK, made by a command unless it is there."""
        if not (self.work / path).exists():
            print(f"lhmap {shlex.join(map(str, words))}", flush=True)
            self.lhmap(*words)
        return path

    def evaluate(self, data: dict, level: int, *options) -> dict:
        words = ["evaluate", "--map", data["map"], "--bag", data["bag"], "--frames", data["frames"], "--level", level]
        words = [*map(str, [*words, *options]), "--json"]
        command = f"lhmap {shlex.join(words)}"
        if command not in self.results:
            print(command, flush=True)
            result = json.loads(self.lhmap(*words))
            # another run may have added to them since
            self.results = self._read() | {command: result}
            temporary = self._file.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self.results, indent=1))
            temporary.replace(self._file)
        return self.results[command]


def synthetic(bench: Bench, seed: int) -> dict:
    world = bench.make(f"world{seed}", "simulate", f"world{seed}", "--seed", seed, "--length", 160)
    name = f"world{seed}.lhmap"
    return {"map": bench.make(name, "build", f"{world}/mapping", "-o", name), "bag": f"{world}/query",
            "frames": SYNTHETIC_FRAMES}  # fmt: skip


def drive(bench: Bench, kitti: Path, sequence: str, frames: str) -> dict:
    even, odd = (
        bench.make(f"{sequence}.{part}", "import", "kitti", kitti, sequence, f"{sequence}.{part}", "--frames", part)
        for part in ("even", "odd")
    )
    name = f"{sequence}.lhmap"
    return {"map": bench.make(name, "build", even, "-o", name), "bag": odd, "frames": frames}


def table(bench: Bench, groups: dict[str, dict], methods: dict[str, tuple]) -> str:
    lines = [
        "| data | level | method | median | mean | 90 % | recall 0.25 m, 2° | 0.5 m, 5° | 5 m, 10° | grey image |",
        "|---" * 10 + "|",
    ]
    for name, data in groups.items():
        for level in LEVELS:
            for method, options in methods.items():
                f = bench.evaluate(data, level, *options)
                lines.append(
                    f"| {name} ({f['frames']} images) | {level} | {method} "
                    f"| {f['translation_median_m']:.2f} m / {f['rotation_median_deg']:.2f}° "
                    f"| {f['translation_mean_m']:.2f} m "
                    f"| {f['translation_p90_m']:.2f} m / {f['rotation_p90_deg']:.2f}° "
                    f"| {100 * f['recall_025m_2deg']:.0f} % | {100 * f['recall_050m_5deg']:.0f} % "
                    f"| {100 * f['recall_5m_10deg']:.0f} % "
                    f"| {f['grey_translation_median_m']:.2f} m / {f['grey_rotation_median_deg']:.2f}° |"
                )
    return "\n".join(lines)


def covariance(bench: Bench, groups: dict[str, dict]) -> str:
    """Share of the errors within 1, 2 and 3 reported standard deviations, per axis."""
    axes = ("right", "down", "forward", "about right", "about down", "about forward")
    lines = ["| data | level | " + " | ".join(axes) + " |", "|---" * 8 + "|"]
    pooled, images = {level: np.zeros((3, len(axes))) for level in LEVELS}, 0

    def row(name, level, shares):
        cells = [" / ".join(f"{100 * share:.0f}" for share in column) for column in shares.T]
        return f"| {name} | {level} | " + " | ".join(cells) + " |"

    for name, data in groups.items():
        for level in LEVELS:
            f = bench.evaluate(data, level, "--method", "flow")
            shares = np.array([f["within_sigmas"][k] for k in "123"])
            pooled[level] += shares * f["frames"]
            lines.append(row(name, level, shares))
        images += f["frames"]
    lines += [row(f"all {images} images", level, pooled[level] / images) for level in LEVELS]
    return "\n".join(lines)


def variants(bench: Bench, groups: dict[str, dict], rows: dict[str, tuple], level: int) -> str:
    """A table of variants of the shipped method, one column of data each: medians, and recall at 0.5 m and 5°."""
    columns, lines = [], []
    for name, (options, change) in rows.items():
        cells, columns = [], []
        for group, data in groups.items():
            data = data | {"frames": FEWER.get(data["frames"], data["frames"])}
            f = bench.evaluate(change(data), level, "--no-grey", *options)
            medians = f"{f['translation_median_m']:.2f} m / {f['rotation_median_deg']:.2f}°"
            cells.append(f"{medians}, {100 * f['recall_050m_5deg']:.0f} %")
            columns.append(f"{group} ({f['frames']} images)")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(["| variant | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|", *lines])


def ablation(bench: Bench, groups, networks: dict[str, str]) -> str:
    def setting(name: str, **refiner) -> tuple:
        path = bench.work / f"{name}.yaml"
        path.write_text(json.dumps({"refiner": refiner}))
        return ("--config", path.name)

    rows = {"as shipped": ((), dict), "no search": (setting("no_search", restarts_m=[]), dict)}
    for coarse, fine in ((1, 1), (2, 2), (3, 4)):
        name = f"{coarse} coarse, {fine} fine passes, no search"
        once = setting(f"passes{coarse}{fine}", coarse_passes=coarse, fine_passes=fine, restarts_m=[])
        rows[name] = (once, dict)
    for weighting, name in (("uniform", "uniform"), ("heat", "heat alone"), ("uncertainty", "uncertainty alone")):
        rows[f"weights: {name}"] = (setting(f"weights_{weighting}", weighting=weighting), dict)
    for megabytes in (4, 2, 1):
        rows[f"map of {megabytes} MB/km"] = ((), budget(bench, megabytes))
    rows |= {name: (("--method", "flow", "--model", prefix), dict) for name, prefix in networks.items()}
    return variants(bench, groups, rows, 1)


def budget(bench: Bench, megabytes: float, label: str = "shipped", **build):
    """Changes data to a smaller map of the same scans; `build` are settings of `lhmap build`."""

    def change(data):
        name = f"{Path(data['map']).stem}.{label}.{megabytes}.lhmap"
        config = bench.work / f"build_{label}.yaml"
        config.write_text(json.dumps(build))
        source = data["bag"].replace("query", "mapping").replace(".odd", ".even")
        return data | {"map": bench.make(name, "build", source, "-o", name, "--budget", megabytes, "-c", config.name)}

    return change


def heats(bench: Bench, groups, networks: dict[str, str]) -> str:
    """Which heat chooses best: maps of equal bytes, their points chosen by each."""
    rows = {"8 MB/km": ((), dict)}
    for megabytes in (2, 1, 0.5):
        rows[f"{megabytes} MB/km, even sample"] = ((), budget(bench, megabytes, "none", heat="none"))
        for name, model in networks.items():
            chosen = budget(bench, megabytes, name, heat="network", heat_views={"model": model})
            rows[f"{megabytes} MB/km, heat: {name}"] = ((), chosen)
    return variants(bench, groups, rows, 2)


def robustness(bench: Bench, groups) -> str:
    steps = {
        "exposure": (-3, -2, -1, 1, 2), "blur": (1, 2, 4), "noise": (10, 25), "occlusion": (0.15, 0.3, 0.5),
        "fog": (0.01, 0.03, 0.06), "missing_tiles": (0.25, 0.5), "extrinsic_deg": (0.25, 0.5),
        "extrinsic_m": (0.02, 0.05),
    }  # fmt: skip
    rows = {"undisturbed": ((), dict)}
    for name, values in steps.items():
        for value in values:
            rows[f"{name} = {value:g}"] = (("--disturb", f"{name}={value:g}"), dict)
    return variants(bench, groups, rows, 2)


def write(part: str, text: str) -> None:
    """Puts a table between its markers."""
    page = PAGE.read_text()
    pattern = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end {part} -->)", re.S)
    if not pattern.search(page):
        sys.exit(f"{PAGE}: the markers of {part} are missing")
    PAGE.write_text(pattern.sub(lambda m: m[1] + "\n" + text + "\n\n" + m[2], page))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--regress", help="path prefix of the regress networks")
    parser.add_argument("--flow", action="append", default=[], help="NAME=PREFIX, other flow networks to compare")
    parser.add_argument("--heat", action="append", default=[], help="NAME=ONNX, another heat network to compare")
    parser.add_argument("--only", choices=("table", "covariance", "ablation", "robustness", "heat"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.work.resolve())
    groups = {f"synthetic, seed {seed}": synthetic(bench, seed) for seed in SEEDS}
    if args.kitti:
        kitti = args.kitti.resolve()
        groups |= {name: drive(bench, kitti, *which) for name, which in DRIVES.items()}
    methods = {"start": ("--method", "start")}
    if args.regress:
        methods["regress"] = ("--method", "regress", "--model", args.regress)
    methods["flow"] = ("--method", "flow")
    others = dict(text.split("=", 1) for text in args.flow)
    methods |= {name: ("--method", "flow", "--model", prefix) for name, prefix in others.items()}
    parts = {
        "table": lambda: table(bench, groups, methods),
        "covariance": lambda: covariance(bench, groups),
        "ablation": lambda: ablation(bench, groups, others),
        "robustness": lambda: robustness(bench, groups),
        "heat": lambda: heats(bench, groups, {"shipped": "heat"} | dict(text.split("=", 1) for text in args.heat)),
    }
    for part, run in parts.items():
        if args.only in (None, part):
            write(part, run())


if __name__ == "__main__":
    main()
