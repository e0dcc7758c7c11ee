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
        a, b = a.lstrip("/"), b.lstrip("/")
        if a == b:
            return np.eye(4)
        reached, front = {a: np.eye(4)}, [a]
        while front:
            frame = front.pop(0)
            for other, T_frame_other in self._edges.get(frame, {}).items():
                if other not in reached:
                    reached[other] = reached[frame] @ T_frame_other
                    front.append(other)
        if b not in reached:
            known = ", ".join(self.frames) or "none"
            raise BagError(f"{self._source}: no transform from {b!r} to {a!r}; the known frames are {known}")
        return reached[b]
