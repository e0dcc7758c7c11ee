# SPDX-License-Identifier: Apache-2.0
"""How long an image takes until its pose is out: several ways to localize side by side, in turn, on this machine."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError, LhmapError, ModelError
from ..lhmap import LHMap
from ..localization.refine import RefineMode, RefinePlan, RefinerConfig
from ..outputs import check_file, make_folder_of, writing
from ..processes import last_words, ros_environment
from .latency_worker import Case, Times

PER_TURN = 5
"""Images localized by one before it is the turn of the next: what else runs on the machine meets all of them."""
REFERENCE_SHARE = 5
"""The reference method, some ten times as slow, localizes one image for so many of the others."""
_TRACKED = RefineMode.TRACK, RefineMode.TRACK_ODOMETRY, RefineMode.RECOVER
STEPS = ("decode", "crop", "encode", "project", "network", "solve", "publish")


class Worker:
    """A process that localizes images when asked to; a context manager."""

    def __init__(self, case: Case):
        self.case = case
        # publishers, of /tf too, must not be heard by a robot near by
        environment = ros_environment(random.randint(1, 101))
        command = [sys.executable, "-m", f"{__package__}.latency_worker", case.model_dump_json()]
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        with suppress(BrokenPipeError):  # what a process that has ended was not told any more
            self._process.stdin.close()
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def localize(self, images: int) -> Times:
        """Times of so many images; raises ModelError if the process cannot."""
        with suppress(BrokenPipeError):  # what it said before it ended is in its errors
            self._process.stdin.write(f"{images}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            self._errors.seek(0)
            raise ModelError(f"{describe(self.case)}: {last_words(self._errors.read(), self._process.poll())}")
        return Times.model_validate_json(answer)


@dataclass
class Measured:
    """What one worker has answered so far."""

    worker: Worker
    share: int = 1
    """It localizes one image for so many of the others."""
    steps: dict[str, list[float]] = field(default_factory=dict)
    iterations: list[int] = field(default_factory=list)
    last: Times | None = None

    def turn(self, images: int) -> None:
        """Lets it localize some more."""
        self.last = self.worker.localize(max(1, images // self.share))
        self.iterations += self.last.iterations
        for name, values in self.last.steps.items():
            self.steps.setdefault(name, []).extend(values)

    def row(self) -> dict:
        """As `bench_latency` describes."""
        case, times, total = self.worker.case, self.last, self.steps["total"]
        steps = {name: self.steps[name] for name in STEPS if name in self.steps}
        return {
            "method": case.method, "backend": times.backend, "precision": times.precision, "input": times.input,
            "refinements": times.refinements, "refinements_mean": round(float(np.mean(self.iterations)), 2),
            "map_mb_per_km": _mb_per_km(case.map), "images": len(total),
            "p50_ms": _percentile(total, 50), "p99_ms": _percentile(total, 99), "rss_mb": round(times.rss_mb, 1),
            "steps": {name: {"p50_ms": _percentile(v, 50), "p99_ms": _percentile(v, 99)} for name, v in steps.items()},
        }  # fmt: skip


def cases(maps: list[Path], bag: Path, truth: Path, refiners: list[tuple[RefinerConfig, RefinePlan]]) -> list[Case]:
    """The reference method in the first map, then every way to localize in every map."""
    # which remembers nothing from image to image
    first = Case(method="regress", map=maps[0], bag=bag, truth=truth, refiner=refiners[0][0], warm_up=1)
    return [first] + [
        Case(map=path, bag=bag, truth=truth, refiner=refiner, plan=plan) for path in maps for refiner, plan in refiners
    ]


def refiners(models: list[str], refinements: list[int], plan: RefinePlan | None = None, **settings):
    """For each model the default, and those that do exactly so many refinements, even if the pose converges before.

    Each is a pair of RefinerConfig and RefinePlan.
    """
    plan, found = plan or RefinePlan(), []
    exactly = plan.adapted(_TRACKED, convergence_m=0.0, convergence_deg=0.0)
    for model in models:
        found.append((RefinerConfig(model=model, **settings), plan))
        for count in refinements:
            found.append((RefinerConfig(model=model, max_iterations=count, **settings), exactly))
    return found


def bench_latency(asked: list[Case], images: int, report=None) -> dict:
    """Localizes `images` images by each case, a few at a time in turn, each case in a process of its own.

    Returns `rows`: `method`, `backend`, `precision`, `input` (height x width), `refinements` (at most, of a pose that
    is sure), `refinements_mean` (of all images), `map_mb_per_km`, `images`; from image message to pose `p50_ms`,
    `p99_ms`, and the same per step under `steps`; `rss_mb`; `ratio_to_reference`, p50 of the reference method over the
    row's. And the `ratio_to_reference` of the first row that is not the reference: the default. Cases that this machine
    cannot run are listed under `not_run` with the reason; raises LhmapError if those are all.
    """
    not_run: list[str] = []
    with ExitStack() as stack:
        measured = []
        for number, case in enumerate(asked):
            if report:
                report("load", number, len(asked))
            one = Measured(stack.enter_context(Worker(case)), REFERENCE_SHARE if case.method == "regress" else 1)
            try:
                one.worker.localize(1)
                measured.append(one)
            except ModelError as error:
                not_run.append(str(error))
        if not measured:
            raise LhmapError("; ".join(not_run))
        for done in range(0, images, PER_TURN):
            if report:
                report("localize", done, images)
            for one in measured:
                one.turn(min(PER_TURN, images - done))
        if report:
            report("localize", images, images)
        rows = [one.row() for one in measured]
    return {"rows": rows, "ratio_to_reference": add_ratios(rows), "not_run": not_run}


def add_ratios(rows: list[dict]) -> float | None:
    """Writes into each row how many times as long the reference method takes; returns that of the first other row."""
    reference = next((row["p50_ms"] for row in rows if row["method"] == "regress"), None)
    for row in rows:
        row["ratio_to_reference"] = None if reference is None else round(reference / row["p50_ms"], 2)
    return next((row["ratio_to_reference"] for row in rows if row["method"] != "regress"), None)


def describe(case: Case) -> str:
    """A case in words."""
    if case.method == "regress":
        return "regress"
    refiner = case.refiner
    return f"{refiner.model}, {refiner.max_iterations} refinements, {case.map.name}, {refiner.backend.value}"


def check_plot(path: Path) -> None:
    """Raises InputError where no picture can be written: it is measured for minutes before it is."""
    from matplotlib.backend_bases import FigureCanvasBase

    kinds = sorted(FigureCanvasBase.get_supported_filetypes())
    if path.suffix[1:].lower() not in kinds:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected one of {', '.join(f'.{kind}' for kind in kinds)}")
    check_file(path)


def write_plot(result: dict, path: Path) -> None:
    """Draws the steps of each row, one bar on the other, and the 99th percentile."""
    from matplotlib.figure import Figure

    rows = result["rows"]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(rows)), dpi=110, layout="constrained")
    axis = figure.subplots()
    names = [
        f"{row['method']} {row['input']}, {row['refinements_mean']:.1f}x, {row['backend']} {row['precision']}, "
        f"{row['map_mb_per_km']} MB/km"
        for row in rows
    ]
    left, places = np.zeros(len(rows)), np.arange(len(rows))
    for step in STEPS:
        widths = np.array([row["steps"].get(step, {}).get("p50_ms", 0.0) for row in rows])
        axis.barh(places, widths, left=left, label=step)
        left += widths
    axis.plot([row["p99_ms"] for row in rows], places, "k|", markersize=14, label="99th percentile")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set_xlabel("image message to pose, median [ms]")
    figure.legend(fontsize=8, ncols=8, loc="outside upper center", frameon=False)
    make_folder_of(path)
    with writing(path):
        figure.savefig(path)


def _percentile(values: list[float], percent: float) -> float:
    return round(float(np.percentile(values, percent)), 2)


def _mb_per_km(path: Path) -> float:
    with LHMap.open(path) as lhmap:
        return round((lhmap.info()["bytes_per_km"] or 0) / 1e6, 2)
