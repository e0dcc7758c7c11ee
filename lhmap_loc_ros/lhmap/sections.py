# SPDX-License-Identifier: Apache-2.0
"""The layout that our own sections share: the length of a JSON head, the head, and arrays of sizes that it tells."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

_LENGTH = struct.Struct("<I")
_MAX_VALUES = 1 << 26
"""No array has more: a size beyond it is damage."""
Head = dict[str, Any]
"""The head of a section, as JSON has it."""


def packed_head(head: Head) -> bytes:
    """The beginning of a section; its arrays follow, little-endian and without gaps."""
    text = json.dumps(head).encode()
    return _LENGTH.pack(len(text)) + text


class SectionReader:
    """Reads a section from its beginning to its end.

    What is damaged raises what `LHMap.parsed_section` turns into a MapFormatError: ValueError, KeyError, TypeError,
    struct.error.
    """

    def __init__(self, data: bytes):
        (length,) = _LENGTH.unpack_from(data)
        self._data, self._at = data, _LENGTH.size + length
        self.head: Head = json.loads(data[_LENGTH.size : self._at])

    def array(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
        """The next array, read-only. `name` is for the error; floats that are not finite are damage, too."""
        # Python's integers: sizes of a damaged head would wrap around
        count = int(np.prod(shape, dtype=object))
        if not 0 <= count <= _MAX_VALUES:
            raise ValueError(f"{name} of shape {shape} found")
        out = np.frombuffer(self._data, dtype, count, self._at).reshape(shape)
        self._at += out.nbytes
        if out.dtype.kind == "f" and not np.isfinite(out).all():
            raise ValueError(f"{name} holds values that are not finite")
        return out

    def check_end(self) -> None:
        """Raises ValueError unless all of the section was read."""
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data)} bytes found, expected {self._at}")
