# SPDX-License-Identifier: Apache-2.0
"""Procedural surface textures, compiled: colour and near-infrared reflectance at a point."""

import numpy as np
from numba import njit

from .markings import BIN
from .noise import JIT, band, fbm, lattice
from .street import ARROW, CRACK, DISC, PAINT, PATCH, STAIN
from .surfaces import (
    B1,
    B2,
    G1,
    G2,
    GLOSS,
    NIR1,
    NIR2,
    P0,
    P1,
    P2,
    P3,
    P4,
    R1,
    R2,
    SEED,
    Kind,
)


@njit(**JIT)
def _mix(row, t, gain):
    """Blend the two colours of a surface by t in [0, 1] and scale them."""
    t = min(1.0, max(0.0, t))
    return (
        (row[R1] + (row[R2] - row[R1]) * t) * gain,
        (row[G1] + (row[G2] - row[G1]) * t) * gain,
        (row[B1] + (row[B2] - row[B1]) * t) * gain,
        (row[NIR1] + (row[NIR2] - row[NIR1]) * t) * (0.5 + 0.5 * gain),
    )


@njit(**JIT)
def _joint(x, period, width, fp):
    """Coverage by joints repeating every `period` metres."""
    r = x / period - np.floor(x / period)
    return band(min(r, 1.0 - r) * period, width, fp) if fp < period else 2.0 * width / period


@njit(**JIT)
def _road(row, s, d, fp, decals, starts, order, origin):
    seed = np.int64(row[SEED])
    lane_wear = 0.05 * np.sin(d * 3.6) + 0.1 * fbm(s * 0.12, d, seed + 3, 1.3, 3, 0.6, fp)
    grain = fbm(s, d, seed, 6.0, 10, 0.72, fp)
    coarse = fbm(s, d * 1.7, seed + 8, 14.0, 3, 0.6, fp)
    r, g, b, nir = _mix(row, 0.35 - 0.3 * coarse, max(0.3, 1.0 + lane_wear + row[P0] * grain))
    k = np.int64((s - origin) / BIN)
    if k < 0 or k >= len(starts) - 1:
        return r, g, b, nir
    for j in range(starts[k], starts[k + 1]):
        q = decals[order[j]]
        ds = s - q[1]
        dd = d - q[2]
        hs = q[3]
        hd = q[4]
        kind = np.int64(q[0])
        if kind == CRACK:  # tar line: wavy along s
            dd += 0.25 * fbm(s, q[6], np.int64(q[6]), 1.5, 3, 0.5, 0.0)
        if abs(ds) > hs + fp or abs(dd) > hd + fp:
            continue
        cover = band(ds, hs, fp) * band(dd, hd, fp)
        if kind == DISC:
            cover = band(np.sqrt(ds * ds + dd * dd), hs, fp)
        elif kind == ARROW:  # arrow head: narrows towards its tip
            tip = hd * 0.5 * (1.0 - q[7] * ds / hs)
            cover = band(ds, hs, fp) * band(dd, max(tip, 0.0), fp)
        if kind == STAIN:  # oil, dirt, dust: soft and blotchy
            soft = 1.0 - (ds * ds) / (hs * hs) - (dd * dd) / (hd * hd)
            if soft <= 0.0:
                continue
            blot = 0.55 + 0.5 * fbm(s, d, np.int64(q[6]), 1.2, 5, 0.7, fp)
            gain = 1.0 + q[5] * min(1.0, max(0.0, 1.6 * soft * blot))
            r *= gain
            g *= gain
            b *= gain
            nir *= gain
        elif kind == PAINT or kind == ARROW:
            worn = fbm(s, d, np.int64(q[6]), 0.5, 5, 0.75, fp) + 0.5 * fbm(s, d, seed, 5.0, 2, 0.5, fp)
            cover *= min(1.0, max(0.12, 1.15 - 0.9 * max(0.0, worn)))
            w = 0.62 + 0.1 * grain
            y = 0.4 if q[7] < 0.0 and kind == PAINT else 1.0
            r += (w - r) * cover
            g += (w * (0.82 + 0.18 * y) - g) * cover
            b += (w * y * 0.97 - b) * cover
            nir += (0.68 + 0.06 * grain - nir) * cover
        elif kind == PATCH:
            gain = 1.0 + q[5] * cover
            if fp < 0.08:  # darker sealed rim
                rim = max(band(abs(ds) - hs, 0.03, fp), band(abs(dd) - hd, 0.03, fp)) * cover
                gain *= 1.0 - 0.35 * rim
            r *= gain
            g *= gain
            b *= gain
            nir *= 1.0 + 0.6 * (gain - 1.0)
        elif kind == DISC:
            ring = band(np.sqrt(ds * ds + dd * dd) - 0.27, 0.025, fp)
            w = (0.09 + 0.06 * lattice(np.floor(ds * 20), np.floor(dd * 20), 5)) * (1.0 - 0.7 * ring)
            r += (w - r) * cover
            g += (w - g) * cover
            b += (w * 0.9 - b) * cover
            nir += (0.3 - nir) * cover
        else:
            gain = 1.0 - q[5] * cover
            r *= gain
            g *= gain
            b *= gain
            nir *= gain
    return r, g, b, nir


