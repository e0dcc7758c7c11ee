# SPDX-License-Identifier: Apache-2.0
"""The messages of a bag as they were recorded, not decoded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rosbags.interfaces import Connection

from ..datasets.bag_files import no_such_bag, open_bag
from ..errors import BagError


class RecordedBag:
    """An open rosbag2 bag; a context manager. Raises BagError if it is missing, damaged or of ROS 1."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            raise no_such_bag(self.path)
        if self.path.suffix == ".bag":
            raise BagError(f"{path}: is a ROS 1 bag, expected rosbag2; `rosbags-convert` makes one of it")
        try:
            self._reader, self._foreign = open_bag(self.path)
        except BagError:
            raise
        except Exception as error:  # a damaged file makes the reader fail in many ways
            raise BagError(f"{path}: not a readable bag (truncated or damaged?): {error}") from error

    def __enter__(self) -> RecordedBag:
        return self

    def __exit__(self, *_) -> None:
        self._reader.close()

    def connections(self, topics=()) -> list[Connection]:
        """Those of some topics, or all; raises BagError for a topic that is not there."""
        readable = [c for c in self._reader.connections if c.topic not in self._foreign]
        known = {c.topic for c in readable}
        missing = [topic for topic in topics if topic not in known]
        if missing:
            raise BagError(f"{self.path}: no topic {', '.join(missing)}; the bag has: {', '.join(sorted(known))}")
        return [c for c in readable if not topics or c.topic in topics]

    def messages(self, connections: list[Connection]) -> Iterator[tuple[Connection, int, bytes]]:
        """Connection, time of recording [ns] and serialized message, in order; raises BagError where damaged."""
        try:
            yield from self._reader.messages(connections)
        except GeneratorExit:
            raise
        except Exception as error:  # as above
            raise BagError(f"{self.path}: damaged: {error}") from error
