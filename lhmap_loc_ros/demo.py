# SPDX-License-Identifier: Apache-2.0
"""The whole main path on a street no network has seen: simulate, build, localize over ROS 2, report."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from . import __version__
from .errors import InputError
from .extras import require_ros
from .live import run_live
from .mapping.builder import build_map
from .mapping.config import BuildConfig
from .progress import Report, quiet

STAMP = "made_with.json"


def run_demo(out, seed: int, length: float, report: Report | None = None) -> dict[str, float]:
    """Fills `out` with simulation/, campus.lhmap, metrics.json, report.html, logs/; returns the figures.

    Simulation and map are reused if they were made with the same parameters by the same code. Raises InputError if
    `out` holds something else under these names, LhmapError if a node fails.
    """
    out, report = Path(out), report or quiet
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder for the results")
    require_ros()
    street = simulated(out / "simulation", seed, length, report)
    map_path = built(out / "campus.lhmap", street / "mapping", street / STAMP, report)
    return run_live(
        street / "query", map_path, street / "query.tum", out, seed=seed, report=report,
        title=f"Demo: world {seed}, never seen in training", extra={"seed": seed},
    )  # fmt: skip


def simulated(folder: Path, seed: int, length: float, report: Report) -> Path:
    """The folder of the simulation, made anew unless it is there already."""
    from .datasets.synthetic.simulate import simulate

    code = code_of("datasets", "geometry")
    stamp = json.dumps({"version": __version__, "code": code, "seed": seed, "length_m": length})
    if folder.exists():
        if not (folder / STAMP).is_file():
            raise InputError(f"{folder}: is there and was not made by this demo; move it away")
        if (folder / STAMP).read_text() == stamp:
            return folder
        shutil.rmtree(folder)
    simulate(folder, seed, length, report)
    (folder / STAMP).write_text(stamp)
    return folder


def built(path: Path, bag: Path, made_from: Path, report: Report) -> Path:
    """The map, made anew unless it is there already."""
    config = BuildConfig()
    stamp_file = path.with_name(f"{path.stem}_{STAMP}")
    parameters = {
        # features.py draws the views that heat comes from
        "code": code_of("mapping", "lhmap", "inference", "geometry", "localization/features.py"),
        "heat": model_of(config),
        "config": config.model_dump(mode="json"),
        "bag": json.loads(made_from.read_text()),
    }
    stamp = json.dumps(parameters, indent=1)
    if path.is_file() and stamp_file.is_file() and stamp_file.read_text() == stamp:
        return path
    if path.exists() and not stamp_file.is_file():
        raise InputError(f"{path}: is there and was not made by this demo; move it away")
    # in this order: a map without its stamp is somebody else's
    path.unlink(missing_ok=True)
    stamp_file.unlink(missing_ok=True)
    build_map(bag, path, config, report).close()
    stamp_file.write_text(stamp)
    return path


def model_of(config: BuildConfig) -> str:
    """The digest of the heat network."""
    from .mapping.heat import load_heat_model

    return "" if config.heat_model is None else load_heat_model(config.heat_model).sha256


def code_of(*parts: str) -> str:
    """A digest of the code of some rooms or files: what they made before a change is not reused after it."""
    digest = hashlib.sha256()
    for part in (Path(__file__).parent / part for part in parts):
        for file in [part] if part.is_file() else sorted(part.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
