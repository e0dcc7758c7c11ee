# SPDX-License-Identifier: Apache-2.0
"""Surface kinds and the table that gives each surface its look.

A surface is one row: a kind plus `COLUMNS` numbers. Colours are linear
albedo; `nir` is the reflectance a LiDAR sees. The image and the LiDAR share
the pattern (bricks, markings, stains), not the values.
"""

from enum import IntEnum

import numpy as np

COLUMNS = 16
(R1, G1, B1, R2, G2, B2, NIR1, NIR2, SEED, P0, P1, P2, P3, P4, GLOSS, GLOW) = range(COLUMNS)


class Kind(IntEnum):
    """What a surface is made of; selects the texture function."""

    PLAIN = 0  # P0: noise strength
    ROAD = 1  # decals are looked up by (s, d); P0: strength of the grain
    PAVING = 2  # P0, P1: slab size in metres, P2: 1 = running bond
    GRASS = 3
    BRICK = 4  # P0: length, P1: height in metres
    PLASTER = 5  # P0: plinth height, P1, P2: panel size (0 = none)
    WINDOW = 6  # P0, P1: size, P2: panes across, P3: panes up, P4: blind fraction
    ROOF = 7  # P0, P1: tile size
    BARK = 8
    LEAF = 9  # u: one random number per leaf
    PLANKS = 10  # P0: plank width
    SIGN = 11  # P0: face design, u and v in [-1, 1]
    PAINT = 12  # glossy car paint
    GLASS = 13  # car glass
    RETRO = 14  # number plates, reflectors
    STONE = 15  # P0: stone size


class SurfaceTable:
    """Collects surfaces; a surface is referred to by its row number."""

    def __init__(self) -> None:
        self._kinds: list[int] = []
        self._rows: list[np.ndarray] = []

    def add(self, kind, color, color2=None, nir=None, nir2=None, params=(), gloss=0.0, seed=0, glow=0.0) -> int:
        """Add a surface and return its row.

        `color`, `color2`: linear RGB albedo in [0, 1]; `nir`, `nir2`:
        near-infrared reflectance (default: brightness of the colour, lifted
        towards mid grey because pigments differ less in the near infrared).
        `glow`: how many times its colour it shines by night.
        """
        color = np.asarray(color, float)
        color2 = color if color2 is None else np.asarray(color2, float)
        row = np.zeros(COLUMNS)
        row[R1 : B1 + 1] = color
        row[R2 : B2 + 1] = color2
        row[NIR1] = 0.1 + 0.6 * color.mean() ** 0.8 if nir is None else nir
        row[NIR2] = (0.1 + 0.6 * color2.mean() ** 0.8) if nir2 is None else nir2
        row[SEED] = seed
        row[P0 : P0 + len(params)] = params
        row[GLOSS] = gloss
        row[GLOW] = glow
        self._kinds.append(int(kind))
        self._rows.append(row)
        return len(self._rows) - 1

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Kinds (n,) int32 and rows (n, COLUMNS) float32."""
        return np.array(self._kinds, np.int32), np.array(self._rows, np.float32)
