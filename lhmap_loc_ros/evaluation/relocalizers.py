# SPDX-License-Identifier: Apache-2.0
"""What finds a place from one image without a start, side by side: before and after verification in the LiDAR map.

The images, the map and the verification are the same for all; every chosen image counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..errors import InputError
from ..geometry import distance_along, inverse, pose_error
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera
from ..localization.inputs import BagInputs
from ..localization.refine import Refiner
from ..localization.relocalize import PoseHypothesis
from ..places.database import SECTION
from ..places.locate import CANDIDATES, CROP_RADIUS_M, PlaceFinder
from ..places.verify import Verifier
from ..progress import quiet
from ..scenes.locate import START_COVARIANCE, Proposal, SceneFinder, believed, different
from ..scenes.section import METHODS
from .bag_queries import BagQueries
from .metrics import RECALL_LIMITS
from .place import WRONG

LIMITS = tuple(RECALL_LIMITS.values())
"""Within these a pose counts as found [m, deg]."""


class Proposer(Protocol):
    """Tells where an image may have been taken."""

    stored_bytes: int
    """What it needs besides the LiDAR map itself."""

    def propose(self, image: np.ndarray, camera: PosedCamera) -> list[Proposal]:
        """Poses of the robot, the best first."""


@dataclass
class Outcome:
    """Of one method on all images."""

    stored_bytes: int
    proposed: list[tuple[float, float]] = field(default_factory=list)
    """Errors [m, deg] of the first candidates; infinite where there is none."""
    verified: list[tuple[float, float] | None] = field(default_factory=list)
    """Errors [m, deg] of what was believed; None where nothing was."""
    proposing_s: list[float] = field(default_factory=list)
    verifying_s: list[float] = field(default_factory=list)


class _Stored:
    """A finder of the package, and the size of its section."""

    def __init__(self, propose: Callable[[np.ndarray, PosedCamera], list[Proposal]], lhmap: LHMap, section: str):
        self.propose = propose
        self.stored_bytes = next(s.bytes for s in lhmap.metadata.sections if s.name == section)


def unsolved(poses: Sequence[np.ndarray]) -> list[Proposal]:
    """Poses (4, 4) T_map_base that were recognised alone."""
    return [Proposal(PoseHypothesis(pose, START_COVARIANCE)) for pose in poses]


def proposers(lhmap: LHMap, refiner: Refiner) -> dict[str, Proposer]:
    """All that the map has, by their names."""
    out: dict[str, Proposer] = {}
    if lhmap.has_section(SECTION):
        from ..places.describe import PlaceDescriber

        finder = PlaceFinder(lhmap, refiner, PlaceDescriber())
        out["places"] = _Stored(lambda *seen: unsolved(finder.candidates(*seen)), lhmap, SECTION)
    for method in METHODS:
        if lhmap.has_section(method):
            out[method] = _Stored(SceneFinder(lhmap, refiner, method).propose, lhmap, method)
    return out


def compare(
    lhmap: LHMap, bag, refiner: Refiner, methods: dict[str, Proposer], truth=None, frames: str = "all",
    inputs: BagInputs | None = None, report=None,
) -> dict:  # fmt: skip
    """Figures of each method; `report(stage, done, total)` follows. Arguments as those of `BagQueries`.

    Raises InputError where there is no method, and what `BagQueries` raises.
    """
    if not methods:
        raise InputError(f"{lhmap.path}: has neither places nor anything learned, expected lhmap places or lhmap learn")
    report = report or quiet
    verifier = Verifier(lhmap, refiner, CROP_RADIUS_M)
    outcomes = {name: Outcome(method.stored_bytes) for name, method in methods.items()}
    with BagQueries(bag, lhmap, truth, frames, inputs) as queries:
        for number, (query, camera) in enumerate(_posed(queries)):
            true = query.T_map_camera @ inverse(camera.T_base_camera)
            for name, method in methods.items():
                _try(outcomes[name], method, verifier, query.image, camera, true)
            report("relocalizers", number + 1, len(queries))
    path = lhmap.metadata.path
    length_km = float(distance_along(path[:, :3])[-1]) / 1000 if len(path) else 0.0
    return {
        "images": len(next(iter(outcomes.values())).proposed),
        "methods": {name: figures(outcome, length_km) for name, outcome in outcomes.items()},
    }


def _posed(queries: BagQueries):
    """Queries, and their cameras on the robot."""
    for query, T_base_camera in queries.with_mounting():
        yield query, PosedCamera(query.camera, T_base_camera)


def _try(outcome: Outcome, method: Proposer, verifier: Verifier, image, camera: PosedCamera, true) -> None:
    began = time.perf_counter()
    proposals = method.propose(image, camera)
    proposed = time.perf_counter()
    verdict = verifier.best(image, camera, different(proposals)[:CANDIDATES])
    outcome.proposing_s.append(proposed - began)
    outcome.verifying_s.append(time.perf_counter() - proposed)
    outcome.proposed.append(pose_error(proposals[0].place.T_map_base, true) if proposals else (np.inf, np.inf))
    found = verdict.place.T_map_base if verdict is not None and believed(verdict, proposals) else None
    outcome.verified.append(None if found is None else pose_error(found, true))


def figures(outcome: Outcome, length_km: float) -> dict:
    """Those of one method; None: `kb_per_km` of a map whose path has no length, and medians where most are without."""
    proposed = np.array(outcome.proposed)
    answers = [errors for errors in outcome.verified if errors is not None]
    verified = np.array([errors or (np.inf, np.inf) for errors in outcome.verified])
    return {
        "median_m": _finite(np.median(proposed[:, 0])), "median_deg": _finite(np.median(proposed[:, 1])),
        "recall": [_recall(proposed, limit) for limit in LIMITS],
        "verified_median_m": float(np.median([m for m, _ in answers])) if answers else None,
        "verified_median_deg": float(np.median([d for _, d in answers])) if answers else None,
        "verified_recall": [_recall(verified, limit) for limit in LIMITS],
        "believed": len(answers) / len(proposed),
        "wrong": sum(m > WRONG[0] or d > WRONG[1] for m, d in answers) / len(proposed),
        "kb_per_km": outcome.stored_bytes / 1000 / length_km if length_km > 0 else None,
        "ms": 1e3 * float(np.median(outcome.proposing_s)),
        "verifying_ms": 1e3 * float(np.median(outcome.verifying_s)),
    }  # fmt: skip


def _finite(value) -> float | None:
    """JSON knows no infinity."""
    return float(value) if np.isfinite(value) else None


def _recall(errors: np.ndarray, limit: tuple[float, float]) -> float:
    return float(((errors[:, 0] <= limit[0]) & (errors[:, 1] <= limit[1])).mean())


COLUMNS: Sequence[str] = (
    "", "median", "recall", "verified", "recall", "wrong", "kB/km", "ms", "verifying",
)  # fmt: skip


def rows(found: dict) -> list[tuple[str, ...]]:
    """A row for each method, see COLUMNS; recalls at LIMITS."""
    out: list[tuple[str, ...]] = []
    for name, f in found["methods"].items():
        proposed = _error(f["median_m"], f["median_deg"])
        verified = _error(f["verified_median_m"], f["verified_median_deg"])
        size = "" if f["kb_per_km"] is None else f"{f['kb_per_km']:.0f}"
        out.append((
            name, proposed, _percents(f["recall"]), verified,
            _percents(f["verified_recall"]), f"{100 * f['wrong']:.0f} %", size, f"{f['ms']:.0f}",
            f"{f['verifying_ms']:.0f}",
        ))  # fmt: skip
    return out


def _error(metres: float | None, degrees: float | None) -> str:
    return "" if metres is None else f"{metres:.2f} m {degrees:.1f} deg"


def _percents(shares: list[float]) -> str:
    return " / ".join(f"{100 * share:.0f}" for share in shares) + " %"
