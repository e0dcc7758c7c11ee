# SPDX-License-Identifier: Apache-2.0
"""The commands `lhmap bench ...`: speed and memory on this machine."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from ..console import BagArgument, ConfigOption, ProgressBars, cell, fails_in_one_line, print_table
from ..errors import InputError

benching = typer.Typer(no_args_is_help=True, help="Measure speed and memory on this machine.")


@benching.command("map")
@fails_in_one_line
def bench_map(
    source: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="[MAP]", help="The map whose tiles are repeated; else that of a simulated street."),
    ] = None,
    km: Annotated[Optional[list[float]], typer.Option(help="Length of map [km]; repeat it; 1 and 100 if not set.")]  # noqa: UP045
    = None,
    drive: Annotated[float, typer.Option(min=1, help="How far to drive in each map [m].")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:  # fmt: skip
    """Opening, cropping and memory of a localizer in maps of several lengths, side by side."""
    from ..bench.map_bench import bench_map as run

    with tempfile.TemporaryDirectory() as folder, ProgressBars() as report:
        rows = run(source or _simulated_street(Path(folder), report)[0][0], km or [1.0, 100.0], drive, report)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_table("", [name.replace("_", " ") for name in rows[0]], [[cell(v) for v in row.values()] for row in rows])


@benching.command("build")
@fails_in_one_line
def bench_build(
    bag: BagArgument,
    times: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(min=1, help="How often the drive is driven on end; repeat it; 1 and 20 if not set."),
    ] = None,
    dask_workers: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(min=1, help="By so many Dask workers of one thread, too; repeat it."),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time and memory of building maps of drives of several lengths, side by side."""
    from ..bench.build_bench import bench_build as run

    with ProgressBars() as report:
        rows = run(bag, times or [1, 20], config, dask_workers or (), report)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    print_table("", [name.replace("_", " ") for name in rows[0]], [[cell(v) for v in row.values()] for row in rows])


@benching.command("latency")
@fails_in_one_line
def bench_latency(
    maps: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--map", "-m", help="A map; repeat it. If not set, maps of a simulated street, of two sizes."),
    ] = None,
    bag: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Bag of images driven in these maps, with BAG.tum; if not set, the simulated street's."),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images localized in each way.")] = 100,
    refinements: Annotated[
        Optional[list[int]],  # noqa: UP045
        typer.Option(min=1, max=8, help="Beside the default exactly so many refinements; repeat it; 3 and 1."),
    ] = None,
    model: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Networks, by name or path prefix, so of other input sizes too; repeat it."),
    ] = None,
    backend: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="onnxruntime, tensorrt, openvino or torch, with a precision as :bf16 behind it; repeat it."),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the networks; 0: as by default.")] = 0,
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Picture of the steps to write; latency.png if not set, none with --json."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """From image message to pose, step by step, beside the reference method in the same run."""
    from ..bench.latency import bench_latency as run
    from ..bench.latency import cases, check_plot, refiners, write_plot
    from ..datasets.importing import truth_path

    if (maps is None) != (bag is None):
        raise InputError("--map and --bag belong together, and one of them is missing")
    picture = plot or (None if as_json else Path("latency.png"))
    if picture is not None:
        check_plot(picture)
    with tempfile.TemporaryDirectory() as folder, ProgressBars() as report:
        if not maps or bag is None:
            maps, bag = _simulated_street(Path(folder), report, budgets=(None, 0.5))
        ways = [
            refiner
            for name, precision in map(_backend, backend or ["auto"])
            for refiner in refiners(
                model or ["flow"], refinements or [3, 1], threads=threads, backend=name, precision=precision
            )
        ]
        result = run(cases(maps, bag, truth_path(bag), ways), images, report)
    if picture is not None:
        write_plot(result, picture)
    if as_json:
        typer.echo(json.dumps(result, indent=2))
        return
    header = ["", "iter", "map", "p50", "p99", "MB", "ratio"]
    title = "image message to pose, by iterations and MB/km of the map: ms, memory, ratio of the reference's time to it"
    print_table(title, header, map(_latency_cells, result["rows"]))
    typer.echo(f"the reference method takes {cell(result['ratio_to_reference'])} times as long as the default below it")
    for reason in result["not_run"]:
        typer.echo(f"not run: {reason}")


def _backend(text: str) -> tuple[str, str]:
    """Name of the backend and of the precision, which may stand behind a colon."""
    backend, _, precision = text.partition(":")
    return backend, precision or "auto"


def _latency_cells(row: dict[str, Any]) -> list[str]:
    most, mean, ratio = row["refinements"], row["refinements_mean"], row["ratio_to_reference"]
    return [
        f"{row['method']} {row['input']} {row['precision']}, {row['backend'].removesuffix(', CPU')}",
        str(most) if mean == most else f"{mean:.1f}/{most}",
        f"{row['map_mb_per_km']:.1f}",
        *(f"{row[name]:.0f}" for name in ("p50_ms", "p99_ms", "rss_mb")),
        "" if ratio is None else f"{ratio:.1f}",
    ]


def _simulated_street(
    folder: Path, report: ProgressBars, budgets: tuple[float | None, ...] = (None,)
) -> tuple[list[Path], Path]:  # fmt: skip
    """Maps of a simulated street, one a budget [MB/km], None for the usual, and the bag of images of a drive there."""
    from ..datasets.synthetic.simulate import simulate
    from ..mapping.builder import build_map
    from ..mapping.config import BuildConfig

    simulate(folder / "street", seed=0, length=160.0, report=report)
    maps = [folder / f"street_{budget or 'usual'}.lhmap" for budget in budgets]
    for path, budget in zip(maps, budgets, strict=True):
        config = BuildConfig() if budget is None else BuildConfig().model_copy(update={"budget_mb_per_km": budget})
        build_map(folder / "street" / "mapping", path, config, report=report, work=folder / "work").close()
    return maps, folder / "street" / "query"
