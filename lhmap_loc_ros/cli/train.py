# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..console import fails_in_one_line


@fails_in_one_line
def train(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="data, flow, heat, place, codes, regress, reference_heat or export.")
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="YAML file of settings.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints, logs and the exported network.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in OUT, if there is one.")] = True,
) -> None:
    """Train the networks, stage by stage (needs PyTorch: pip install 'lhmap_loc_ros[train]').

    data makes training shards of synthetic worlds and real drives; flow, heat, place and codes, and the reference
    method's regress and reference_heat, train a network on them; export writes the ONNX files a localizer uses.
    """
    from ..errors import InputError

    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError("PyTorch is not installed: pip install 'lhmap_loc_ros[train]'") from None
    from ..training.run import train as run

    run(stage, config, out, resume)
