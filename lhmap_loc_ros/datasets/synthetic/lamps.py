# SPDX-License-Identifier: Apache-2.0
"""Lamps of the night: street lamps, headlights and lit windows, and the dark sky above them.

A lamp is a row: position (3), direction (3), the cosine at which its cone ends, power (3: linear RGB, irradiance at
one metre). Its light falls off with the square of the distance and throws no shadow.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .noise import JIT, fbm, lattice
from .shading import surface_point
from .surfaces import GLOW, P0, P1, SEED, Kind
from .textures import texture

COLUMNS = 10
REACH = 110.0  # lamps farther from the camera than this are left out [m]
_SODIUM, _WHITE = np.array([1.0, 0.62, 0.25]), np.array([1.0, 0.9, 0.72])
_LED = np.array([0.95, 1.0, 1.05])
_STREET_POWER = 16.0  # of a lamp 5 m high
_CAR_POWER = 35.0
_HUNG = 6.5  # height of lamps that hang over the street [m]


def street_lamps(places: np.ndarray, line, terrain, seed: int) -> np.ndarray:
    """Rows of the lamps on posts at ``places`` (n, 4: see Geometry.lamps), and of others hung between these.

    Of one kind in a town, a few out of order. In one town of four nothing hangs over the street.
    """
    rng = np.random.default_rng([seed, 9])
    if rng.random() < 0.75:
        x, y = line.offset(np.arange(line.start, line.end, rng.uniform(24, 36)), 0.0)
        gap = np.linalg.norm(np.stack([x, y], 1)[:, None] - places[None, :, :2], axis=2).min(1, initial=np.inf) > 20.0
        hung = np.stack([x, y, terrain.height(x, y) + _HUNG, np.full(len(x), _HUNG)], 1)[gap]
        places = np.vstack([places, hung])
    tint = (_SODIUM, _WHITE, _LED)[rng.integers(3)]
    working = rng.random(len(places)) < 0.94
    down = np.tile([0.0, 0.0, -1.0, -0.25], (len(places), 1))
    power = _STREET_POWER * rng.uniform(0.7, 1.4) * (places[:, 3:] / 5.0) ** 1.2 * tint
    return np.hstack([places[:, :3] - [0, 0, 0.05], down, power])[working]


def headlights(T_map_base: np.ndarray, places, power: float) -> np.ndarray:
    """Rows of lamps at ``places`` (x, y, z in base_link) that shine ahead and a little down."""
    ahead = T_map_base[:3, :3] @ np.array([np.cos(0.05), 0.0, -np.sin(0.05)])
    at = np.asarray(places, float) @ T_map_base[:3, :3].T + T_map_base[:3, 3]
    others = np.tile([*ahead, np.cos(np.radians(26)), *(power * _LED)], (len(at), 1))
    return np.hstack([at, others])


def lamps_near(eye: np.ndarray, fixed: np.ndarray, movers, own: np.ndarray | None) -> np.ndarray:
    """All lamps that matter to a camera at ``eye``: of the street, of cars that move, its own."""
    rows = [fixed[np.linalg.norm(fixed[:, :3] - eye, axis=1) < REACH]]
    rows += [headlights(m.pose, ((2.1, 0.0, 0.65),), _CAR_POWER) for m in movers]
    return np.ascontiguousarray(np.vstack(rows if own is None else [*rows, own]))


@njit(**JIT)
def irradiance(lamp, x, y, z, nx, ny, nz):
    """What a lamp of power 1 gives a surface at (x, y, z) with that normal, and the direction to it (3)."""
    lx, ly, lz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    square = lx * lx + ly * ly + lz * lz + 0.01
    inv = 1.0 / np.sqrt(square)
    lx, ly, lz = lx * inv, ly * inv, lz * inv
    beam = (-(lx * lamp[3] + ly * lamp[4] + lz * lamp[5]) - lamp[6]) / (1.0 - lamp[6])
    if beam <= 0.0:
        return 0.0, lx, ly, lz
    facing = max(0.0, lx * nx + ly * ny + lz * nz)
    return facing * min(1.0, 1.6 * beam) * beam / square, lx, ly, lz


@njit(**JIT)
def add_lamps(
    color,
    origins,
    directions,
    reach,
    triangle,
    bary,
    normal,
    opened,
    pixel,
    tri_uv,
    tri_surface,
    kinds,
    rows,
    decals,
    starts,
    order,
    origin,
    light,
    lamps,
    fixed,
):
    """Light of ``lamps`` (m, COLUMNS) and what glows, added to linear colours (n, 3) in place; the sky drawn anew.

    The first ``fixed`` triangles do not move: the lights of parked cars are off.
    """
    for i in range(len(reach)):
        dx, dy, dz = directions[i]
        t = triangle[i]
        if t < 0:
            color[i, 0], color[i, 1], color[i, 2] = dark_sky(dx, dy, dz, light)
            continue
        nx, ny, nz = normal[i]
        x, y, z = origins[i, 0] + dx * reach[i], origins[i, 1] + dy * reach[i], origins[i, 2] + dz * reach[i]
        surface = tri_surface[t]
        kind, row = kinds[surface], rows[surface]
        u, v = surface_point(tri_uv, t, bary[i, 0], bary[i, 1])
        leaf = kind == Kind.LEAF or kind == Kind.GRASS  # leaves and grass are lit from both sides
        ir, ig, ib = 0.0, 0.0, 0.0
        for k in range(len(lamps)):
            e, lx, ly, lz = irradiance(lamps[k], x, y, z, nx, ny, nz)
            if leaf:
                e = 0.3 * e + 0.25 * irradiance(lamps[k], x, y, z, lx, ly, lz)[0]
            if kind == Kind.SIGN or kind == Kind.RETRO:  # signs and reflectors send light back to where it came from
                back = max(0.0, -(lx * dx + ly * dy + lz * dz))
                e *= 1.0 + 5.0 * back**40
            ir += e * lamps[k, 7]
            ig += e * lamps[k, 8]
            ib += e * lamps[k, 9]
        shade = (0.3 + 0.7 * opened[i]) * np.exp(-light[16] * reach[i])
        cosine = max(0.08, -(nx * dx + ny * dy + nz * dz))
        r, g, b, _, glass = texture(kind, row, u, v, reach[i] * pixel / cosine**0.6, decals, starts, order, origin)
        glow = row[GLOW]
        if glow > 0.0 and (kind != Kind.RETRO or t >= fixed):
            color[i, 0] += glow * r
            color[i, 1] += glow * g
            color[i, 2] += glow * b
        elif kind == Kind.WINDOW and glass > 0.5:
            lit = lit_window(row, x, y, z, u, v, nx, ny)
            color[i, 0] += lit * (0.35 + 6.0 * r)
            color[i, 1] += lit * (0.24 + 4.4 * g)
            color[i, 2] += lit * (0.12 + 2.6 * b)
        color[i, 0] += r * ir * shade
        color[i, 1] += g * ig * shade
        color[i, 2] += b * ib * shade


@njit(**JIT)
def add_glare(color, directions, eye, lamps):
    """What a lens at ``eye`` makes of lamps (m, COLUMNS) that shine into it, in place: bright spots with a veil."""
    for k in range(len(lamps)):
        lx, ly, lz = lamps[k, 0] - eye[0], lamps[k, 1] - eye[1], lamps[k, 2] - eye[2]
        distance = np.sqrt(lx * lx + ly * ly + lz * lz)
        lx, ly, lz = lx / distance, ly / distance, lz / distance
        beam = (-(lx * lamps[k, 3] + ly * lamps[k, 4] + lz * lamps[k, 5]) - lamps[k, 6]) / (1.0 - lamps[k, 6])
        if distance < 2.5 or beam <= 0.0:
            continue
        most = max(lamps[k, 7], lamps[k, 8], lamps[k, 9])
        for i in range(len(color)):
            along = lx * directions[i, 0] + ly * directions[i, 1] + lz * directions[i, 2]
            if along < 0.98:
                continue
            angle = np.sqrt(max(0.0, 2.0 - 2.0 * along))
            spot = 4.0 * np.exp(-((angle * distance / 0.13) ** 2)) + 0.12 * np.exp(-angle / 0.025)
            for c in range(3):
                color[i, c] += min(1.0, 4.0 * beam) * spot * lamps[k, 7 + c] / most


@njit(**JIT)
def lit_window(row, x, y, z, u, v, nx, ny):
    """How bright the room behind a window is: its corner draws the lot, which all its points share."""
    length = np.sqrt(nx * nx + ny * ny) + 1e-9
    px, py, pz = x + u * ny / length, y - u * nx / length, z - v
    luck = lattice(
        np.int64(np.round(px * 2.0)) + 7 * np.int64(np.round(pz * 2.0)),
        np.int64(np.round(py * 2.0)),
        np.int64(row[SEED]),
    )
    if luck > 0.22:
        return 0.0
    middle = 1.0 - 0.4 * abs(u / row[P0] - 0.5) - 0.3 * abs(v / row[P1] - 0.6)
    return (0.25 + 3.0 * luck) * middle


@njit(**JIT)
def dark_sky(x, y, z, light):
    """Sky radiance in a unit direction after sunset: a glow where the sun went down, the land black before it."""
    seed = np.int64(light[17])
    az = np.arctan2(y, x)
    skyline = 0.03 + 0.02 * fbm(az, 0.5, seed, 0.9, 5, 0.6, 0.002) + 0.01 * fbm(az, 9.5, seed, 0.1, 4, 0.7, 0.002)
    t = min(1.0, max(z, 0.0) * 2.2) ** 0.6
    west = 0.5 + 0.5 * (x * light[0] + y * light[1])
    glow = (1.0 - t) * west * west
    far = 0.15 if z < skyline else 1.0
    k = 1.0 / (max(z, 0.0) + 0.15)
    veil = 1.0 + 0.25 * fbm(x * k, y * k, seed + 1, 2.6, 5, 0.55, 0.01 * k) * min(1.0, max(z, 0.0) * 6.0)
    return (
        far * veil * (light[9] + (light[12] - light[9]) * (0.3 * (1.0 - t) + 0.7 * glow)),
        far * veil * (light[10] + (light[13] - light[10]) * (0.3 * (1.0 - t) + 0.7 * glow)),
        far * veil * (light[11] + (light[14] - light[11]) * (0.3 * (1.0 - t) + 0.7 * glow)),
    )
