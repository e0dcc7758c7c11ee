# SPDX-License-Identifier: Apache-2.0
"""How far work has come, as whoever does it tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, int, int], None]
"""Called with the name of a stage, how much of it is done, and how much there is."""


def quiet(stage: str, done: int, total: int) -> None:
    """Where nobody waits."""
