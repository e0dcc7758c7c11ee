# SPDX-License-Identifier: Apache-2.0
"""How much memory this process holds, and how much of it it gives back."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

from .errors import LhmapError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE, _KEPT = 2 << 20, 16 << 20
_MADV_DONTNEED = 4
_ANOTHER_LIBRARY = suppress(OSError, AttributeError)
"""Where the C library is not glibc, or has no such call, all this is without effect."""


def resident_mb(pid: int | str = "self") -> float:
    """Resident memory of a process [MB], of this one by default."""
    return _told_mb(pid, "VmRSS:")


def shared_mb(pid: int | str = "self") -> float:
    """How much of a process's resident memory it shares with others, as DDS's segments are [MB]."""
    return _told_mb(pid, "RssShmem:")


def _told_mb(pid: int | str, name: str) -> float:
    """What the system tells of a process's memory."""
    file = Path(f"/proc/{pid}/status")
    for line in file.read_text().splitlines():
        if line.startswith(name):
            # kB are of 1024 bytes there
            return int(line.split()[1]) * 1.024e-3
    raise LhmapError(f"{file} has no {name}")


def give_back_large_arrays() -> None:
    """From now on arrays of more than two megabytes go back to the system when they are deleted.

    By itself glibc soon keeps up to 32 MB of freed arrays for later, in pieces that little fits into. Of smaller ones
    it keeps 16 MB: what every image needs, the system would hand out again page by page, which takes as long as drawing
    the map. All threads share these: with a heap for each, as glibc has it, what one has freed another does not find,
    and a node grows for twenty minutes, by 30 MB. For programs to call at their start, not for a library, and not for
    training: arrays made anew in every step would come from the system each time, which takes half as long again.
    Without effect where the C library is another one.
    """
    with _ANOTHER_LIBRARY:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_M_ARENA_MAX, 1)


def give_back_freed() -> None:
    """Gives the system all pages that hold nothing any more, which takes some milliseconds.

    What glibc keeps of freed memory is the most that was ever in use at once, in all its arenas: over an hour that
    goes on growing. For programs that run for long to call now and then. Without effect where the C library is another
    one.
    """
    with _ANOTHER_LIBRARY:
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def give_back_compiler() -> None:
    """Takes the code of numba's compiler, some 50 MB of a file, out of this process's memory.

    For programs to call once all they need is compiled. Should anything be compiled later, the system reads it again.
    Without effect where there is no such system call.
    """
    with _ANOTHER_LIBRARY:
        libc = ctypes.CDLL("libc.so.6")
        mappings = Path("/proc/self/maps").read_text().splitlines()
        for places, mode, *_ in (line.split() for line in mappings if "libllvmlite" in line):
            # code is never written to: what is dropped is in the file
            if mode.startswith("r-x"):
                first, end = (int(place, 16) for place in places.split("-"))
                libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _MADV_DONTNEED)
