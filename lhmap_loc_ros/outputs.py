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


@contextmanager
def filling(folder, result=None) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends well, and vanish when it raises.

    `folder` is created if need be; files of the same names in it are replaced. Raises InputError if it cannot be
    written, which names `result` where that is one file in it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the results")
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
