#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what docs/accuracy.md reports, every figure by one `lhmap` command, and writes its tables.

    tools/accuracy.py WORK [--kitti ROOT] [--regress PREFIX] [--flow NAME=PREFIX]... [--heat NAME=ONNX]... [--only PART]

WORK keeps bags, maps and results; what is there is not made again. Without --kitti (the odometry layout, drives named
as in DRIVES) there are no rows of real drives. Tables go between the markers in docs/accuracy.md. One evaluation runs
on each core.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Lock

import numpy as np
from marked_part import with_part

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "accuracy.md"
SEEDS = (9100, 9101)
SYNTHETIC_FRAMES = "0-9999/4"
MORE_SEEDS, MORE_LENGTH_M, MORE_FRAMES = range(9040, 9048), 60, "0-9999/3"
"""More streets: the images of one err alike, so that a share of errors takes many."""
FEWER, SOME = {"0-9999/4": "0-9999/16", "all": "0-9999/3"}, {"0-9999/4": "0-9999/8", "all": "0-9999/2"}
"""Images of the tables that compare many variants, in place of those of the main table."""
DRIVES = {
    "KITTI 0013, 120-143": ("2011_09_26_0013", "60-71"),
    "KITTI 0005": ("2011_09_26_0005", "all"),
}
"""Sequence and images of the bag of odd frames (frame 121 is its image 60)."""
WHOLE_DRIVE = ("2011_09_26_0013", "0-71")
"""Among the maps of several sizes a few images say little."""
LEVELS = (1, 2, 3)
SIZES = (4, 2, 1, 0.5)
"""Budgets that are compared, MB per km."""
NO_GREY = ("--no-grey",)
MEDIANS = ("translation_median_m", "rotation_median_deg")
SIZE_PLOT = ROOT / "docs" / "images" / "accuracy_by_size.png"


class Bench:
    """Runs commands, and remembers their results in WORK/results.json by the command."""

    def __init__(self, work: Path):
        self.work, self._file, self._lock = work, work / "results.json", Lock()
        self.results = self._read()

    def _read(self) -> dict:
        return json.loads(self._file.read_text()) if self._file.exists() else {}

    def lhmap(self, *words, core: int | None = None) -> str:
        command = [sys.executable, "-m", "lhmap_loc_ros", *map(str, words)]
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        done = subprocess.run(command, cwd=self.work, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"lhmap {shlex.join(map(str, words))}\n{done.stderr[-2000:]}")
        return done.stdout

    def make(self, path: str, *words) -> str:
        """A file or folder of WORK, made by a command unless it is there."""
        if not (self.work / path).exists():
            print(f"lhmap {shlex.join(map(str, words))}", flush=True)
            self.lhmap(*words)
        return path

    def megabytes_per_km(self, path: str) -> float:
        return json.loads(self.lhmap("info", path, "--json"))["bytes_per_km"] / 1e6

    def evaluate(self, cases: list[tuple[dict, int, tuple]]) -> list[dict]:
        """The figures of each case: data, level, options."""
        commands = []
        for data, level, options in cases:
            words = ["--map", data["map"], "--bag", data["bag"], "--frames", data["frames"], "--level", level]
            commands.append(shlex.join(map(str, ["lhmap", "evaluate", *words, *options, "--json"])))
        cores = sorted(os.sched_getaffinity(0))
        missing = [command for command in dict.fromkeys(commands) if command not in self.results]
        with ThreadPoolExecutor(len(cores)) as pool:
            waiting = [pool.submit(self._measure, command, cores) for command in missing]
            for result in waiting:
                result.result()
        return [self.results[command] for command in commands]

    def _measure(self, command: str, cores: list[int]) -> None:
        core = cores.pop()
        print(command, flush=True)
        result = json.loads(self.lhmap(*shlex.split(command)[1:], core=core))
        cores.append(core)
        with self._lock:
            # another run may have added to them since
            self.results = self._read() | {command: result}
            temporary = self._file.with_suffix(f".{os.getpid()}")
            temporary.write_text(json.dumps(self.results, indent=1))
            temporary.replace(self._file)


def synthetic(bench: Bench, seed: int, length: float = 160, frames: str = SYNTHETIC_FRAMES) -> dict:
    world = bench.make(f"world{seed}", "simulate", f"world{seed}", "--seed", seed, "--length", length)
    name = f"world{seed}.lhmap"
    made = bench.make(name, "build", f"{world}/mapping", "-o", name, "--work", f"world{seed}.work")
    return {"map": made, "bag": f"{world}/query", "frames": frames}


