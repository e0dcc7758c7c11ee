# SPDX-License-Identifier: Apache-2.0
"""Results of jobs on disk. A file's name is a hash of all that it was computed from, so no result is stale."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ...arrays import read_arrays, write_arrays

REVISION = 1
"""To be increased when a stage computes something else from the same input, as when a constant changes."""


def key_of(*parts: object) -> str:
    """A name for the inputs of a result: JSON values, settings, and paths, of which only the file name counts."""
    text = json.dumps([REVISION, *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return value.name
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value)} has no name")


def save(path: Path, **arrays: np.ndarray) -> None:
    """Writes arrays as one file, completely or not at all."""
    write_arrays(path, arrays)


def load(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The arrays of a file, or some of them; raises InputError if it is damaged."""
    return read_arrays(path, names or None, "what a build left, expected that: delete it and build again")
