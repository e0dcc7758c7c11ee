# SPDX-License-Identifier: Apache-2.0
"""Cache of decoded tiles: the most recently used ones, and those prefetched."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from .source import Tile, TileSource


class TileCache:
    """Least-recently-used cache of tiles; safe to use from several threads."""

    def __init__(self, source: TileSource, limit_bytes: int):
        self._source, self._limit = source, limit_bytes
        self._tiles: OrderedDict[int, Tile] = OrderedDict()
        self._pending: dict[int, Future[Tile]] = {}
        self._wanted: frozenset[int] = frozenset()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reader: ThreadPoolExecutor | None = None
        self.waited = 0
        """Number of times that `get` waited for the disk."""

    def get(self, number: int) -> Tile:
        """A tile, from memory or from the file; raises MapFormatError if it is damaged."""
        with self._lock:
            if number in self._tiles:
                self._tiles.move_to_end(number)
                return self._tiles[number]
            self.waited += 1
            pending = self._pending.get(number)
        return self._read(number) if pending is None else pending.result()

    def prefetch(self, numbers: Iterable[int]) -> None:
        """Reads tiles in the background and keeps them, whatever the limit, until the next call.

        A damaged tile is skipped: `get` raises when it is needed.
        """
        with self._lock:
            self._wanted = frozenset(numbers)
            for number in self._wanted:
                if number in self._tiles:
                    # used soon: evicted last
                    self._tiles.move_to_end(number)
                elif number not in self._pending:
                    if self._reader is None:
                        self._reader = ThreadPoolExecutor(1, thread_name_prefix="lhmap")
                    self._pending[number] = self._reader.submit(self._read, number)

    def wait(self) -> None:
        """Waits for all reading in the background."""
        with self._lock:
            pending = list(self._pending.values())
        for future in pending:
            future.exception()

    def close(self) -> None:
        """Stops reading in the background."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def _read(self, number: int) -> Tile:
        try:
            tile = self._source.read(number)
        finally:
            with self._lock:
                self._pending.pop(number, None)
        with self._lock:
            if number not in self._tiles:
                self._tiles[number] = tile
                self._bytes += tile.bytes
            self._evict(number)
        return tile

    def _evict(self, newest: int) -> None:
        """Evicts tiles down to the limit, the least recently used first, but no prefetched ones."""
        for number in [n for n in self._tiles if n not in self._wanted and n != newest]:
            if self._bytes <= self._limit:
                break
            self._bytes -= self._tiles.pop(number).bytes
