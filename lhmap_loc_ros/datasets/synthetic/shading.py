# SPDX-License-Identifier: Apache-2.0
"""Compiled shading of ray hits: light for the camera, reflectance for the LiDAR."""

import numpy as np
from numba import njit

from .light import sky
from .noise import JIT, fbm, lattice
from .surfaces import Kind
from .textures import texture


@njit(**JIT)
def camera_rays(pose, fx, fy, cx, cy, pixels):
    """Origins and unit directions (n, 3) float32, map frame, of the rays through ``pixels`` (n, 2)."""
    origins = np.empty((len(pixels), 3), np.float32)
    directions = np.empty((len(pixels), 3), np.float32)
    for i in range(len(pixels)):
        x = (pixels[i, 0] - cx) / fx
        y = (pixels[i, 1] - cy) / fy
        inv = 1.0 / np.sqrt(x * x + y * y + 1.0)
        for k in range(3):
            origins[i, k] = pose[k, 3]
            directions[i, k] = (pose[k, 0] * x + pose[k, 1] * y + pose[k, 2]) * inv
    return origins, directions


@njit(**JIT)
def surface_point(tri_uv, t, b1, b2):
    """Surface coordinates at barycentric weights b1, b2 of triangle t."""
    b0 = 1.0 - b1 - b2
    u = b0 * tri_uv[t, 0, 0] + b1 * tri_uv[t, 1, 0] + b2 * tri_uv[t, 2, 0]
    v = b0 * tri_uv[t, 0, 1] + b1 * tri_uv[t, 1, 1] + b2 * tri_uv[t, 2, 1]
    return u, v


@njit(**JIT)
def shadow_rays(origins, directions, reach, triangle, normal, sun):
    """Origins just above the lit hits, and their ray numbers."""
    out = np.empty((len(reach), 3), np.float32)
    index = np.empty(len(reach), np.int64)
    n = 0
    for i in range(len(reach)):
        if triangle[i] < 0:
            continue
        facing = normal[i, 0] * sun[0] + normal[i, 1] * sun[1] + normal[i, 2] * sun[2]
        if facing <= 0.0:
            continue
        lift = 2e-3 + 2e-5 * reach[i]
        for k in range(3):
            out[n, k] = origins[i, k] + directions[i, k] * reach[i] + normal[i, k] * lift
        index[n] = i
        n += 1
    return out[:n], index[:n]


@njit(**JIT)
def shade(
    directions,
    reach,
    triangle,
    bary,
    normal,
    lit,
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
):
    """Linear RGB (n, 3) of each ray. ``lit`` (n,): share of the sun, ``opened`` (n,): share of the sky seen."""
    out = np.empty((len(reach), 3), np.float32)
    for i in range(len(reach)):
        dx, dy, dz = directions[i]
        t = triangle[i]
        if t < 0:
            out[i, 0], out[i, 1], out[i, 2] = sky(dx, dy, dz, light, True)
            continue
        nx, ny, nz = normal[i]
        surface = tri_surface[t]
        kind = kinds[surface]
        cosine = max(0.02, -(nx * dx + ny * dy + nz * dz))
        fp = reach[i] * pixel / max(0.08, cosine) ** 0.6
        u, v = surface_point(tri_uv, t, bary[i, 0], bary[i, 1])
        r, g, b, _, gloss = texture(kind, rows[surface], u, v, fp, decals, starts, order, origin)
        sun = max(0.0, nx * light[0] + ny * light[1] + nz * light[2])
        if kind == Kind.LEAF:  # leaves scatter and let light through
            sun = 0.35 + 0.45 * sun
        elif kind == Kind.GRASS:
            sun = 0.25 + 0.6 * sun
        sun *= lit[i]
        up = (0.5 + 0.5 * nz) * opened[i]
        bounce = 0.22 * (0.5 - 0.5 * nz) + 0.05
        ir = light[3] * sun + light[6] * up + bounce * (light[3] * light[2] + light[6]) * 0.7
        ig = light[4] * sun + light[7] * up + bounce * (light[4] * light[2] + light[7]) * 0.7
        ib = light[5] * sun + light[8] * up + bounce * (light[5] * light[2] + light[8]) * 0.66
        r *= ir
        g *= ig
        b *= ib
        if gloss > 0.0:
            k = 2.0 * (nx * dx + ny * dy + nz * dz)
            rx, ry, rz = dx - k * nx, dy - k * ny, dz - k * nz
            sr, sg, sb = reflected(rx, ry, rz, light)
            f = gloss * (0.05 + 0.6 * (1.0 - cosine) ** 4)
            if kind == Kind.WINDOW:
                f += 0.1 * gloss
            spot = max(0.0, rx * light[0] + ry * light[1] + rz * light[2]) ** 180 * 2.0 * lit[i]
            r += f * (sr + spot * light[3])
            g += f * (sg + spot * light[4])
            b += f * (sb + spot * light[5])
        fog = np.exp(-light[16] * reach[i])
        glow = 0.65 + 0.3 * max(0.0, dx * light[0] + dy * light[1] + dz * light[2])
        out[i, 0] = r * fog + (1.0 - fog) * (light[12] * glow)
        out[i, 1] = g * fog + (1.0 - fog) * (light[13] * glow)
        out[i, 2] = b * fog + (1.0 - fog) * (light[14] * glow)
    return out


