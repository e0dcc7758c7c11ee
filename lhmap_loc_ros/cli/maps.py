# SPDX-License-Identifier: Apache-2.0
"""The commands about maps: `lhmap build`, `lhmap info`, `lhmap export` and `lhmap view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..console import ConfigOption, ProgressBars, cell, fails_in_one_line, print_table


@fails_in_one_line
def build(
    bags: Annotated[
        list[Path], typer.Argument(metavar="BAG...", help="Bags with scans; several need poses in one map frame.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The map to write, e.g. campus.lhmap.")],
    config: ConfigOption = None,
    poses: Annotated[Optional[Path], typer.Option(help="TUM or KITTI file of the poses of base_link.")] = None,  # noqa: UP045
    voxel: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Edge of a voxel [m]; 0.1 by default, 0.15 for a budget below 2."),
    ] = None,
    budget: Annotated[Optional[float], typer.Option(help="Size of the map [MB per km driven].")] = None,  # noqa: UP045
    work: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder to keep the results of stages in: another bag then costs only the tiles it touches."),
    ] = None,
    scheduler: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, e.g. tcp://host:8786, whose workers see this disk."),
    ] = None,
    places: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--places/--no-places", help="Store descriptors of places, to localize without a start pose."),
    ] = None,
) -> None:
    """Build a map from LiDAR scans: accumulate, remove moving objects, score points, select the best under a budget.

    Poses come from --poses, else from the TF or odometry in the bag, else kiss-icp computes them. An interrupted build
    is resumed when it is run again. The settings of --config are listed in docs/map-format.md.
    """
    from ..configuration import read_yaml, validate
    from ..mapping.builder import build_map
    from ..mapping.config import BuildConfig
    from ..memory import give_back_large_arrays

    give_back_large_arrays()
    source = None if poses is None else str(poses)
    asked = {"poses": source, "voxel_m": voxel, "budget_mb_per_km": budget, "places": places}
    values = {**(read_yaml(config) if config else {}), **{k: v for k, v in asked.items() if v is not None}}
    with ProgressBars() as report:
        lhmap = build_map(bags, out, validate(BuildConfig, values, str(config or "options")), report, work, scheduler)
    facts = lhmap.info()
    size = f"{facts['points']} points, {facts['bytes'] / 1e6:.2f} MB, {facts['path_length_m']:.0f} m driven"
    typer.echo(f"{out}: {size}, poses by {facts['build']['poses']}")


@fails_in_one_line
def info(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a map: frame, extent, size, how it was built."""
    import json

    from ..lhmap import LHMap

    with LHMap.open(path) as lhmap:
        facts = lhmap.info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    build = facts.pop("build")
    rows = [(name.replace("_", " "), cell(value)) for name, value in facts.items()]
    print_table("", ["", ""], [*rows, ("poses by", cell(build.get("poses")))])
    typer.echo("--json tells all about how it was built; lhmap view shows the map")


@fails_in_one_line
def export_map(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="NAME.ply, .pcd, .las or .laz; without suffix a folder of PCD tiles.")
    ],
    around_origin: Annotated[
        bool, typer.Option("--around-origin", help="Coordinates relative to the map's origin, for float32 formats.")
    ] = False,
) -> None:
    """Write the points of a map for CloudCompare, QGIS or Autoware, with intensity and heat."""
    from ..lhmap import LHMap
    from ..mapping.from_cloud import cloud_from_map

    with LHMap.open(map_path) as lhmap:
        cloud_from_map(lhmap, out, around_origin)
        around = f", around {cell(lhmap.metadata.origin)}" if around_origin else ""
        typer.echo(f"{out}: {lhmap.metadata.points} points{around}")


@fails_in_one_line
def view(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="The HTML page to write; if not set, MAP.html is written and opened."),
    ] = None,
    points: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="At most so many points, evenly thinned; 150000 in a browser, 5000000 in a window."),
    ] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window of Open3D instead.")] = False,
) -> None:
    """Look at a map, coloured by heat, in a browser or a window."""
    import webbrowser

    from ..evaluation.map_view import write_view
    from ..evaluation.map_window import show_window
    from ..lhmap import LHMap
    from ..outputs import make_folder_of

    if window:
        from ..errors import InputError

        if out is not None:
            raise InputError("--window and --out found, expected one: a window writes no page")
        with LHMap.open(map_path) as lhmap:
            typer.echo(f"{map_path}: {show_window(lhmap, points or 5_000_000)} points")
        return
    page = out or map_path.with_suffix(".html")
    make_folder_of(page)
    with LHMap.open(map_path) as lhmap:
        shown = write_view(lhmap, page, points or 150_000)
    typer.echo(f"{page}: {shown} points")
    if out is None:
        webbrowser.open(page.resolve().as_uri())
