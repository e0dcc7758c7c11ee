# SPDX-License-Identifier: Apache-2.0
"""The commands `lhmap engine ...`: TensorRT engines are built before they are needed, listed, removed."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from ..console import ProgressBars, fails_in_one_line, print_table

engine = typer.Typer(no_args_is_help=True, help="TensorRT engines of the networks, kept in a cache (LHMAP_CACHE).")

ModelsArgument = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(metavar="[MODEL]...", help="Names or files of networks; all shipped ones if not set."),
]


@engine.command("build")
@fails_in_one_line
def build_engines(
    models: ModelsArgument = None,
    precision: Annotated[str, typer.Option(help="fp32 (also auto), or fp16: convolutions in half precision.")] = "fp32",
    sm: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Compute capability of the GPU, e.g. 86; needed where there is none (tensorrt_rtx only)."),
    ] = None,
) -> None:
    """Build engines, so that a localizer need not (minutes with tensorrt, seconds with tensorrt_rtx)."""
    from ..inference import find_model, models_dir
    from ..inference.engine_cache import EngineCache
    from ..inference.engines import Engines, checked_precision, sm_to_build_for
    from ..inference.model import read_network
    from ..inference.tensorrt_package import import_tensorrt

    trt, cache, checked = import_tensorrt(), EngineCache(), checked_precision(precision)
    engines = Engines(trt, sm_to_build_for(trt, sm), cache)
    paths = [find_model(name) for name in models or sorted(path.stem for path in models_dir().glob("*.onnx"))]
    with ProgressBars() as report:
        for path in paths:

            def progress(done: int, total: int, stage: str = path.stem) -> bool:
                report(stage, done, total)
                return True

            engines.obtain(read_network(path), checked, progress)
            report(path.stem, 1, 1)
    typer.echo(f"{cache.folder}: engines of {len(paths)} networks are there")


@engine.command("list")
@fails_in_one_line
def list_engines(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the engines in the cache."""
    import json
    from datetime import datetime

    from ..inference.engine_cache import EngineCache

    cache = EngineCache()
    entries = cache.entries()
    rows = [
        {
            "network": entry.name, "precision": entry.precision, "target": entry.target, "tensorrt": entry.package,
            "bytes": entry.bytes, "built": datetime.fromtimestamp(entry.built).isoformat(" ", "seconds"),
            "path": str(entry.path),
        }
        for entry in entries
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        typer.echo(f"{cache.folder}: no engines")
        return
    names = ("network", "precision", "target", "tensorrt", "built")
    megabytes = [f"{entry.bytes / 1e6:.1f}" for entry in entries]
    cells = [[*(str(row[name]) for name in names), size] for row, size in zip(rows, megabytes, strict=True)]
    print_table(str(cache.folder), [*names, "MB"], cells)


@engine.command("clean")
@fails_in_one_line
def clean_engines(
    models: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="[MODEL]...", help="Names of networks; everything in the cache if not set."),
    ] = None,
) -> None:
    """Delete engines; they are built again when they are needed."""
    from ..inference.engine_cache import EngineCache

    cache = EngineCache()
    typer.echo(f"{cache.folder}: {cache.clean(models)} engines deleted")
