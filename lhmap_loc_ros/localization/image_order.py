# SPDX-License-Identifier: Apache-2.0
"""Which images follow those before: late ones, false stamps and clocks that jump are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum

from .motion import SECOND_NS

_NONE = -(2**62)
"""Before the first image: stamps by a clock that is late may be negative."""
TIME_JUMP_S = 1.0
"""Two images older than the last by more than this say that the clock, or the bag, began anew."""
FAR_S = 60.0
"""An image stamped so long after the last is believed when another one follows it."""


class Order(Enum):
    """How an image is to those before it."""

    NEXT = "next"
    LATE = "late"
    """It is older, or there already."""
    FAR_AHEAD = "far ahead"
    """Its stamp is false, unless the next image bears it out."""
    ANEW = "anew"
    """The clock went back, as two images in a row show."""


class ImageOrder:
    """Judges the stamps of images; those of two cameras may be the same."""

    def __init__(self, cameras: Sequence[str], far_s: float = FAR_S):
        """`far_s`: see FAR_S; more for a camera that seldom takes an image."""
        self._far_s = far_s
        self._last_ns = dict.fromkeys(cameras, _NONE)
        self._jumped_to: int | None = None
        self.jump_s = 0.0
        """How far the last image was from the one before it, forward or back."""

    def of(self, camera: str, stamp_ns: int, jump_s: float = TIME_JUMP_S) -> Order:
        """How an image is; one that goes back by less than `jump_s` is late."""
        last_ns = max(self._last_ns.values())
        self.jump_s = abs(stamp_ns - last_ns) / SECOND_NS
        if stamp_ns >= last_ns and stamp_ns > self._last_ns[camera]:
            if last_ns > _NONE and self.jump_s > self._far_s and not self._is_borne_out(stamp_ns):
                return Order.FAR_AHEAD
            self._last_ns[camera], self._jumped_to = stamp_ns, None
            return Order.NEXT
        if self.jump_s < jump_s or not self._is_borne_out(stamp_ns):
            return Order.LATE
        self._last_ns, self._jumped_to = dict.fromkeys(self._last_ns, _NONE) | {camera: stamp_ns}, None
        return Order.ANEW

    def of_set(self, stamps_ns: Mapping[str, int]) -> Order:
        """How the images of one moment are, by camera: as the earliest of them; their stamps may differ by little."""
        camera = min(stamps_ns, key=lambda name: stamps_ns[name])
        order = self.of(camera, stamps_ns[camera])
        if order in (Order.NEXT, Order.ANEW):
            self._last_ns.update(stamps_ns)
        return order

    def _is_borne_out(self, stamp_ns: int) -> bool:
        """Whether an image far from the last one follows another such: one alone was long on its way, or is false."""
        before, self._jumped_to = self._jumped_to, stamp_ns
        return before is not None and 0 < stamp_ns - before < self._far_s * SECOND_NS
