# SPDX-License-Identifier: Apache-2.0
"""Results that are written whole or not at all, and the one error where they cannot be."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def writing(path) -> Iterator[None]:
    """What the disk refuses in the block, be it full or read-only, becomes an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def make_folder_of(path) -> None:
    """Makes the folders on the way to a file; raises InputError, which names the file, where they cannot be made."""
    with writing(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def check_file(path) -> None:
    """Raises InputError unless a file can be written at `path`: called before the work whose result it is to hold.

    Folders on the way to it need not be there.
    """
    path = Path(path)
    with writing(path):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, expected a name for a file")
        _check_place(path, path.parent)


def check_folder(folder) -> None:
    """Raises InputError unless results can be written into `folder`, which need not be there; see `check_file`."""
    folder = Path(folder)
    with writing(folder):
        _check_place(folder, folder)


def _check_place(path: Path, folder: Path) -> None:
    there = next(part for part in (folder, *folder.parents) if part.exists())
    if not there.is_dir():
        raise InputError(f"{there}: is a file, expected a folder for the results")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{path}: cannot be written (no permission to write in {there})")


@contextmanager
def filling(folder, result=None) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends well, and vanish when it raises.

    `folder` is created if need be; files of the same names in it are replaced. Raises InputError if it cannot be
    written, which names `result` where that is one file in it.
    """
    folder = Path(folder)
    check_folder(folder)
    created = [parent for parent in (folder.parent, *folder.parent.parents) if not parent.exists()]
    temporary = None
    try:
        with writing(result or folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # inside one that is there: it may be a disk of its own, and what it lies in somebody else's
            beside = folder if folder.exists() else folder.parent
            temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=beside))
            yield temporary
            folder.mkdir(exist_ok=True)
            for path in sorted(temporary.iterdir()):
                os.replace(path, folder / path.name)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in created:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
