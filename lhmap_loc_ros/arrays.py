# SPDX-License-Identifier: Apache-2.0
"""Arrays in one .npz file: written whole or not at all, and one clear error where such a file is damaged."""

from __future__ import annotations

import struct
import threading
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from .errors import InputError
from .lhmap.atomic import replacing
from .outputs import make_folder_of

Features = TypeVar("Features", bound="FeatureFile")
_UNREADABLE = (
    AttributeError, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy and the libraries below it raise for a file that is cut off, or none of theirs."""
_parsing = threading.Lock()
"""NumPy reads headers by `ast`, which fails now and then in two threads at a time (CPython issue 106905)."""


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by their names, uncompressed; folders on the way to `path` are made. Raises InputError."""
    make_folder_of(path)
    with replacing(path) as file:
        np.savez(file, **arrays)


def read_arrays(path: Path, names: Iterable[str] | None, what: str) -> dict[str, np.ndarray]:
    """The arrays of these names, or all; raises InputError for a file that is not `what`: damaged, or without one."""
    try:
        with _parsing, np.load(path, allow_pickle=False) as data:
            names = data.files if names is None else tuple(names)
            missing = set(names) - set(data.files)
            found = {} if missing else {name: data[name] for name in names}
    except _UNREADABLE as error:
        raise InputError(f"{path} is not {what}: {error}") from error
    if missing:
        raise InputError(f"{path} is not {what}: {sorted(missing)} missing")
    return found


@dataclass(frozen=True)
class FeatureFile:
    """Features that are computed once and kept in a file: a dataclass whose fields are all arrays."""

    @classmethod
    def read(cls: type[Features], path: Path) -> Features:
        """As `write` left them; raises InputError for a damaged file."""
        what = "a file of features, expected one (without it they are computed anew)"
        return cls(**read_arrays(path, [field.name for field in fields(cls)], what))

    def write(self, path: Path) -> None:
        """To one file, at once; raises InputError where it cannot be written."""
        write_arrays(path, {field.name: getattr(self, field.name) for field in fields(self)})