def drive(bench: Bench, kitti: Path, sequence: str, frames: str) -> dict:
    even, odd = (
        bench.make(f"{sequence}.{part}", "import", "kitti", kitti, sequence, f"{sequence}.{part}", "--frames", part)
        for part in ("even", "odd")
    )
    name = f"{sequence}.lhmap"
    made = bench.make(name, "build", even, "-o", name, "--work", f"{sequence}.work")
    return {"map": made, "bag": odd, "frames": frames}


def table(bench: Bench, groups: dict[str, dict], methods: dict[str, tuple]) -> str:
    lines = [
        "| data | level | method | median | mean | 90 % | recall 0.25 m, 2° | 0.5 m, 5° | 5 m, 10° | grey image "
        "| forward: start, grey image |",
        "|---" * 11 + "|",
    ]
    rows = list(product(groups, LEVELS, methods))
    figures = bench.evaluate([(groups[name], level, methods[method]) for name, level, method in rows])
    for (name, level, method), f in zip(rows, figures, strict=True):
        lines.append(
            f"| {name} ({f['frames']} images) | {level} | {method} "
            f"| {f['translation_median_m']:.2f} m / {f['rotation_median_deg']:.2f}° "
            f"| {f['translation_mean_m']:.2f} m / {f['rotation_mean_deg']:.2f}° "
            f"| {f['translation_p90_m']:.2f} m / {f['rotation_p90_deg']:.2f}° "
            f"| {100 * f['recall_025m_2deg']:.0f} % | {100 * f['recall_050m_5deg']:.0f} % "
            f"| {100 * f['recall_5m_10deg']:.0f} % "
            f"| {f['grey_translation_median_m']:.2f} m / {f['grey_rotation_median_deg']:.2f}° "
            f"| {f['start_forward_median_m']:.2f} m, {f['grey_forward_median_m']:.2f} m |"
        )
    return "\n".join(lines)


def more_streets(bench: Bench) -> dict[str, dict]:
    return {f"seed {seed}": synthetic(bench, seed, MORE_LENGTH_M, MORE_FRAMES) for seed in MORE_SEEDS}


def streets(bench: Bench) -> str:
    """Each synthetic street by itself, and all of them: medians, and recall at 0.5 m and 5°."""
    few = {f"seed {seed}": synthetic(bench, seed) for seed in SEEDS}
    method = ("--method", "flow")
    datas = [(name, data, method) for name, data in few.items()]
    datas += [(name, data, method + NO_GREY) for name, data in more_streets(bench).items()]
    cases = [(data, level, options) for _, data, options in datas for level in LEVELS]
    figures = np.array(bench.evaluate(cases), dtype=object).reshape(len(datas), len(LEVELS))
    lines = ["| street | images | " + " | ".join(f"level {level}" for level in LEVELS) + " |", "|---" * 5 + "|"]
    for (name, *_), row in zip(datas, figures, strict=True):
        lines.append(f"| {name} | {row[0]['frames']} | " + " | ".join(map(cell, row)) + " |")
    images = [f["frames"] for f in figures[:, 0]]

    def of_all(column) -> str:
        medians = {key: np.median([f[key] for f in column]) for key in MEDIANS}
        recall = np.average([f["recall_050m_5deg"] for f in column], weights=images)
        return cell(medians | {"recall_050m_5deg": recall}, digits=1)

    lines.append(f"| median street, all images | {sum(images)} | " + " | ".join(map(of_all, figures.T)) + " |")
    return "\n".join(lines)