@njit(**JIT)
def reflected(x, y, z, light):
    """What a pane mirrors: sky, and below it a blurred row of houses and the street."""
    az = np.arctan2(y, x)
    roofs = 0.35 + 0.25 * fbm(az, 3.5, np.int64(light[17]) + 31, 0.35, 3, 0.6, 0.01)
    sr, sg, sb = sky(x, y, max(z, 0.04), light, True)
    t = min(1.0, max(0.0, (roofs - z) * 8.0))
    wall = 0.16 + 0.12 * fbm(az, z, np.int64(light[17]) + 37, 0.3, 3, 0.7, 0.01)
    tone = wall * (light[6] + 0.5 * light[3])
    return sr + (tone - sr) * t, sg + (tone - sg) * t, sb + (tone * 0.95 - sb) * t


@njit(**JIT)
def returns(
    directions,
    reach,
    triangle,
    bary,
    normal,
    seed,
    tri_uv,
    tri_surface,
    kinds,
    rows,
    decals,
    starts,
    order,
    origin,
    max_range,
    noise,
):
    """LiDAR range and intensity of each ray, with ``noise`` [m] of the range and lost returns."""
    distance = np.full(len(reach), np.inf, np.float32)
    intensity = np.zeros(len(reach), np.float32)
    for i in range(len(reach)):
        t = triangle[i]
        if t < 0 or reach[i] > max_range:
            continue
        surface = tri_surface[t]
        kind = kinds[surface]
        cosine = max(
            0.02, -(normal[i, 0] * directions[i, 0] + normal[i, 1] * directions[i, 1] + normal[i, 2] * directions[i, 2])
        )
        u, v = surface_point(tri_uv, t, bary[i, 0], bary[i, 1])
        _, _, _, nir, gloss = texture(kind, rows[surface], u, v, 0.003 * reach[i] + 0.01, decals, starts, order, origin)
        luck = lattice(i, 1, seed)
        if (kind == Kind.WINDOW or kind == Kind.GLASS) and gloss > 0.5:
            if luck > 0.12 + 0.5 * (cosine > 0.985):
                continue
        value = nir * (0.45 + 0.55 * cosine**0.7)
        if kind == Kind.RETRO or kind == Kind.SIGN:
            value = nir * (0.6 + 0.4 * min(1.0, cosine * 2.0))
        # Weak echoes from afar are lost.
        if value * (60.0 / max(reach[i], 1.0)) ** 2 < 0.05 + 0.04 * luck:
            continue
        spread = (lattice(i, 2, seed) + lattice(i, 3, seed) + lattice(i, 4, seed) - 1.5) * 2.0
        distance[i] = reach[i] + noise * spread
        value *= 1.0 + 0.06 * ((lattice(i, 5, seed) + lattice(i, 6, seed)) - 1.0)
        intensity[i] = min(1.0, max(0.0, value))
    return distance, intensity


@njit(**JIT)
def edges(surface, reach, width):
    """Indices of pixels where neighbours show something else, row-major image."""
    n = len(reach)
    out = np.empty(n, np.int64)
    m = 0
    for i in range(n):
        col = i % width
        found = surface[i] == -2
        for j in (
            i - 1 if col > 0 else i,
            i + 1 if col < width - 1 else i,
            i - width if i >= width else i,
            i + width if i + width < n else i,
        ):
            if surface[j] != surface[i] or abs(reach[j] - reach[i]) > 0.3 * min(reach[i], reach[j]):
                found = True
        if found:
            out[m] = i
            m += 1
    return out[:m]


@njit(**JIT)
def develop(linear, width, height, exposure, target, balance, contrast, noise, vignette, seed):
    """Linear RGB to an 8-bit picture: exposure, vignette, shoulder, gamma, noise."""
    out = np.empty((height, width, 3), np.uint8)
    total = 0.0
    for i in range(len(linear)):
        total += min(1.2, 0.3 * linear[i, 0] + 0.6 * linear[i, 1] + 0.1 * linear[i, 2])
    mean = max(1e-3, total / len(linear))
    # The camera adapts to the scene, but not fully: dark streets stay darker.
    gain = exposure * target / (mean**0.7 * 0.35**0.3)
    for i in range(len(linear)):
        row = i // width
        col = i - row * width
        x = (col + 0.5) / width - 0.5
        y = ((row + 0.5) / height - 0.5) * height / width
        fall = 1.0 - vignette * 4.0 * (x * x + y * y) * 0.5
        for k in range(3):
            c = linear[i, k] * gain * balance[k] * fall
            c = c * (1.0 + c / 5.0) / (1.0 + 0.75 * c)
            g = 255.0 * min(1.0, max(0.0, c)) ** (1.0 / 2.2) / 255.0
            g = 255.0 * (g + contrast * (g * g * (3.0 - 2.0 * g) - g))
            rnd = lattice(i, 3 * k, seed) + lattice(i, 3 * k + 1, seed) + lattice(i, 3 * k + 2, seed) - 1.5
            g += noise * 2.0 * rnd
            out[row, col, k] = np.uint8(min(255.0, max(0.0, g + 0.5)))
    return out
