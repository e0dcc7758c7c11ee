# SPDX-License-Identifier: Apache-2.0
"""Where one can drive in a synthetic world: lanes and footpaths."""

from dataclasses import dataclass, replace

import numpy as np

from .build import Street, side_streets, town_stream
from .route import Path, wander
from .street import footpath, height_above_road


@dataclass(frozen=True)
class Course:
    """Where one can drive; cheap to make, because nothing is built beside the street."""

    seed: int
    length: float  # drivable metres along the centre line
    street: Street
    character: str | None = None  # that of the world

    @staticmethod
    def generate(seed: int, length: float, character: str | None = None) -> "Course":
        """The course of ``World.generate(seed, length, character=character)``."""
        return Course(seed, length, Street.generate(town_stream(seed), length, character), character)

    @property
    def lanes(self) -> tuple[float, ...]:
        """Offsets (metres to the left of the centre line) of the lanes driven in the direction of the route."""
        style = self.street.style
        return tuple(-(k + 0.5) * style.lane_width for k in range(style.lanes))

    @property
    def half_road(self) -> float:
        """Metres from the centre line that belong to moving traffic, on each side."""
        return self.street.style.half_lanes

    def route(self, offset: float, wander_amplitude: float = 0.0, seed: int = 0, reverse: bool = False) -> Path:
        """A way along the street, ``offset`` metres to the left of its centre line.

        With ``wander_amplitude`` (metres) the driver swings around that offset.
        """
        waves = wander(np.random.default_rng([self.seed, 4, seed]), wander_amplitude)
        return Path(self.street.line, self.street.terrain, offset, waves, self.length, reverse)

    def footway(self, rng: np.random.Generator, seed: int = 0) -> Path:
        """A way for a slow robot: along a footpath, or at the edge of the road where no footpath is wide enough.

        The side and, where there is one, the footpath depend on the street alone; ``rng`` draws the place across it.
        """
        style = self.street.style
        sides = [(side, footpath(style, side)) for side in (1, 0)]
        side, band = next(((s, b) for s, b in sides if b is not None), (1, None))
        inner, outer = band or (style.half_lanes - 1.5, style.half_lanes - 0.8)
        sign = 1.0 if side == 0 else -1.0
        path = self.route(sign * rng.uniform(inner + 0.15, outer - 0.15), 0.08, seed)
        s = np.arange(self.street.line.start, self.street.line.end, 0.25)
        d = np.array([path.lateral_at(x)[0] for x in s])
        height = height_above_road(style, side_streets(self.seed, self.length, self.character), s, d)
        # as long as the robot: it does not jump up a kerb
        return replace(path, lift=np.column_stack([s, np.convolve(np.pad(height, 2, "edge"), np.ones(5) / 5, "valid")]))
