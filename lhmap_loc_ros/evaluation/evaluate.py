# SPDX-License-Identifier: Apache-2.0
"""One method on one bag in one map, by the protocol."""

from __future__ import annotations

from ..lhmap import LHMap
from ..localization.inputs import BagInputs
from .bag_queries import BagQueries
from .disturb import Disturbance
from .metrics import RECALL_LIMITS
from .protocol import Method, Outcome, figures, run


def evaluate_bag(
    method: Method,
    lhmap: LHMap,
    bag,
    level: int,
    truth=None,
    frames: str = "all",
    inputs: BagInputs | None = None,
    disturbances: tuple[Disturbance, ...] = (),
    grey: bool = True,
    report=None,
) -> tuple[dict, Outcome]:
    """The figures of the protocol, and the errors they come from; `report(stage, done, total)` follows.

    Raises InputError and BagError as `BagQueries` does.
    """

    def follow(stage):
        return None if report is None else lambda done: report(stage, done, len(queries))

    def disturbed():
        for query in queries:
            for disturbance in disturbances:
                query = disturbance(query)
            yield query

    with BagQueries(bag, lhmap, truth, frames, inputs) as queries:
        outcome = run(disturbed(), method, level, report=follow("localize"))
        control = run(disturbed(), method, level, grey=True, report=follow("grey control")) if grey else None
        left_out = queries.left_out
    return {**figures(outcome, control), "left_out": left_out}, outcome


def rows(f: dict) -> list[tuple[str, ...]]:
    """The figures as rows of a table: name, start, result, grey image."""
    grey = "grey_translation_median_m" in f

    def row(name, unit, start, last, control=None):
        return name, *("" if v is None else f"{f[v]:.2f} {unit}" for v in (start, last, control if grey else None))

    median_m, median_deg = "translation_median_m", "rotation_median_deg"
    return [
        row("translation, median", "m", f"start_{median_m}", median_m, f"grey_{median_m}"),
        row("translation, mean", "m", None, "translation_mean_m"),
        row("translation, 90 %", "m", None, "translation_p90_m"),
        row("rotation, median", "°", f"start_{median_deg}", median_deg, f"grey_{median_deg}"),
        row("rotation, mean", "°", None, "rotation_mean_deg"),
        row("rotation, 90 %", "°", None, "rotation_p90_deg"),
        row("forward, median", "m", "start_forward_median_m", "forward_median_m", "grey_forward_median_m"),
        *((f"recall ({m} m, {d}°)", "", f"{100 * f[key]:.0f} %", "") for key, (m, d) in RECALL_LIMITS.items()),
        row("latency, median", "ms", None, "latency_ms_p50"),
    ]
