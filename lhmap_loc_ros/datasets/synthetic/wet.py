# SPDX-License-Identifier: Apache-2.0
"""Wet ground: darker, a mirror of sky, houses and lamps at low angles, and weak echoes for the LiDAR."""

from __future__ import annotations

import numpy as np
from numba import njit

from .lamps import dark_sky, irradiance
from .light import sky
from .noise import JIT, fbm, lattice
from .surfaces import B1, G1, GLOW, R1, Kind

_DARKER = 0.55  # colour of soaked asphalt and stone


@njit(**JIT)
def mirror_rays(origins, directions, reach, triangle, normal, tri_surface, kinds, seed):
    """Mirrored rays from the wet hits: origins, directions (m, 3), and the numbers (m,) of the rays they come from."""
    start = np.empty((len(reach), 3), np.float32)
    towards = np.empty_like(start)
    index = np.empty(len(reach), np.int64)
    n = 0
    for i in range(len(reach)):
        if triangle[i] < 0 or not soaked(kinds[tri_surface[triangle[i]]], normal[i, 2]):
            continue
        for k in range(3):
            start[n, k] = origins[i, k] + directions[i, k] * reach[i] + normal[i, k] * (3e-3 + 2e-5 * reach[i])
        # the film is not quite flat
        x, y, footprint = start[n, 0], start[n, 1], 0.002 * reach[i]
        a = normal[i, 0] + 0.012 * fbm(x, y, seed + 5, 0.5, 4, 0.7, footprint)
        b = normal[i, 1] + 0.012 * fbm(x, y, seed + 6, 0.5, 4, 0.7, footprint)
        dot = 2.0 * (a * directions[i, 0] + b * directions[i, 1] + normal[i, 2] * directions[i, 2])
        towards[n, 0] = directions[i, 0] - dot * a
        towards[n, 1] = directions[i, 1] - dot * b
        towards[n, 2] = directions[i, 2] - dot * normal[i, 2]
        inv = 1.0 / np.sqrt(towards[n, 0] ** 2 + towards[n, 1] ** 2 + towards[n, 2] ** 2)
        for k in range(3):
            towards[n, k] *= inv
        index[n] = i
        n += 1
    return start[:n], towards[:n], index[:n]


@njit(**JIT)
def soaked(kind, up):
    """Whether a surface holds a film of water: road and paving that lie flat."""
    return (kind == Kind.ROAD or kind == Kind.PAVING) and up > 0.8


@njit(**JIT)
def wet_ground(
    color, index, start, towards, mirrored, facing, tri_surface, kinds, rows, normal, reach, light, lamps, fixed, seed
):
    """Darken the wet pixels ``index`` of linear colours (n, 3) and let them mirror what is there, in place.

    ``mirrored``, ``facing``: the triangle (m,) each mirrored ray meets and its normal (m, 3); the sky where that is -1.
    ``fixed``: see add_lamps.
    """
    for j in range(len(index)):
        i = index[j]
        x, y, z = start[j]
        rx, ry, rz = towards[j]
        pool = min(1.0, max(0.0, 0.35 + 0.9 * fbm(x, y, seed, 3.0, 5, 0.6, 0.002 * reach[i])))
        cosine = max(0.0, rx * normal[i, 0] + ry * normal[i, 1] + rz * normal[i, 2])
        share = (0.02 + 0.98 * (1.0 - cosine) ** 5) * (0.3 + 0.7 * pool)
        if mirrored[j] >= 0:
            surface = tri_surface[mirrored[j]]
            row = rows[surface]
            sun = 0.6 * max(0.0, facing[j, 0] * light[0] + facing[j, 1] * light[1] + facing[j, 2] * light[2])
            off = len(lamps) == 0 or (kinds[surface] == Kind.RETRO and mirrored[j] < fixed)
            shine = 0.0 if off else row[GLOW]
            r = row[R1] * (0.6 * light[6] + sun * light[3] + shine)
            g = row[G1] * (0.6 * light[7] + sun * light[4] + shine)
            b = row[B1] * (0.6 * light[8] + sun * light[5] + shine)
        elif len(lamps):
            r, g, b = dark_sky(rx, ry, max(rz, 0.06), light)
        else:
            r, g, b = sky(rx, ry, max(rz, 0.06), light, True)
        dark = 1.0 - (1.0 - _DARKER) * (0.6 + 0.4 * pool)
        color[i, 0] = color[i, 0] * dark * (1.0 - share) + share * r
        color[i, 1] = color[i, 1] * dark * (1.0 - share) + share * g
        color[i, 2] = color[i, 2] * dark * (1.0 - share) + share * b
        for k in range(len(lamps)):  # each lamp mirrored as a streak: the film is rough along the line of sight
            e, lx, ly, lz = irradiance(lamps[k], x, y, z, 0.0, 0.0, 1.0)
            if e <= 0.0 or lx * rx + ly * ry < 0.0:
                continue
            aside = np.arctan2(lx * ry - ly * rx, lx * rx + ly * ry)
            above = (lz - rz) / (0.08 + 0.25 * max(lz, rz))
            streak = np.exp(-((aside / (0.02 + 0.03 * (1.0 - pool))) ** 2) - above * above)
            gain = min(6.0, 2.5 * streak * (0.15 + share) * e / max(lz, 0.05))
            color[i, 0] += gain * lamps[k, 7]
            color[i, 1] += gain * lamps[k, 8]
            color[i, 2] += gain * lamps[k, 9]


@njit(**JIT)
def wet_returns(distance, intensity, directions, triangle, normal, tri_surface, kinds, seed):
    """Weaken the echoes (n,) of wet ground, in place; at low angles most of the light is mirrored away."""
    for i in range(len(distance)):
        t = triangle[i]
        if t < 0 or not np.isfinite(distance[i]):
            continue
        kind = kinds[tri_surface[t]]
        if not soaked(kind, normal[i, 2]):
            continue
        cosine = -(normal[i, 0] * directions[i, 0] + normal[i, 1] * directions[i, 1] + normal[i, 2] * directions[i, 2])
        intensity[i] *= 0.2 + 0.4 * max(0.0, cosine)
        if intensity[i] * (60.0 / max(distance[i], 1.0)) ** 2 < 0.05 + 0.04 * lattice(i, 7, seed):
            distance[i] = np.inf
            intensity[i] = 0.0
