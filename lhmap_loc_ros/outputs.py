# SPDX-License-Identifier: Apache-2.0
"""Folders of results that are filled at once or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError


@contextmanager
def filling(folder) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` when the block ends well, and vanish when it raises.

    `folder` is created if need be; files of the same names in it are replaced. Raises InputError if it cannot be
    written.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the results")
    created = [parent for parent in (folder.parent, *folder.parent.parents) if not parent.exists()]
    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # inside one that is there: it may be a disk of its own, and what it lies in somebody else's
        beside = folder if folder.exists() else folder.parent
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=beside))
        yield temporary
        folder.mkdir(exist_ok=True)
        for path in sorted(temporary.iterdir()):
            os.replace(path, folder / path.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        for parent in created:
            if parent.exists() and not any(parent.iterdir()):
                parent.rmdir()
