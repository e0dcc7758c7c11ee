# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap movie`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import BagArgument, ConfigOption, MapOption, ProgressBars, fails_in_one_line


@fails_in_one_line
def movie(
    bag: BagArgument,
    map_path: MapOption,
    poses: Annotated[Path, typer.Option(help="poses.tum of the run: what localizing the bag wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The moving picture to write, .webp or .gif.")],
    begin: Annotated[float, typer.Option(min=0, help="Seconds after the first pose.")] = 0.0,
    length: Annotated[float, typer.Option(min=0.1, help="Seconds of the run.")] = 12.0,
    rate: Annotated[float, typer.Option(min=0.1, help="Speed; 2 shows it twice as fast as it was driven.")] = 1.0,
    config: ConfigOption = None,
) -> None:
    """Make a moving picture of a run: the map over the images, and the way driven from above."""
    from ..configuration import load
    from ..evaluation.movie import write_movie
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig
    from ..outputs import check_file

    check_file(out)
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        inputs = load(LocalizeConfig, config).inputs
        frames = write_movie(bag, lhmap, poses, out, begin, length, rate, inputs, report)
    typer.echo(f"{out}: {frames} frames, {out.stat().st_size / 1e6:.2f} MB")