@njit(**JIT)
def _masonry(row, u, v, length, height, joint, bond, fp, vary):
    """Bricks, slabs or tiles with joints in the second colour."""
    seed = np.int64(row[SEED])
    j = np.floor(v / height)
    shift = 0.5 * length * (j - 2.0 * np.floor(j * 0.5)) * bond
    i = np.floor((u + shift) / length)
    fade = min(1.0, max(0.0, 1.5 - 2.0 * fp / height))
    each = (lattice(np.int64(i), np.int64(j), seed) - 0.5) * vary * fade
    gap = max(_joint(u + shift, length, joint, fp), _joint(v, height, joint, fp))
    stain = fbm(u, v, seed + 1, 3.0, 8, 0.65, fp)
    return _mix(row, gap * 0.9, 1.0 + each + 0.16 * stain)


@njit(**JIT)
def _window(row, u, v, fp):
    """Frame and panes in front of a dark room with curtains. Returns also how much is glass."""
    w, h = row[P0], row[P1]
    seed = np.int64(row[SEED])
    edge = min(min(u, w - u), min(v, h - v))
    frame = band(edge, 0.06, fp)
    if row[P2] > 1.0:
        frame = max(frame, _joint(u, w / row[P2], 0.028, fp))
    if row[P3] > 1.0:
        frame = max(frame, _joint(v, h / row[P3], 0.028, fp))
    room = 0.025 + 0.03 * lattice(np.int64(u * 3), np.int64(v * 2), seed)
    blind = row[P4]
    curtain = 0.0
    if v > h * (1.0 - blind):
        curtain = 0.8
    elif lattice(seed, 3, seed) < 0.5 and min(u, w - u) < 0.22 * w:
        curtain = 0.6
    room += curtain * (0.22 + 0.1 * np.sin(u * 60.0) * min(1.0, 0.03 / (fp + 1e-6)))
    glass = 1.0 - frame
    r = row[R1] * frame + room * glass
    g = row[G1] * frame + room * glass
    b = row[B1] * frame + room * 0.95 * glass
    return r, g, b, row[NIR1] * frame + 0.04 * glass, glass


@njit(**JIT)
def _sign(row, u, v, fp):
    """Traffic sign faces: red ring, blue disc with arrow, red triangle, plain board."""
    design = np.int64(row[P0])
    rad = np.sqrt(u * u + v * v)
    dark = 0.0
    if design == 0:
        ring = 1.0 if rad > 0.72 else 0.0
        dark = 1.0 if abs(u) < 0.3 and abs(v) < 0.28 and abs(abs(u) - 0.18) < 0.09 else 0.0
    elif design == 1:
        ring = 1.0 if (abs(u) > 0.12 or abs(v) > 0.6) and abs(u) + max(0.0, v) > 0.5 else 0.0
    elif design == 2:
        ring = 1.0 if max(abs(u) * 0.87 + v * 0.5, -v) > 0.3 else 0.0
        dark = 1.0 if abs(u) < 0.06 and abs(v) < 0.2 else 0.0
    else:
        ring = 1.0 if max(abs(u), abs(v)) > 0.9 else 0.0
        row_y = np.floor(v * 4.0)
        letter = lattice(np.int64(u * 9 + 50), np.int64(row_y + 9), np.int64(row[SEED])) < 0.3
        dark = 0.8 if letter and ring == 0.0 else 0.0
    r, g, b, nir = _mix(row, 1.0 - ring, 1.0)
    return r * (1 - dark), g * (1 - dark), b * (1 - dark), nir * (1 - 0.5 * dark)


