# SPDX-License-Identifier: Apache-2.0
"""The commands that localize a drive: `lhmap localize` and `lhmap demo`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..console import BagArgument, ConfigOption, MapOption, ProgressBars, fails_in_one_line, print_table, tell_left_out

if TYPE_CHECKING:
    from ..localization.offline import LocalizeConfig
    from ..localization.start import StartPose


@fails_in_one_line
def localize(
    bag: BagArgument,
    map_path: MapOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    init: Annotated[
        Optional[tuple[float, float, float, float]],  # noqa: UP045
        typer.Option(help="Start pose of base_link: x y z [m] and yaw [deg] in the map.", metavar="X Y Z YAW"),
    ] = None,
    init_tum: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Start near the pose that this TUM file has for the first image: 1 m and 3° beside it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Direction of the start error beside a TUM file.")] = 0,
    truth: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the true poses: adds metrics.json and report.html."),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Run the ROS 2 node on the played bag instead.")] = False,
    config: ConfigOption = None,
) -> None:
    """Localize the images of a bag in a map; writes poses.tum, poses.csv and config.yaml.

    Without a start pose the place is recognised in the whole map, and believed once image and map agree; images before
    that have no pose. After it there is one for every image, also where the track was lost: poses.csv has the states.

    Without --live there is no ROS involved and the same bag gives the same poses. With --live the bag is played
    over DDS at its own speed to a localizer_node, and what it publishes is recorded (needs --truth, near which it
    starts, unless told where, in a map without places and learned coordinates).
    """
    from ..configuration import load
    from ..datasets.tum import read_tum
    from ..lhmap import LHMap
    from ..localization.offline import LocalizeConfig, localize_bag, write_run
    from ..outputs import check_folder

    check_folder(out)
    settings, true_poses = load(LocalizeConfig, config), None if truth is None else read_tum(truth)
    if live:
        _localize_live(bag, map_path, out, init, init_tum, truth, seed, settings)
        return
    with LHMap.open(map_path) as lhmap:
        with ProgressBars() as report:
            start = None if init is None and init_tum is None else _start(init, init_tum, seed)
            record = localize_bag(bag, lhmap, start, settings, report)
        write_run(out, record, settings)
        if true_poses is not None:
            from ..evaluation.results import evaluate

            _print_summary(evaluate(record, true_poses, bag, lhmap, out, "Localization", settings.inputs), out)
    states = ", ".join(f"{state} {count}" for state, count in Counter(record.states.tolist()).most_common())
    before = f"; {record.searched} images before the first did not tell the place" if record.searched else ""
    typer.echo(f"{out}: {len(record)} poses, {record.accepted.mean():.0%} of their images used; {states}{before}")
    tell_left_out(record.left_out)
    if "TRACKING" not in record.states:
        typer.echo("it never tracked: is it the map of this place, and the right start?", err=True)


def _start(
    init: tuple[float, float, float, float] | None, init_tum: Path | None, seed: int
) -> StartPose | Callable[[int], StartPose]:  # fmt: skip
    """What `localize_bag` takes as start."""
    from ..datasets.tum import read_tum
    from ..errors import InputError
    from ..localization.start import given, near_truth

    if (init is None) == (init_tum is None):
        raise InputError("two start poses found, expected one of --init X Y Z YAW and --init-tum FILE")
    if init is not None:
        return given(init)
    assert init_tum is not None  # it is one of the two
    trajectory = read_tum(init_tum)
    return lambda stamp_ns: near_truth(trajectory, stamp_ns, seed)


def _localize_live(
    bag: Path, map_path: Path, out: Path, init: tuple[float, float, float, float] | None, init_tum: Path | None,
    truth: Path | None, seed: int, settings: LocalizeConfig,
) -> None:  # fmt: skip
    from ..errors import InputError

    if truth is None:
        raise InputError("--live needs --truth FILE, which the result is compared with")
    told = init is not None or init_tum is not None
    start = _start(init, init_tum, seed) if told else None
    from ..lhmap import LHMap
    from ..live import run_live
    from ..places.start_search import StartSearch

    with LHMap.open(map_path) as lhmap:
        anywhere = not told and StartSearch.possible_in(lhmap, settings.relocalizer)
    with ProgressBars() as report:
        summary = run_live(bag, map_path, truth, out, start, seed, settings, report, anywhere=anywhere)
    _print_summary(summary, out)


@fails_in_one_line
def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for all results; what is there from an equal run is reused.")
    ],
    seed: Annotated[int, typer.Option(help="Number of the world; the default was kept out of all training.")] = 7777,
    length: Annotated[float, typer.Option(help="Distance driven in each run [m].")] = 320.0,
) -> None:
    """The whole path: simulate a street, map it, localize a camera in it over ROS 2, report."""
    from ..demo import run_demo

    with ProgressBars() as report:
        summary = run_demo(out, seed, length, report)
    _print_summary(summary, out)


def _print_summary(summary: dict[str, float], out: Path) -> None:
    from ..evaluation.report import rows

    print_table("", ["", "localized in the map", "odometry alone"], rows(summary))
    typer.echo(f"report: {out / 'report.html'}")
