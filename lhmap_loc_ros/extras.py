# SPDX-License-Identifier: Apache-2.0
"""Packages that only a part of this one needs: `pip install 'lhmap_loc_ros[EXTRA]'` brings those of an extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS = {
    "rosbags": "map", "kiss_icp": "map",
    "laspy": "clouds", "lazrs": "clouds", "plyfile": "clouds", "pypcd4": "clouds",
    "embreex": "sim",
    "open3d": "open3d",
    "matplotlib": "viz", "plotly": "viz", "PIL": "viz",
    "typer": "cli", "rich": "cli",
    "torch": "train", "safetensors": "train", "lightning_fabric": "train", "tensorboard": "train",
    "onnxscript": "train",
}  # fmt: skip
"""The extra that brings each module; setup.py says which packages are in it."""


def missing(error: ImportError) -> str:
    """One line that names the module whose absence an error tells, and the extra; "" for any other error."""
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return ""
    return f"{module} is not installed: pip install 'lhmap_loc_ros[{EXTRAS[module]}]'"


@contextmanager
def names_extra() -> Iterator[None]:
    """Imports in the block that fail for want of a module of an extra say which; raises ImportError then as well."""
    try:
        yield
    except ModuleNotFoundError as error:
        if line := missing(error):
            raise ModuleNotFoundError(line, name=error.name) from error
        raise