def covariance(bench: Bench, groups: dict[str, dict], others: dict[str, tuple]) -> str:
    """Share of the errors within 1, 2 and 3 reported standard deviations, per axis; of other networks over all data."""
    axes = ("right", "down", "forward", "about right", "about down", "about forward")
    lines = ["| data | level | " + " | ".join(axes) + " |", "|---" * 8 + "|"]
    sets = {name: ([data], ()) for name, data in groups.items()}
    more = list(more_streets(bench).values())
    sets[f"synthetic, seeds {MORE_SEEDS[0]} to {MORE_SEEDS[-1]}"] = more, NO_GREY
    methods = {"": ("--method", "flow")} | {f", {name}": method for name, method in others.items()}

    def cases(names, level, method):
        return [(data, level, method + options) for name in names for datas, options in [sets[name]] for data in datas]

    def row(title, names, level, method):
        figures = bench.evaluate(cases(names, level, method))
        images = [f["frames"] for f in figures]
        shares = np.average([[f["within_sigmas"][k] for k in "123"] for f in figures], axis=0, weights=images)
        cells = [" / ".join(f"{100 * share:.0f}" for share in column) for column in shares.T]
        return f"| {title.format(sum(images))} | {level} | " + " | ".join(cells) + " |"

    # on all cores at once; the rows find it measured
    bench.evaluate([case for level in LEVELS for method in methods.values() for case in cases(sets, level, method)])
    lines += [row(name, [name], level, methods[""]) for name in sets for level in LEVELS]
    for label, method in methods.items():
        lines += [row(f"all {{}} images{label}", sets, level, method) for level in LEVELS]
    return "\n".join(lines)


def variants(bench: Bench, groups: dict[str, dict], rows: dict[str, tuple], level: int) -> str:
    """A table of variants of the shipped method, one column of data each: medians, and recall at 0.5 m and 5°."""
    return as_text(groups, rows, measure(bench, groups, rows, level))


def measure(
    bench: Bench, groups: dict[str, dict], rows: dict[str, tuple], level: int, images=FEWER
) -> list[list[dict]]:
    """The figures of each row and group; a row is its options and what it changes of the data."""
    fewer = [data | {"frames": images.get(data["frames"], data["frames"])} for data in groups.values()]
    cases = [(change(data), level, (*NO_GREY, *options)) for options, change in rows.values() for data in fewer]
    figures = iter(bench.evaluate(cases))
    return [[next(figures) for _ in groups] for _ in rows]


