# SPDX-License-Identifier: Apache-2.0
"""The commands that tell whether calibration, poses and map agree: `lhmap check` and `lhmap calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..console import BagArgument, ConfigOption, MapOption, ProgressBars, fails_in_one_line, print_table, tell_left_out


@fails_in_one_line
def check(
    bag: BagArgument,
    map_path: MapOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, .png or .jpg.")],
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the poses of base_link in the map; else BAG.tum, else the TF in the bag."),
    ] = None,
    frame: Annotated[int, typer.Option(help="Number of the image in the bag, from 0.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Draw the map over a camera image at its known pose: tells at once if calibration, poses and map agree."""
    from ..configuration import load
    from ..evaluation.check import check as run
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig

    with LHMap.open(map_path) as lhmap:
        seen = run(bag, lhmap, out, frame, poses, load(LocalizeConfig, config).inputs)
    where = f"({seen['x']:.1f}, {seen['y']:.1f}, {seen['z']:.1f}) m"
    typer.echo(f"{out}: image {frame}, camera at {where}, {seen['points']} map points around")
    tell_left_out(seen["left_out"])


@fails_in_one_line
def calibrate(
    bag: BagArgument,
    map_path: MapOption,
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the poses of base_link in the map; else BAG.tum, else the TF in the bag."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Folder for calibration.json and pictures of before and after."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Tell over a drive with known poses how the camera is really turned on the robot, and whether stamps are off.

    It looks in two ways that know nothing of each other: by the networks' matches, and by the mutual information of
    LiDAR intensity and image brightness. It changes nothing: it prints the transform to use.
    """
    from ..configuration import load
    from ..evaluation.calibration.calibrate import calibrate as run
    from ..evaluation.calibration.calibrate import write
    from ..evaluation.calibration.told import HEADER, lines, rows
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig
    from ..outputs import check_folder

    if out is not None:
        check_folder(out)
    settings = load(LocalizeConfig, config)
    with LHMap.open(map_path) as lhmap:
        with ProgressBars() as report:
            found = run(bag, lhmap, poses, settings.inputs, settings.refiner, report)
        if out is not None:
            write(found, lhmap, out)
    print_table("turn the camera about its own axes by (degrees, ± standard deviation):", HEADER, rows(found))
    for line in lines(found):
        typer.echo(line)
