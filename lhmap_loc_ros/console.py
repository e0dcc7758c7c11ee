# SPDX-License-Identifier: Apache-2.0
"""What the command line shows: progress bars, tables, one-line errors."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from .datasets.left_out import in_words
from .errors import InputError, LhmapError
from .extras import missing

INTERRUPTED = 130

ConfigOption = Annotated[Optional[Path], typer.Option("--config", "-c", help="YAML file of settings.")]  # noqa: UP045
"""An option that many commands have."""
MapOption = Annotated[Path, typer.Option("--map", "-m", help="The map, an .lhmap file.")]
"""Another."""
BagArgument = Annotated[
    Path, typer.Argument(metavar="BAG", help="Bag: a rosbag2 folder (MCAP or sqlite3) or a ROS 1 .bag file.")
]
"""An argument that many commands have."""


def fails_in_one_line(command: Callable) -> Callable:
    """Turns an LhmapError of a command into `error: ...` on stderr and its exit code, Ctrl-C into 130.

    So it does with a package of an extra that is not installed.
    """

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except LhmapError as error:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except ModuleNotFoundError as error:
            if not (line := missing(error)):
                raise
            print(f"error: {line}", file=sys.stderr)
            raise typer.Exit(InputError.exit_code) from None
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


def tell_left_out(counts: dict[str, int]) -> None:
    """What could not be used of an input, on stderr; nothing if all could."""
    if counts:
        print(f"left out: {in_words(counts)}", file=sys.stderr)


def show_logs() -> None:
    """What the networks' backends log, of engines being built for one, goes to stderr, a line each."""
    logger = logging.getLogger("lhmap_loc_ros.inference")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)


class ProgressBars:
    """A context manager; called as ``report(stage, done, total)`` it draws one bar per stage on stderr.

    Where stderr is no terminal, as in a log of CI, each stage is one line when it begins and one when it is done.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:<22}", markup=False), BarColumn(40), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self._console,
        )  # fmt: skip
        self._tasks: dict[str, int] = {}
        self._began: dict[str, float] = {}

    def __enter__(self) -> ProgressBars:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_) -> None:
        if self._console.is_terminal:
            self._progress.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if not self._console.is_terminal:
            self._print_line(stage, done, total)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def _print_line(self, stage: str, done: int, total: int) -> None:
        if stage not in self._began:
            self._began[stage] = time.monotonic()
            print(f"{stage}: {total} ...", file=sys.stderr, flush=True)
        if done >= total and self._began[stage] > 0:
            print(f"{stage}: done in {time.monotonic() - self._began[stage]:.1f} s", file=sys.stderr, flush=True)
            self._began[stage] = 0.0


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout; all columns but the first to the right."""
    table = Table(title=escape(title) or None, title_justify="left", show_header=any(header), box=box.SIMPLE_HEAD)
    for k, name in enumerate(header):
        table.add_column(escape(name), justify="left" if k == 0 else "right", no_wrap=k == 0)
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


def cell(value) -> str:
    """A value for people: lists joined, numbers short, those as of UTM to the millimetre, what is not known empty."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        nested = any(isinstance(part, (list, tuple)) for part in value)
        return (" to " if nested else ", ").join(cell(part) for part in value)
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.3f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
