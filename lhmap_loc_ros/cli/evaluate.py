# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..console import ConfigOption, MapOption, ProgressBars, fails_in_one_line, print_table, tell_left_out
from . import places

USED = {
    "pose": ("level", "method", "model", "disturb", "grey"),
    "place": ("outside",),
    "relocalizers": ("mapping_bag",),
}
"""Options that one WHAT uses and no other."""


@fails_in_one_line
def evaluate(
    context: typer.Context,
    bag: Annotated[Path, typer.Option("--bag", "-b", help="Bag of a run that the map was not built from.")],
    map_path: MapOption,
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="pose: from rough start poses; place: in the whole map, from none; relocalizers: one image, none.",
        ),
    ] = "pose",
    level: Annotated[
        int, typer.Option(help="Start error on each axis: 1: 2 m and 10°, 2: 1 m and 2°, 3: 0.6 m and 2°.")
    ] = 1,
    method: Annotated[str, typer.Option(help="start (no correction), flow, or regress.")] = "flow",
    model: Annotated[Optional[str], typer.Option(help="Networks to use: a name or a path prefix.")] = None,  # noqa: UP045
    truth: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the true poses of base_link; else BAG.tum, else the TF in the bag."),
    ] = None,
    frames: Annotated[str, typer.Option(help="Images by number: all, 60-71, or 0-300/10 for every tenth.")] = "all",
    disturb: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME=STRENGTH", help="Disturb image, map or calibration; may be repeated."),
    ] = None,
    grey: Annotated[bool, typer.Option(help="Repeat with a grey image: shows what the input gives away.")] = True,
    outside: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="BAG", help="place: a bag recorded where the map is not; may be repeated."),
    ] = None,
    mapping_bag: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="BAG", help="relocalizers: compare with local features of its images, too."),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure single images against the truth: start poses wrong by a fixed list, every frame counted.

    No odometry, no filter; the start errors are the same for every method. docs/accuracy.md has the results.
    `lhmap evaluate place` measures finding the place without a start, `lhmap evaluate relocalizers` compares what the
    map has for it: docs/relocalization.md.
    """
    import json

    if what not in ("pose", "place", "relocalizers"):
        from ..errors import InputError

        raise InputError(f"evaluate {what!r} found, expected pose, place or relocalizers")
    _refuse_others(context, what)
    if what == "relocalizers":
        places.evaluate_relocalizers(bag, map_path, truth, frames, mapping_bag, config, as_json)
        return
    if what == "place":
        places.evaluate_place(bag, map_path, truth, frames, outside or [], config, as_json)
        return

    from ..configuration import load
    from ..evaluation.disturb import Disturbance
    from ..evaluation.evaluate import evaluate_bag, rows
    from ..evaluation.methods import EvaluateConfig, make_method
    from ..lhmap import LHMap

    settings = load(EvaluateConfig, config)
    disturbances = tuple(Disturbance.parse(text) for text in disturb or ())
    chosen = make_method(method, model, settings.refiner, settings.plan)
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        figures, _ = evaluate_bag(chosen, lhmap, bag, level, truth, frames, settings.inputs, disturbances, grey, report)
    if as_json:
        typer.echo(json.dumps({"method": method, "level": level, **figures}, indent=2))
        return
    title = f"{method}, level {level}, {figures['frames']} images"
    print_table(title, ["", "start", "result", "grey image"], rows(figures))
    tell_left_out(figures["left_out"])
    if figures.get("grey_leaks"):
        spread = figures["grey_forward_spread"]
        typer.echo(
            "a grey image gains on the start along the viewing direction: the input may give the pose away"
            + ("" if spread is None else f" (errors scatter {spread:.2f} times as far as the start's)")
        )


def _refuse_others(context: typer.Context, what: str) -> None:
    """Raises InputError for options that were given and that `what` does not use."""
    from ..errors import InputError

    others = [name for of, names in USED.items() if of != what for name in names]
    given = [name for name in others if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"{options} found, which evaluate {what} does not use")
