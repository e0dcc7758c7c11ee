# SPDX-License-Identifier: Apache-2.0
"""Where the shipped weights lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..errors import ModelError


def _candidates() -> list[Path]:
    """Folders that may hold the weights: chosen by the user, a checkout, a ROS workspace, a virtual environment."""
    chosen = os.environ.get("LHMAP_MODELS")
    if chosen:
        return [Path(chosen)]
    prefixes = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    shares = [p / "share" / "lhmap_loc_ros" / "models" for p in [*prefixes, Path(sys.prefix)]]
    return [Path(__file__).resolve().parents[2] / "models", *shares]


def models_dir() -> Path:
    """The folder of the shipped weights; the environment variable LHMAP_MODELS overrides it."""
    for folder in _candidates():
        if any(folder.glob("*.onnx")):
            return folder
    looked = ", ".join(str(folder) for folder in _candidates())
    raise ModelError(f"no *.onnx weights found, looked in: {looked} (set LHMAP_MODELS to their folder)")


def find_model(name: str | Path) -> Path:
    """The file of a model given by path or by the name of a shipped one (with or without .onnx)."""
    file = Path(name) if Path(name).suffix == ".onnx" else Path(f"{name}.onnx")
    if file.is_file():
        return file
    shipped = models_dir() / file.name
    if not shipped.is_file():
        raise ModelError(f"model {name} not found: neither a file nor in {shipped.parent}")
    return shipped
