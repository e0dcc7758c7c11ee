# SPDX-License-Identifier: Apache-2.0
"""Finding the place of images of a bag in a whole map, measured against the truth; every chosen image counts.

Each chosen image begins a trial: it is localized alone, and where that says nothing, the images after it go on, with
the bag's odometry, until the search has looked at ten.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..datasets.bag import BagReader
from ..datasets.frames import frame_numbers
from ..errors import InputError
from ..geometry import front_view, pose_error
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera
from ..localization.inputs import BagInputs, images, one_camera, read_odometry, read_setup
from ..localization.refine import Refiner
from ..places.build import describe_map
from ..places.database import PlaceDatabase, wrapped
from ..places.describer import Describer
from ..places.locate import CANDIDATES, PlaceFinder
from ..places.start_search import StartSearch
from ..progress import quiet
from .check import known_poses
from .metrics import pose_at
from .place_baseline import PlainDescriber

IMAGES = 10
"""So many images a trial looks at."""
SUCCESS = 0.5, 5.0
"""A pose this near to the truth is right [m, deg]."""
WRONG = 2.0, 10.0
"""One further from it was believed at a wrong place [m, deg]."""
SAME_HEADING_DEG = 45.0
"""A candidate turned by more does not show what the image does."""
RANKS, RADII_M = (1, 5, CANDIDATES), (5, 20)


@dataclass
class Trial:
    """What came of an image and those after it."""

    number: int
    """Of the image in its bag."""
    candidates: np.ndarray
    """(N, 2): distance [m] and turn [deg] of the best candidates from the truth; NaN for images from elsewhere."""
    plain: np.ndarray | None
    """The same of the baseline without learning."""
    search: StartSearch
    seconds: list[float] = field(default_factory=list)
    """Of each look."""
    errors: tuple[float, float] | None = None
    """Of the answer [m, deg], infinite for images from elsewhere; None while there is none."""
    images: int = 0
    """Looked at until the answer."""

    @property
    def over(self) -> bool:
        """Nothing more is to be looked at."""
        return self.errors is not None or self.images >= IMAGES

    def right(self, images: int) -> bool:
        """The answer came within so many images, and is right."""
        return self.errors is not None and self.images <= images and _within(self.errors, SUCCESS)

    def wrong(self, images: int) -> bool:
        """An answer came within so many images, of a wrong place."""
        return self.errors is not None and self.images <= images and not _within(self.errors, WRONG)


def evaluate_places(
    lhmap: LHMap, bag, refiner: Refiner, describer: Describer, truth=None, frames: str = "all",
    inputs: BagInputs | None = None, outside: Sequence = (), baseline: bool = True, report=None,
) -> dict:  # fmt: skip
    """The figures of finding places, see docs/relocalization.md for their names; `report(stage, done, total)` follows.

    `truth` is a TUM file of base_link in the map, else ``<bag>.tum``, else the TF in the bag. Images of the bags
    `outside` were taken where the map is not. Raises InputError and BagError for what cannot be used.
    """
    inputs, report = one_camera(inputs or BagInputs(), "lhmap evaluate place"), report or quiet
    finder = PlaceFinder(lhmap, refiner, describer)
    plain = describe_map(lhmap, PlainDescriber(), lambda _, *done: report("baseline", *done)) if baseline else None
    inside = list(_trials(bag, lhmap, finder, plain, frames, inputs, report, truth))
    elsewhere = [
        trial for other in outside for trial in _trials(other, None, finder, None, frames, inputs, report)
    ]  # fmt: skip
    return figures(inside, elsewhere, finder.database, plain is not None)


def _trials(bag, lhmap, finder: PlaceFinder, plain, frames, inputs, report, truth=None) -> Iterator[Trial]:
    """The trials of a bag; `lhmap` None: it was recorded elsewhere."""
    with BagReader(bag) as reader:
        setup, odometry = read_setup(reader, inputs), read_odometry(reader, inputs)
        camera = PosedCamera(setup.camera, setup.T_base_camera)
        numbers, known = frame_numbers(frames, reader.count(inputs.image)), None
        if lhmap is not None:
            if reader.path.resolve().name in lhmap.metadata.sources:
                raise InputError(f"{lhmap.path} was built from {reader.path.name}: its own images prove nothing")
            known = known_poses(reader, truth, lhmap.metadata.frame, inputs.base_frame, inputs.tf_static)
        stage, running, done = "places" if lhmap is not None else "elsewhere", [], 0
        for number, (stamp_ns, image) in enumerate(images(reader, inputs, setup)):
            pose = None
            if known is not None:
                pose = pose_at(known, stamp_ns)
                if number in numbers and pose is None:
                    raise InputError(f"{reader.path}: the truth does not cover image {number}; every frame counts")
            if number in numbers:
                running.append(_begun(number, image, camera, finder, plain, pose))
            T_odom_base = None
            if odometry is not None and odometry.covers(stamp_ns):
                T_odom_base = odometry.at(stamp_ns)
            for trial in running:
                _look(trial, stamp_ns, image, camera, T_odom_base, pose)
            ended = [trial for trial in running if trial.over]
            running = [trial for trial in running if not trial.over]
            done += len(ended)
            report(stage, done, len(numbers))
            yield from ended
            if number >= numbers[-1] and not running:
                return
        # where the bag ends, those that go on know no more
        report(stage, len(numbers), len(numbers))
        yield from running


def _begun(number: int, image, camera, finder: PlaceFinder, plain, truth) -> Trial:
    """A trial that has seen nothing yet."""
    descriptor = finder.descriptor(image, camera)
    candidates = candidate_errors(finder.database, descriptor, camera, truth)
    others = None
    if plain is not None:
        front, view = camera.front, front_view(image, camera.camera)
        descriptor = PlainDescriber().image(view.image, front.camera, front.T_base_camera)
        others = candidate_errors(plain, descriptor, camera, truth)
    return Trial(number, candidates, others, StartSearch(finder))


def candidate_errors(database: PlaceDatabase, descriptor: np.ndarray, camera: PosedCamera, truth) -> np.ndarray:
    """Distances [m] in the plane and turns [deg] (N, 2) of the best candidates from the truth."""
    peaks = database.peaks(database.scores(descriptor), max(RANKS))
    if truth is None:
        return np.full((len(peaks), 2), np.nan)
    poses = np.array([database.base_pose(peak, camera.front.T_base_camera) for peak in peaks])
    yaw = np.arctan2(poses[:, 1, 0], poses[:, 0, 0]) - np.arctan2(truth[1, 0], truth[0, 0])
    metres = np.linalg.norm(poses[:, :2, 3] - truth[:2, 3], axis=1)
    return np.column_stack([metres, np.degrees(np.abs(wrapped(yaw)))])


def _look(trial: Trial, stamp_ns: int, image, camera, T_odom_base, truth) -> None:
    """Lets a trial see one more image, if that shows it anything new."""
    began, before = time.perf_counter(), trial.search.images
    found = trial.search.find(stamp_ns, image, camera, T_odom_base)
    if trial.search.images == before:
        return
    trial.images += 1
    trial.seconds.append(time.perf_counter() - began)
    if found is not None:
        trial.errors = (np.inf, np.inf) if truth is None else pose_error(found.T_map_base, truth)


def _within(errors: tuple[float, float], limits: tuple[float, float]) -> bool:
    return errors[0] <= limits[0] and errors[1] <= limits[1]


def figures(inside: list[Trial], outside: list[Trial], database: PlaceDatabase, plain: bool) -> dict:
    """All figures of some trials."""
    if not inside:
        raise InputError("no image to evaluate")
    every = [*inside, *outside]
    seconds = np.concatenate([trial.seconds for trial in every])
    answers = [trial.errors for trial in inside if trial.errors is not None]
    out = {
        "images": len(inside),
        "images_outside": len(outside),
        **recalls([trial.candidates for trial in inside]),
        "success_rate": _share(trial.right(1) for trial in inside),
        "success_rate_5": _share(trial.right(5) for trial in inside),
        "success_rate_10": _share(trial.right(10) for trial in inside),
        "false_accept_rate": _share(trial.wrong(1) for trial in every),
        "false_accept_rate_10": _share(trial.wrong(10) for trial in every),
        "false_accepts_inside_10": sum(trial.wrong(10) for trial in inside),
        "false_accepts_outside_10": sum(trial.wrong(10) for trial in outside),
        "answer_median_m": float(np.median([m for m, _ in answers])) if answers else None,
        "answer_median_deg": float(np.median([d for _, d in answers])) if answers else None,
        "seconds_p50": float(np.percentile(seconds, 50)),
        "seconds_p99": float(np.percentile(seconds, 99)),
        "places": len(database),
        "chance": chance(inside, database),
    }
    if plain:
        out["baseline"] = recalls([trial.plain for trial in inside if trial.plain is not None])
    return out


def recalls(candidates: list[np.ndarray]) -> dict[str, float]:
    """How often one of the best k candidates (N, 2) is near the truth and looks the same way, or any."""
    out = {}
    for k in RANKS:
        for radius in RADII_M:
            near = [c[:k, 0] <= radius for c in candidates]
            same = [c[:k, 1] <= SAME_HEADING_DEG for c in candidates]
            out[f"recall_at_{k}_{radius}m"] = _share((a & b).any() for a, b in zip(near, same, strict=True))
            out[f"recall_at_{k}_{radius}m_any_heading"] = _share(a.any() for a in near)
    return out


def chance(inside: list[Trial], database: PlaceDatabase) -> dict[str, float]:
    """The recall of views drawn at random, with all headings equally likely."""
    out = {}
    length = max(len(database), 1) * database.spacing_m
    for k in RANKS:
        for radius in RADII_M:
            # so much of the path is within the radius, and so many headings are the same
            one = min(1.0, 2 * radius / length) * min(1.0, 2 * SAME_HEADING_DEG / 360)
            out[f"recall_at_{k}_{radius}m"] = float(1 - (1 - one) ** k)
    return out


def _share(flags) -> float:
    flags = list(flags)
    return float(np.mean(flags)) if flags else 0.0


def rows(f: dict) -> list[tuple[str, ...]]:
    """The figures as rows of a table: name, result, baseline, chance."""

    def cells(key: str) -> list[str]:
        parts = (f, f.get("baseline", {}), f["chance"])
        return [f"{100 * part[key]:.0f} %" if key in part else "" for part in parts]

    keys = [f"recall_at_{k}_{r}m{end}" for k in RANKS for r in RADII_M for end in ("", "_any_heading")]
    recall = [(key.replace("_", " "), *cells(key)) for key in keys]
    rates = ("success_rate", "success_rate_5", "success_rate_10", "false_accept_rate", "false_accept_rate_10")
    others = [(name.replace("_", " "), f"{100 * f[name]:.1f} %", "", "") for name in rates]
    seconds = [(name.replace("_", " "), f"{f[name]:.2f} s", "", "") for name in ("seconds_p50", "seconds_p99")]
    return recall + others + seconds
