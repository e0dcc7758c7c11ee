# SPDX-License-Identifier: Apache-2.0
"""Transforms over time: stored per child frame, interpolated, chained through the common ancestor."""

from __future__ import annotations

import threading
import time as system_time

import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.duration import Duration
from rclpy.time import Time

from .exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from .time_cache import TimeCache

_MAX_DEPTH = 1000
_POLL_S = 0.01


class Buffer:
    """Keeps `cache_time` (10 s) of transforms and answers for any two frames of a tree."""

    def __init__(self, cache_time: Duration | None = None, node=None):
        self._cache_ns = 10_000_000_000 if cache_time is None else cache_time.nanoseconds
        self._caches: dict[str, TimeCache] = {}
        self._frames: set[str] = set()
        self._lock = threading.RLock()

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Stores a transform; raises InvalidArgumentException if a name or a number is unusable."""
        self._store(transform, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Stores a transform that holds at all times."""
        self._store(transform, static=True)

    def clear(self) -> None:
        """Forgets every transform that is not static."""
        with self._lock:
            for cache in self._caches.values():
                cache.clear()

    def lookup_transform(self, target_frame: str, source_frame: str, time, timeout=None) -> TransformStamped:
        """The transform that takes points of `source_frame` to `target_frame` at `time` (zero: latest common).

        Waits up to `timeout` (Duration). Raises LookupException, ConnectivityException or ExtrapolationException.
        """
        self.can_transform(target_frame, source_frame, time, timeout or Duration())
        return self.lookup_transform_core(target_frame, source_frame, time)

    def can_transform(self, target_frame: str, source_frame: str, time, timeout=None, return_debug_tuple=False):
        """Whether `lookup_transform` would succeed, waiting up to `timeout`; with a reason if asked for."""
        deadline = system_time.monotonic() + (timeout.nanoseconds / 1e9 if timeout else 0.0)
        while True:
            try:
                self.lookup_transform_core(target_frame, source_frame, time)
                return (True, "") if return_debug_tuple else True
            except TransformException as error:
                if system_time.monotonic() >= deadline:
                    return (False, str(error)) if return_debug_tuple else False
            system_time.sleep(_POLL_S)

    def lookup_transform_core(self, target_frame: str, source_frame: str, time) -> TransformStamped:
        """As `lookup_transform`, without waiting."""
        stamp = time.nanoseconds if isinstance(time, Time) else Time.from_msg(time).nanoseconds
        with self._lock:
            for name, frame in (("target_frame", target_frame), ("source_frame", source_frame)):
                if frame not in self._frames:
                    raise LookupException(f'"{frame}" passed to lookupTransform argument {name} does not exist. ')
            up, down = self._paths(target_frame, source_frame)
            if stamp == 0:
                stamp = min((c.latest() for c in up + down if not c.static and c.latest() is not None), default=0)
            try:
                matrix = _invert(_chain(down, stamp)) @ _chain(up, stamp)
            except ExtrapolationException as error:
                raise ExtrapolationException(
                    f"{error}, when looking up transform from frame [{source_frame}] to frame [{target_frame}]"
                ) from None
        return _to_message(matrix, target_frame, source_frame, stamp)

    def _store(self, transform: TransformStamped, static: bool) -> None:
        child, parent = transform.child_frame_id.lstrip("/"), transform.header.frame_id.lstrip("/")
        if not child or not parent or child == parent:
            raise InvalidArgumentException(f"transform from frame_id [{parent}] to child_frame_id [{child}]")
        t, q = transform.transform.translation, transform.transform.rotation
        translation, quaternion = np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])
        # numbers and a direction are all that tf2 asks for: it turns by whatever it is given, normalized
        if not np.isfinite([*translation, *quaternion]).all() or not np.linalg.norm(quaternion) > 0:
            raise InvalidArgumentException(f"transform {parent} -> {child}: {translation}, quaternion {quaternion}")
        with self._lock:
            cache = self._caches.get(child)
            if cache is None or cache.static != static:
                cache = self._caches[child] = TimeCache(self._cache_ns, static)
            cache.insert(Time.from_msg(transform.header.stamp).nanoseconds, parent, translation, quaternion)
            self._frames.update((child, parent))

    def _paths(self, target: str, source: str) -> tuple[list[TimeCache], list[TimeCache]]:
        """The edges from `source` up to the common ancestor, and those from `target` up to it."""
        from_source, from_target = self._ancestors(source), self._ancestors(target)
        common = next((frame for frame in from_source if frame in from_target), None)
        if common is None:
            raise ConnectivityException(
                f"Could not find a connection between '{target}' and '{source}' because they are not part of the "
                "same tree.Tf has two or more unconnected trees."
            )
        up = [self._caches[f] for f in from_source[: from_source.index(common)]]
        down = [self._caches[f] for f in from_target[: from_target.index(common)]]
        return up, down

    def _ancestors(self, frame: str) -> list[str]:
        path = [frame]
        while (cache := self._caches.get(path[-1])) is not None and (parent := cache.parent()) is not None:
            path.append(parent)
            if len(path) > _MAX_DEPTH:
                raise LookupException(f"the tree has a loop at {frame}")
        return path


def _chain(edges: list[TimeCache], stamp: int) -> np.ndarray:
    """Points of the first edge's child into the last edge's parent."""
    matrix = np.eye(4)
    for edge in edges:
        matrix = edge.at(stamp) @ matrix
    return matrix


def _invert(matrix: np.ndarray) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3] = matrix[:3, :3].T
    out[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return out


def _to_message(matrix: np.ndarray, target: str, source: str, stamp: int) -> TransformStamped:
    from scipy.spatial.transform import Rotation

    message = TransformStamped()
    message.header.stamp = Time(nanoseconds=stamp).to_msg()
    message.header.frame_id, message.child_frame_id = target, source
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = (float(v) for v in matrix[:3, 3])
    q.x, q.y, q.z, q.w = (float(v) for v in Rotation.from_matrix(matrix[:3, :3]).as_quat())
    return message
