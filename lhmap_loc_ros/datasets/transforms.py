# SPDX-License-Identifier: Apache-2.0
"""Frames that do not move against each other."""

from __future__ import annotations

import numpy as np

from ..errors import BagError
from ..geometry import inverse


class TransformTree:
    """Fixed transforms between named frames."""

    def __init__(self, source: str = "transforms"):
        """`source` names where the transforms come from, for messages."""
        self._source = source
        self._edges: dict[str, dict[str, np.ndarray]] = {}

    @property
    def frames(self) -> list[str]:
        """The names of the frames, sorted."""
        return sorted(self._edges)

    def add(self, parent: str, child: str, T_parent_child: np.ndarray) -> None:
        """Adds the pose (4, 4) of `child` in `parent`; one that is there already is replaced."""
        parent, child = parent.lstrip("/"), child.lstrip("/")
        self._edges.setdefault(parent, {})[child] = T_parent_child
        self._edges.setdefault(child, {})[parent] = inverse(T_parent_child)

    def lookup(self, a: str, b: str) -> np.ndarray:
        """The pose T_a_b (4, 4) of frame b in frame a; raises BagError where no chain joins them."""
        pose, frames = np.eye(4), self.chain(a, b)
        for parent, child in zip(frames[:-1], frames[1:], strict=True):
            pose = pose @ self._edges[parent][child]
        return pose

    def chain(self, a: str, b: str) -> tuple[str, ...]:
        """The names of the frames on the way from a to b, both included; raises BagError where none leads there."""
        a, b = a.lstrip("/"), b.lstrip("/")
        reached, front = {a: (a,)}, [a]
        while front and b not in reached:
            frame = front.pop(0)
            for other in self._edges.get(frame, {}):
                if other not in reached:
                    reached[other] = (*reached[frame], other)
                    front.append(other)
        if b not in reached:
            known = ", ".join(self.frames) or "none"
            raise BagError(f"{self._source}: no transform from {b!r} to {a!r}; the known frames are {known}")
        return reached[b]
