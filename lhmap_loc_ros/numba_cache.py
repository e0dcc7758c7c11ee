# SPDX-License-Identifier: Apache-2.0
"""Where numba keeps what it compiled, on machines where it may write neither beside the code nor in a home folder.

There numba refuses to import a function that is to be cached, as in a container with a read-only root.
"""

from __future__ import annotations

import logging
import os
import stat
import tempfile
from pathlib import Path

_log = logging.getLogger(__name__)


def find_cache_folder() -> None:
    """To be called before anything is compiled: a temporary folder takes the cache where nothing else can.

    One that is named by NUMBA_CACHE_DIR counts. Where not even a temporary folder can be written there is no cache, and
    every start compiles anew. Either is logged in a line.
    """
    if os.environ.get("NUMBA_CACHE_DIR") or _writable(Path(__file__).parent) or _writable(_user_cache()):
        return
    folder = _temporary()
    if folder is None:
        _log.warning("no folder of ours can be written: what numba compiles is not kept, every start compiles anew")
        _switch_off()
        return
    _log.warning("neither the installation nor %s can be written: numba's cache is %s", _user_cache(), folder)
    # numba reads it when it is imported; processes started from here inherit it
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is made itself when they are."""
    for existing in (folder, *folder.parents):
        if existing.exists():
            return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return False


def _temporary() -> Path | None:
    """A folder of this user alone: whoever else could write there would have his code run."""
    try:
        folder = Path(tempfile.gettempdir()) / f"lhmap_loc_ros-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    return folder if own and os.access(folder, os.W_OK | os.X_OK) else None


def _switch_off() -> None:
    from numba.core.dispatcher import Dispatcher

    # numba has no setting for it
    Dispatcher.enable_caching = lambda self: None
