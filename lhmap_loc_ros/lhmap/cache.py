# SPDX-License-Identifier: Apache-2.0
"""Decoded tiles in memory: the most recently used ones, and those that will be needed soon."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from .source import Tile, TileSource


class TileCache:
    """Reads tiles once and keeps them while they are used; safe to use from several threads."""

    def __init__(self, source: TileSource, limit_bytes: int):
        self._source, self._limit = source, limit_bytes
        self._tiles: OrderedDict[int, Tile] = OrderedDict()
        self._coming: dict[int, Future[Tile]] = {}
        self._wanted: frozenset[int] = frozenset()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reader: ThreadPoolExecutor | None = None
        self.waited = 0
        """How often `get` had to wait for the disk."""

    def get(self, number: int) -> Tile:
        """A tile, from memory or from the file; raises MapFormatError if it is damaged."""
        with self._lock:
            if number in self._tiles:
                self._tiles.move_to_end(number)
                return self._tiles[number]
            self.waited += 1
            coming = self._coming.get(number)
        return self._read(number) if coming is None else coming.result()

    def prefetch(self, numbers: Iterable[int]) -> None:
        """Reads tiles in the background, and keeps them, whatever the limit, until other ones are asked for.

        A damaged one is passed over: `get` raises when it is needed.
        """
        with self._lock:
            self._wanted = frozenset(numbers)
            for number in self._wanted:
                if number in self._tiles:
                    # used soon, so not to be dropped before
                    self._tiles.move_to_end(number)
                elif number not in self._coming:
                    if self._reader is None:
                        self._reader = ThreadPoolExecutor(1, thread_name_prefix="lhmap")
                    self._coming[number] = self._reader.submit(self._read, number)

    def wait(self) -> None:
        """Returns when nothing is being read in the background any more."""
        with self._lock:
            coming = list(self._coming.values())
        for future in coming:
            future.exception()

    def close(self) -> None:
        """Ends the reading in the background."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def _read(self, number: int) -> Tile:
        try:
            tile = self._source.read(number)
        finally:
            with self._lock:
                self._coming.pop(number, None)
        with self._lock:
            if number not in self._tiles:
                self._tiles[number] = tile
                self._bytes += tile.bytes
            self._evict(number)
        return tile

    def _evict(self, newest: int) -> None:
        """Drops tiles until the limit holds, the least recently used first, but none that is needed soon."""
        for number in [n for n in self._tiles if n not in self._wanted and n != newest]:
            if self._bytes <= self._limit:
                break
            self._bytes -= self._tiles.pop(number).bytes
