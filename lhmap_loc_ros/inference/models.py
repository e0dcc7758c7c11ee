# SPDX-License-Identifier: Apache-2.0
"""Where the shipped weights lie."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ModelError
from ..share import shared_folders


def models_dir() -> Path:
    """The folder of the shipped weights; the environment variable LHMAP_MODELS overrides it."""
    chosen = os.environ.get("LHMAP_MODELS")
    folders = [Path(chosen)] if chosen else shared_folders("models")
    for folder in folders:
        if any(folder.glob("*.onnx")):
            return folder
    looked = ", ".join(map(str, folders))
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


INT8_OF = "int8_of"
"""Key of this package's metadata in an int8 file: SHA-256 of the file it was made of."""


def int8_file(path: Path) -> Path:
    """Where the same network lies with convolutions in 8 bits, whether or not it is there."""
    return path.parent / "int8" / path.name


def existing_int8_file(path: Path) -> Path:
    """That file; raises ModelError if it is not there."""
    file = int8_file(path)
    if not file.is_file():
        raise ModelError(f"{path} has no int8 file, expected {file} (lhmap train export writes it)")
    return file


def check_int8_file(path: Path, sha256: str, made_of: str | None) -> None:
    """Raises ModelError unless the int8 file of a network was made of it, the file with that SHA-256."""
    if made_of != sha256:
        raise ModelError(
            f"{int8_file(path)} was made of a file with SHA-256 {made_of}, but {path} has {sha256}: "
            "write both by one lhmap train export, or set precision fp32"
        )
