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
    "A first tour: `lhmap demo OUT` simulates a street, maps it and localizes a camera in it over ROS 2.",
)
app.add_typer(importing.importing, name="import")
app.add_typer(engine.engine, name="engine")
app.add_typer(bench.benching, name="bench")
app.command("places")(places.places)
app.command("learn")(learn.learn)
app.command("movie")(movie.movie)
app.command("simulate")(drives.simulate)
app.command("build")(maps.build)
app.command("info")(maps.info)
app.command("export")(maps.export_map)
app.command("view")(maps.view)
app.command("check")(calibration.check)
app.command("calibrate")(calibration.calibrate)
app.command("localize")(localize.localize)
app.command("evaluate")(evaluate.evaluate)
app.command("play")(drives.play)
app.command("demo")(localize.demo)
app.command("train")(train.train)


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
