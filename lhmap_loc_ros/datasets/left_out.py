# SPDX-License-Identifier: Apache-2.0
"""What could not be used of an input, counted by topic and reason, and told once."""

from __future__ import annotations

import logging
import re


class LeftOut:
    """Messages that are left out; one that is met again, as on a second reading, counts once."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, set]] = {}

    def add(self, topic: str, reason: str, which) -> None:
        """Counts a message of a topic, or of a file; `which` tells it from others, as its time of recording does.

        Reasons that differ in their numbers alone are one; the first is shown.
        """
        kind = re.sub(r"[-+]?\d[\d.e+-]*", "#", re.sub(r"\[[^\]]*\]", "#", reason))
        self._found.setdefault((topic, kind), (reason, set()))[1].add(which)

    def reason(self, topic: str) -> str | None:
        """Why the first message of a topic was left out; None if none was."""
        return next((reason for (name, _), (reason, _) in self._found.items() if name == topic), None)

    @property
    def counts(self) -> dict[str, int]:
        """How many messages by "topic: reason"."""
        return {f"{topic}: {reason}": len(which) for (topic, _), (reason, which) in self._found.items()}

    def __bool__(self) -> bool:
        return bool(self._found)


def tell(counts: dict[str, int], logger: logging.Logger, source="") -> None:
    """One warning with all counts; none if nothing was left out."""
    if counts:
        logger.warning("%s: left out: %s", source, in_words(counts))


def in_words(counts: dict[str, int]) -> str:
    """The counts as a sentence."""
    return "; ".join(f"{count} of {words}" for words, count in counts.items())


def joined(parts: list[dict[str, int]]) -> dict[str, int]:
    """The sum of several counts, by reasons."""
    total: dict[str, int] = {}
    for part in parts:
        for words, count in part.items():
            total[words] = total.get(words, 0) + count
    return total
