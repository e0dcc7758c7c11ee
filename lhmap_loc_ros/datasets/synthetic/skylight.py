# SPDX-License-Identifier: Apache-2.0
"""How much of the sky each pixel sees: the soft shadows under cars and between houses.

One ray for every 2x2 pixels, then averaged over neighbours on the same surface.
"""

import numpy as np
from numba import njit

from .noise import JIT, lattice

STEP = 2  # a ray for each STEP x STEP pixels
BLOCKED = 0.22  # light that still arrives from what blocks the sky


@njit(**JIT)
def sky_rays(directions, origins, reach, triangle, normal, width, seed):
    """Rays from every STEP-th hit into the sky around its normal: origins, directions, pixel numbers."""
    height = len(reach) // width
    start = np.empty((len(reach) // (STEP * STEP) + width + height, 3), np.float32)
    towards = np.empty_like(start)
    pixel = np.empty(len(start), np.int64)
    n = 0
    for row in range(0, height, STEP):
        for col in range(0, width, STEP):
            i = row * width + col
            if triangle[i] < 0:
                continue
            z = 2.0 * lattice(i, 11, seed) - 1.0
            angle = 2.0 * np.pi * lattice(i, 12, seed)
            flat = np.sqrt(max(0.0, 1.0 - z * z))
            x = normal[i, 0] + flat * np.cos(angle)
            y = normal[i, 1] + flat * np.sin(angle)
            z = abs(normal[i, 2] + z) + 0.02
            scale = 1.0 / np.sqrt(x * x + y * y + z * z)
            towards[n, 0], towards[n, 1], towards[n, 2] = x * scale, y * scale, z * scale
            lift = 3e-3 + 2e-5 * reach[i]
            for k in range(3):
                start[n, k] = origins[i, k] + directions[i, k] * reach[i] + normal[i, k] * lift
            pixel[n] = i
            n += 1
    return start[:n], towards[:n], pixel[:n]


@njit(**JIT)
def spread(seen, reach, triangle, normal, width, radius):
    """Average ``seen`` (n,), NaN where no ray went, over nearby pixels of the same plane; share of the sky (n,)."""
    height = len(reach) // width
    out = np.ones(len(reach), np.float32)
    for i in range(len(reach)):
        if triangle[i] < 0:
            continue
        row, col = i // width, i % width
        total, weight = 0.4, 0.5
        r0, c0 = row - row % STEP, col - col % STEP
        for r in range(max(0, r0 - radius), min(height, r0 + radius + 1), STEP):
            for c in range(max(0, c0 - radius), min(width, c0 + radius + 1), STEP):
                j = r * width + c
                if triangle[j] < 0 or abs(reach[j] - reach[i]) > 0.08 * reach[i]:
                    continue
                same = normal[i, 0] * normal[j, 0] + normal[i, 1] * normal[j, 1] + normal[i, 2] * normal[j, 2]
                if same > 0.8:
                    total += seen[j]
                    weight += 1.0
        out[i] = BLOCKED + (1.0 - BLOCKED) * total / weight
    return out
