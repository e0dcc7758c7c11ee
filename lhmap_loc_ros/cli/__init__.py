# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap`: one thin function a command; what a command needs is imported inside it."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from ..console import show_logs
from . import (
    bench,
    calibration,
    drives,
    engine,
    evaluate,
    importing,
    learn,
    localize,
    maps,
    movie,
    places,
    train,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build compact LiDAR heat maps and localize a camera in them.\n\n"
    "A first tour: `lhmap simulate`, `lhmap build`, `lhmap localize`. `lhmap demo OUT` does all three, over ROS 2.",
)
_FIRST, _MAPS, _ROBOT, _MEASURE = "First steps", "Maps", "On your robot", "Measure and train"
app.command("simulate", rich_help_panel=_FIRST)(drives.simulate)
app.command("build", rich_help_panel=_FIRST)(maps.build)
app.command("localize", rich_help_panel=_FIRST)(localize.localize)
app.command("demo", rich_help_panel=_FIRST)(localize.demo)
app.command("info", rich_help_panel=_MAPS)(maps.info)
app.command("view", rich_help_panel=_MAPS)(maps.view)
app.command("export", rich_help_panel=_MAPS)(maps.export_map)
app.add_typer(importing.importing, name="import", rich_help_panel=_MAPS)
app.command("places", rich_help_panel=_MAPS)(places.places)
app.command("learn", rich_help_panel=_MAPS)(learn.learn)
app.command("check", rich_help_panel=_ROBOT)(calibration.check)
app.command("calibrate", rich_help_panel=_ROBOT)(calibration.calibrate)
app.command("play", rich_help_panel=_ROBOT)(drives.play)
app.add_typer(engine.engine, name="engine", rich_help_panel=_ROBOT)
app.command("evaluate", rich_help_panel=_MEASURE)(evaluate.evaluate)
app.command("movie", rich_help_panel=_MEASURE)(movie.movie)
app.add_typer(bench.benching, name="bench", rich_help_panel=_MEASURE)
app.command("train", rich_help_panel=_MEASURE)(train.train)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lhmap {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]
    = False,
) -> None:  # fmt: skip
    """Options before the command."""


def main() -> None:
    """Entry point of the command."""
    show_logs()
    app(prog_name="lhmap")
