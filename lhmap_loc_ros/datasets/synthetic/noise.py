# SPDX-License-Identifier: Apache-2.0
"""Band-limited procedural noise, compiled with numba.

Every function is a pure function of position and seed, so the same surface
point looks the same from every viewpoint and on every machine.
"""

import numpy as np
from numba import njit

# Infinity marks "nothing hit", so the flags that assume finite numbers stay off.
JIT = {"cache": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "arcp", "afn", "nsz"}}


@njit(inline="always")
def lattice(ix, iy, seed):
    """Hash an integer lattice point to a float in [0, 1)."""
    h = np.uint32(ix) * np.uint32(374761393) + np.uint32(iy) * np.uint32(668265263)
    h = np.uint32(h + np.uint32(seed) * np.uint32(2246822519))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(2654435761))
    h = np.uint32(h ^ (h >> np.uint32(16)))
    return np.float32(h >> np.uint32(8)) * np.float32(1.0 / 16777216.0)


@njit(**JIT)
def value_noise(x, y, seed):
    """Smooth lattice noise with period about one unit, in [-1, 1]."""
    fx = np.floor(x)
    fy = np.floor(y)
    ix = np.int64(fx)
    iy = np.int64(fy)
    tx = x - fx
    ty = y - fy
    tx = tx * tx * (3.0 - 2.0 * tx)
    ty = ty * ty * (3.0 - 2.0 * ty)
    a = lattice(ix, iy, seed)
    b = lattice(ix + 1, iy, seed)
    c = lattice(ix, iy + 1, seed)
    d = lattice(ix + 1, iy + 1, seed)
    top = a + (b - a) * tx
    low = c + (d - c) * tx
    return 2.0 * (top + (low - top) * ty) - 1.0


@njit(**JIT)
def fbm(x, y, seed, wavelength, octaves, gain, footprint):
    """Sum octaves of noise, leaving out those finer than the pixel.

    `wavelength` (metres) is that of the coarsest octave; each next one is half
    as long and `gain` as strong. Octaves shorter than twice `footprint` (the
    metres one pixel covers) fade out instead of aliasing.
    """
    total = 0.0
    amplitude = 1.0
    for i in range(octaves):
        fade = wavelength / (footprint + 1e-6) * 0.5 - 0.5
        if fade <= 0.0:
            break
        if fade > 1.0:
            fade = 1.0
        inv = 1.0 / wavelength
        total += amplitude * fade * value_noise(x * inv, y * inv, seed + 17 * i)
        amplitude *= gain
        wavelength *= 0.5
    return total


@njit(**JIT)
def band(distance, half_width, footprint):
    """Coverage in [0, 1] of a pixel by a band of the given half width (metres)."""
    soft = max(footprint, 1e-4)
    cover = (half_width - abs(distance)) / soft + 0.5
    return min(1.0, max(0.0, cover)) * min(1.0, 2.0 * half_width / soft)
