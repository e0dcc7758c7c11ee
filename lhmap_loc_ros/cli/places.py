# SPDX-License-Identifier: Apache-2.0
"""The commands about places: `lhmap places`, `lhmap evaluate place` and `lhmap evaluate relocalizers`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import ProgressBars, fails_in_one_line, print_table

if TYPE_CHECKING:
    from ..evaluation.local_features import LocalFeatures
    from ..lhmap import LHMap
    from ..localization.inputs import BagInputs


@fails_in_one_line
def places(map_path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")]) -> None:
    """Add to a map what its places look like, so that a robot finds itself in it without a start pose.

    The map alone tells; what it held of places before is replaced. The file changes whole or not at all.
    """
    from ..lhmap import LHMap
    from ..places.build import add_places
    from ..places.describe import PlaceDescriber

    describer = PlaceDescriber()
    with ProgressBars() as report:
        database = add_places(map_path, describer, report)
    with LHMap.open(map_path) as lhmap:
        size = next(section.bytes for section in lhmap.metadata.sections if section.name == "places")
    typer.echo(f"{map_path}: {len(database)} places with {database.headings} headings each, {size / 1000:.0f} kB")


def evaluate_place(
    bag: Path, map_path: Path, truth: Path | None, frames: str, outside: Sequence[Path], config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """`lhmap evaluate place`."""
    from ..configuration import load
    from ..evaluation.place import evaluate_places, rows
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig
    from ..localization.refine import Refiner
    from ..places.describe import PlaceDescriber

    settings = load(LocalizeConfig, config)
    refiner, describer = Refiner(settings.refiner), PlaceDescriber()
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        figures = evaluate_places(
            lhmap, bag, refiner, describer, truth, frames, settings.inputs, outside, report=report
        )
    if as_json:
        typer.echo(json.dumps(figures, indent=2))
        return
    title = f"{figures['images']} images in the map, {figures['images_outside']} from elsewhere"
    print_table(title, ["", "result", "without learning", "chance"], rows(figures))


def evaluate_relocalizers(
    bag: Path, map_path: Path, truth: Path | None, frames: str, mapping_bag: Path | None, config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """`lhmap evaluate relocalizers`."""
    from ..configuration import load
    from ..evaluation.relocalizers import COLUMNS, LIMITS, compare, proposers, rows
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig
    from ..localization.refine import Refiner

    settings = load(LocalizeConfig, config)
    refiner = Refiner(settings.refiner)
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        methods = proposers(lhmap, refiner)
        if mapping_bag is not None:
            methods["local features"] = _local_features(lhmap, mapping_bag, settings.inputs, report)
        found = compare(lhmap, bag, refiner, methods, truth, frames, settings.inputs, report)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    within = ", ".join(f"({m:g} m, {d:g} deg)" for m, d in LIMITS)
    print_table(f"{found['images']} images; recall at {within}", list(COLUMNS), rows(found))


def _local_features(lhmap: LHMap, mapping_bag: Path, inputs: BagInputs, report: ProgressBars) -> LocalFeatures:
    from ..datasets.bag import BagReader
    from ..evaluation.local_features import LocalFeatures
    from ..localization.inputs import read_setup
    from ..scenes.encoder import SceneEncoder, view_camera

    with BagReader(mapping_bag) as reader:
        view = view_camera(read_setup(reader, inputs).camera)
    return LocalFeatures(lhmap, mapping_bag, SceneEncoder(view), inputs, report)
