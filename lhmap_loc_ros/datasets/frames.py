# SPDX-License-Identifier: Apache-2.0
"""Frame numbers as people write them."""

from __future__ import annotations

import re

from ..errors import InputError

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:/(\d+))?)?")


def frame_numbers(text: str, count: int) -> list[int]:
    """Numbers of ``"all"``, ``"7"``, ``"120-143"`` or, every tenth, ``"0-1000/10"``, of a sequence of `count` frames.

    Raises InputError for anything else and where no such frame exists.
    """
    if text == "all":
        return list(range(count))
    found = _RANGE.fullmatch(text)
    if found is None or found[3] == "0":
        raise InputError(f"frames {text!r}: expected 'all', a number, a range such as 0-109, or with a step, 0-109/10")
    first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
    numbers = list(range(first, min(last + 1, count), step))
    if not numbers:
        raise InputError(f"frames {text!r}: none of the {count} frames, which are numbered from 0")
    return numbers