def as_text(groups: dict[str, dict], rows: dict[str, tuple], figures: list[list[dict]]) -> str:
    heads = [f"{group} ({f['frames']} images)" for group, f in zip(groups, figures[0], strict=True)]
    lines = ["| variant | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, row in zip(rows, figures, strict=True):
        lines.append(f"| {name} | " + " | ".join(map(cell, row)) + " |")
    return "\n".join(lines)


def cell(figures: dict, digits: int = 0) -> str:
    """Medians, and recall at 0.5 m and 5°, with so many digits of a percent."""
    metres, degrees = (figures[key] for key in MEDIANS)
    return f"{metres:.2f} m / {degrees:.2f}°, {100 * figures['recall_050m_5deg']:.{digits}f} %"


def ablation(bench: Bench, groups, networks: dict[str, tuple]) -> str:
    def setting(name: str, **plan) -> tuple:
        path = bench.work / f"{name}.yaml"
        path.write_text(json.dumps({"plan": plan}))
        return ("--config", path.name)

    def scheduled(**schedule) -> dict:
        return {"schedules": {"multi_start": {"multi_start": False, **schedule}}}

    rows = {"as shipped": ((), dict), "no search": (setting("no_search", **scheduled()), dict)}
    for coarse, fine in ((1, 1), (2, 2), (3, 4)):
        name = f"{coarse} coarse, {fine} fine iterations, no search"
        once = setting(f"iterations{coarse}{fine}", **scheduled(coarse=coarse, fine=fine))
        rows[name] = (once, dict)
    ways = {"uniform": "uniform", "heat": "heat", "uncertainty": "uncertainty", "both": "uncertainty and heat"}
    for weighting, name in ways.items():
        always = setting(f"always_{weighting}", coarse_weighting=weighting, fine_weighting=weighting)
        rows[f"weights, coarse and fine: {name}"] = (always, dict)
    rows["every match by itself"] = (setting("no_blocks", block_px=0), dict)
    rows |= {name: (method, dict) for name, method in networks.items()}
    return variants(bench, groups, rows, 1)


def budget(bench: Bench, megabytes: float | None, label: str = "shipped", **build):
    """Changes data to a smaller map of the same scans, or one of every point; `build`: settings of `lhmap build`."""

    def change(data):
        name = f"{Path(data['map']).stem}.{label}.{megabytes or 'full'}.lhmap"
        config = bench.work / f"build_{label}_{megabytes or 'full'}.yaml"
        config.write_text(json.dumps(build | {"budget_mb_per_km": megabytes}))
        source = data["bag"].replace("query", "mapping").replace(".odd", ".even")
        made = bench.make(name, "build", source, "-o", name, "-c", config.name, "--work", f"{name.split('.')[0]}.work")
        return data | {"map": made}

    return change


def sizes(bench: Bench, groups, networks: dict[str, str]) -> str:
    """Error against bytes: maps of the same scans, their points chosen by heat or evenly; draws it, too."""
    rows = {
        "every point, to 2 cm": ((), budget(bench, None, "exact", resolution_m=0.02)),
        "every point": ((), budget(bench, None)),
    }
    for megabytes in SIZES:
        for name, model in networks.items():
            chosen = budget(bench, megabytes, name, heat=model)
            rows[f"{megabytes:g} MB/km, heat: {name}"] = ((), chosen)
        rows[f"{megabytes:g} MB/km, even sample"] = ((), budget(bench, megabytes, "even", heat="none"))
    figures = measure(bench, groups, rows, 2, SOME)
    megabytes = [
        [bench.megabytes_per_km(change(data)["map"]) for data in groups.values()] for _, change in rows.values()
    ]
    draw_sizes(groups, list(rows), megabytes, figures)
    heads = " | ".join(groups)
    lines = [f"| MB/km | {heads} |", "|---" * (len(groups) + 1) + "|"]
    for name, row in zip(rows, megabytes, strict=True):
        lines.append(f"| {name} | " + " | ".join(f"{size:.2f}" for size in row) + " |")
    return "\n".join([as_text(groups, rows, figures), "", *lines])


def draw_sizes(groups, rows: list[str], megabytes: list[list[float]], figures: list[list[dict]]) -> None:
    """One picture a group: median error against the file's bytes, a line for each way to choose."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(groups), 3.2), layout="constrained")
    for column, (axes, name) in enumerate(zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True)):
        full = figures[0][column]["translation_median_m"]
        axes.axhline(full, color="0.6", linestyle=":", label=rows[0])
        for way in dict.fromkeys(row.partition(", ")[2] for row in rows[2:]):
            chosen = [k for k, row in enumerate(rows) if row.endswith(f", {way}")]
            errors = [figures[k][column]["translation_median_m"] for k in chosen]
            axes.plot([megabytes[k][column] for k in chosen], errors, "o-", label=way)
        axes.set(title=name, xlabel="MB per km", xscale="log", ylim=(0, None))
        axes.minorticks_off()
        axes.set_xticks(SIZES, [f"{size:g}" for size in SIZES])
    figure.axes[0].set_ylabel("median error [m], level 2")
    figure.axes[0].legend()
    figure.savefig(SIZE_PLOT, dpi=90)


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
    PAGE.write_text(with_part(PAGE, part, text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--regress", help="path prefix of the regress networks")
    parser.add_argument("--flow", action="append", default=[], help="NAME=PREFIX, other flow networks to compare")
    parser.add_argument("--heat", action="append", default=[], help="NAME=ONNX, another heat network to compare")
    parser.add_argument("--only", choices=("table", "streets", "covariance", "ablation", "robustness", "size"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.work.resolve())
    groups = sized = {f"synthetic, seed {seed}": synthetic(bench, seed) for seed in SEEDS}
    if args.kitti:
        kitti = args.kitti.resolve()
        groups |= {name: drive(bench, kitti, *which) for name, which in DRIVES.items()}
        sized = groups | {"KITTI 0013": drive(bench, kitti, *WHOLE_DRIVE)}
    methods = {"start": ("--method", "start")}
    if args.regress:
        methods["regress"] = ("--method", "regress", "--model", args.regress)
    methods["flow"] = ("--method", "flow")
    others = dict(text.split("=", 1) for text in args.flow)
    networks = {name: ("--method", "flow", "--model", prefix) for name, prefix in others.items()}
    methods |= networks
    parts = {
        "table": lambda: table(bench, groups, methods),
        "streets": lambda: streets(bench),
        "covariance": lambda: covariance(bench, groups, networks),
        "ablation": lambda: ablation(bench, groups, networks),
        "robustness": lambda: robustness(bench, groups),
        "size": lambda: sizes(bench, sized, {"shipped": "heat"} | dict(text.split("=", 1) for text in args.heat)),
    }
    for part, run in parts.items():
        if args.only in (None, part):
            write(part, run())


if __name__ == "__main__":
    main()