@njit(**JIT)
def texture(kind, row, u, v, fp, decals, starts, order, origin):
    """(r, g, b, nir, gloss) of a surface at (u, v) metres seen with pixel size `fp` metres."""
    seed = np.int64(row[SEED])
    gloss = row[GLOSS]
    if kind == Kind.ROAD:
        r, g, b, nir = _road(row, u, v, fp, decals, starts, order, origin)
    elif kind == Kind.PAVING:
        r, g, b, nir = _masonry(row, u, v, row[P0], row[P1], 0.008, row[P2], fp, 0.22)
    elif kind == Kind.GRASS:
        patch = fbm(u, v, seed, 7.0, 4, 0.6, fp) + row[P0]
        blade = fbm(u, v, seed + 5, 0.9, 7, 0.85, fp)
        r, g, b, nir = _mix(row, 0.3 + 0.8 * patch + 0.2 * blade, max(0.25, 1.0 + 0.4 * blade))
    elif kind == Kind.BRICK:
        r, g, b, nir = _masonry(row, u, v, row[P0], row[P1], 0.006, 1.0, fp, 0.35)
    elif kind == Kind.PLASTER:
        dirt = fbm(u, v, seed, 4.0, 9, 0.66, fp)
        streak = fbm(u, v * 0.08, seed + 9, 0.8, 4, 0.7, fp)
        damp = max(0.0, 1.0 - v / 1.2) * 0.18
        gain = 1.0 + 0.09 * dirt + 0.07 * streak - damp
        gap = 0.0
        if row[P1] > 0.0:
            gap = max(_joint(u, row[P1], 0.012, fp), _joint(v, row[P2], 0.012, fp))
        r, g, b, nir = _mix(row, max(gap * 0.8, band(v, row[P0], fp) if row[P0] > 0 else 0.0), gain)
    elif kind == Kind.WINDOW:
        r, g, b, nir, glass = _window(row, u, v, fp)
        gloss = glass
    elif kind == Kind.ROOF:
        r, g, b, nir = _masonry(row, u, v, row[P0], row[P1], 0.02, 1.0, fp, 0.3)
        saw = v / row[P1] - np.floor(v / row[P1])
        shade = 1.0 - 0.3 * (saw - 0.5) * min(1.0, max(0.0, 1.5 - 2.0 * fp / row[P1]))
        r *= shade
        g *= shade
        b *= shade
    elif kind == Kind.BARK:
        t = fbm(u, v * 0.2, seed, 0.12, 4, 0.7, fp) + 0.5 * fbm(u, v, seed + 1, 1.0, 3, 0.6, fp)
        r, g, b, nir = _mix(row, 0.5 + 0.5 * t, 1.0 + 0.2 * t)
    elif kind == Kind.LEAF:
        r, g, b, nir = _mix(row, u - np.floor(u), 0.65 + 0.7 * (v - np.floor(v)))
    elif kind == Kind.PLANKS:
        i = np.floor(u / row[P0])
        each = (lattice(np.int64(i), 7, seed) - 0.5) * 0.35
        grain = fbm(u * 6.0, v * 0.5, seed, 0.5, 5, 0.7, fp * 3)
        r, g, b, nir = _mix(row, _joint(u, row[P0], 0.008, fp), 1.0 + each + 0.18 * grain)
    elif kind == Kind.SIGN:
        r, g, b, nir = _sign(row, u, v, fp)
    elif kind == Kind.STONE:
        w = row[P0]
        uu = u + 0.35 * w * fbm(u, v, seed + 2, 1.5 * w, 2, 0.5, 0.0)
        vv = v + 0.25 * w * fbm(u, v, seed + 4, 1.5 * w, 2, 0.5, 0.0)
        r, g, b, nir = _masonry(row, uu, vv, w, 0.6 * w, 0.02, 1.0, fp, 0.6)
    else:
        n = fbm(u, v, seed, 1.0, 6, 0.7, fp)
        r, g, b, nir = _mix(row, 0.5 + 0.5 * n, 1.0 + row[P0] * n)
    return max(0.004, r), max(0.004, g), max(0.004, b), min(1.0, max(0.01, nir)), gloss
