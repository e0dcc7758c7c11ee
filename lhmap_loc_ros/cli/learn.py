# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap learn`: a relocalizer learned from the images of the bag that a map was built from."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Optional

import typer

from ..console import ConfigOption, ProgressBars, fails_in_one_line


@fails_in_one_line
def learn(
    bag: Annotated[Path, typer.Argument(metavar="MAPPING_BAG", help="Bag with images, best the one that was mapped.")],
    map_path: Annotated[Path, typer.Option("--map", "-m", help="The map, an .lhmap file: what was learned is added.")],
    method: Annotated[
        str, typer.Option(help="coordinates, constraints, codes or regression: docs/relocalization.md compares them.")
    ] = "coordinates",
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the poses of base_link in the map; else BAG.tum, else the TF in the bag."),
    ] = None,
    spacing: Annotated[float, typer.Option(min=0.0, help="An image is taken every so many metres.")] = 1.0,
    frames: Annotated[str, typer.Option(help="Images by number: all, 60-71, or 0-300/10 for every tenth.")] = "all",
    work: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder to keep features and finished heads in; if not set, MAP.learn."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Learn what places look like from a mapping run's own images, for a robot without a start pose.

    The map tells where each pixel lies. What was learned of the method before is replaced; the file changes whole or
    not at all. An interrupted run goes on where it was: run it again. Takes minutes; needs the extra `train`.
    """
    from ..configuration import load
    from ..errors import InputError
    from ..lhmap import LHMap
    from ..lhmap.writer import write_with_section
    from ..localization.offline import LocalizeConfig
    from ..scenes.section import METHODS

    if method not in METHODS:
        raise InputError(f"method {method!r} found, expected one of {', '.join(METHODS)}")
    from ..training.scene import learn as learn_heads
    from ..training.scene_codes import learn_codes
    from ..training.scene_material import gather

    run, began = learn_codes if method == "codes" else learn_heads, time.monotonic()
    folder = work or map_path.with_suffix(".learn")
    inputs = load(LocalizeConfig, config).inputs
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        material = gather(bag, lhmap, folder, poses, frames, spacing, inputs, report=report)
        section = run(material, method, lhmap, folder, report).to_section()
        write_with_section(lhmap, map_path, section)
    typer.echo(
        f"{map_path}: {method} learned from {len(material.features)} images in {time.monotonic() - began:.0f} s, "
        f"{len(section.data) / 1000:.0f} kB"
    )
