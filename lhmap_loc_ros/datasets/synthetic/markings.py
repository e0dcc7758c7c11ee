# SPDX-License-Identifier: Apache-2.0
"""Decals on the road: lines, crosswalks, arrows, bays, patches, manholes, cracks."""

import numpy as np

from .street import ARROW, CRACK, DISC, PAINT, PATCH, STAIN

BIN = 2.0  # metres of station per bucket


def draw_decals(rng, line, style, sides) -> np.ndarray:
    """All decals of a street, (n, 8): type, s, d, half length s, half width d, strength, seed, sign of direction."""
    decals: list[tuple] = []
    _wear(rng, decals, line, style)
    if not style.walkway:
        _paint(rng, decals, line, style, sides)
    out = np.array(decals, np.float32)
    out[:, 6] = rng.integers(1, 1 << 16, len(out))
    return out


def _paint(rng, decals, line, style, sides):
    """What is painted for traffic."""
    crossings = _crossings(rng, decals, line, style, sides)
    blocked = lambda s: any(abs(s - c) < w for c, w in crossings)  # noqa: E731
    _lines(rng, decals, line, style, blocked)
    _arrows(rng, decals, line, style, blocked)
    _bays(rng, decals, line, style, sides, blocked)


def bucket_decals(decals: np.ndarray, start: float, end: float):
    """Index decals by station: (bin starts (m+1,), decal numbers). Order is kept: later ones lie on top."""
    bins = int(np.ceil((end - start) / BIN)) + 1
    low = np.clip(((decals[:, 1] - decals[:, 3] - start) // BIN).astype(int), 0, bins - 1)
    high = np.clip(((decals[:, 1] + decals[:, 3] - start) // BIN).astype(int), 0, bins - 1)
    lists = [[] for _ in range(bins)]
    for i, (a, b) in enumerate(zip(low, high)):
        for k in range(a, b + 1):
            lists[k].append(i)
    starts = np.r_[0, np.cumsum([len(x) for x in lists])].astype(np.int32)
    flat = np.array([i for x in lists for i in x], np.int32)
    return starts, flat


def _add(decals, kind, s, d, half_s, half_d, strength=1.0, sign=1.0):
    decals.append((kind, s, d, half_s, half_d, strength, 0, sign))


def _wear(rng, decals, line, style):
    """Patches, tar lines and manholes."""
    left, right = style.half_road(0), style.half_road(1)
    span = line.end - line.start
    for _ in range(int(span / rng.uniform(9, 30))):
        size = rng.uniform(0.4, 6), rng.uniform(0.3, 1.6)
        _add(
            decals, PATCH, rng.uniform(line.start, line.end), rng.uniform(-right, left), *size, rng.uniform(-0.4, 0.35)
        )
    for _ in range(int(span / rng.uniform(4, 14))):
        _add(
            decals,
            CRACK,
            rng.uniform(line.start, line.end),
            rng.uniform(-right, left),
            rng.uniform(1, 7),
            rng.uniform(0.02, 0.05),
            rng.uniform(0.4, 0.8),
            rng.choice([-1, 1]),
        )
    for _ in range(int(span / rng.uniform(2.5, 9))):  # cracks and joints across the road
        _add(
            decals,
            PATCH,
            rng.uniform(line.start, line.end),
            rng.uniform(-right, left),
            rng.uniform(0.015, 0.04),
            rng.uniform(0.5, 2.5),
            -0.5,
        )
    for _ in range(int(span / rng.uniform(12, 40))):
        _add(decals, DISC, rng.uniform(line.start, line.end), rng.uniform(-right, left), 0.33, 0.33, 1.0)
    for _ in range(int(span / rng.uniform(1.5, 5))):
        _add(
            decals,
            STAIN,
            rng.uniform(line.start, line.end),
            rng.uniform(-right, left),
            rng.uniform(0.3, 3.5),
            rng.uniform(0.2, 1.0),
            rng.uniform(-0.6, 0.45),
        )
    for s in np.arange(line.start, line.end, 4.0):  # dirt gathers at the curb
        for edge in (left, -right):
            _add(
                decals,
                STAIN,
                s + rng.uniform(-2, 2),
                edge,
                rng.uniform(1, 5),
                rng.uniform(0.25, 0.8),
                rng.uniform(-0.5, 0.3),
            )
    for s in np.arange(line.start + 5, line.end, rng.uniform(18, 30)):  # gullies at the curb
        _add(decals, PATCH, s, left - 0.28, 0.25, 0.2, -0.8)
        _add(decals, PATCH, s + 1, -right + 0.28, 0.25, 0.2, -0.8)


def _crossings(rng, decals, line, style, sides):
    """Crosswalks at some places, stop lines before them; returns (station, half length) kept free of lines."""
    left, right = style.half_road(0), style.half_road(1)
    places = [x.s - x.width / 2 - 3.5 for x in sides if rng.random() < 0.6]
    places += list(rng.uniform(line.start + 10, line.end - 10, int((line.end - line.start) / 120)))
    out = []
    for s in places:
        half = rng.uniform(1.2, 2.0)
        if rng.random() < 0.75:
            for d in np.arange(-right + 0.5, left - 0.3, 1.0):
                _add(decals, PAINT, s, d, half, 0.25)
        else:
            for edge in (-half, half):
                _add(decals, PAINT, s + edge, (left - right) / 2, 0.08, (left + right) / 2)
        if rng.random() < 0.7:
            lane = style.half_lanes / 2
            _add(decals, PAINT, s - half - 1.2, -lane, 0.2, lane)
            _add(decals, PAINT, s + half + 1.2, lane, 0.2, lane)
        out.append((s, half + 1.5))
    return out + [(x.s, x.width / 2) for x in sides]


def _lines(rng, decals, line, style, blocked):
    """Centre, lane and edge lines, made of dashes or of short solid pieces."""
    half = rng.uniform(0.05, 0.08)
    sign = -1.0 if style.yellow else 1.0
    dash, gap = rng.choice([(3.0, 6.0), (1.5, 3.0), (3.0, 3.0), (4.0, 8.0)])
    solid = rng.random() < 0.25

    def run(d, dash, gap, sign=1.0):
        for s in np.arange(line.start + dash, line.end - dash, dash + gap):
            if not blocked(s):
                _add(decals, PAINT, s, d, dash / 2, half, 1.0, sign)

    if style.centre_line:
        for d in (-0.12, 0.12) if solid and rng.random() < 0.5 else (0.0,):
            run(d, *((2.0, 0.0) if solid else (dash, gap)), sign)
    for lane in range(1, style.lanes):
        run(lane * style.lane_width, dash, gap)
        run(-lane * style.lane_width, dash, gap)
    if style.edge_line:
        run(style.half_lanes - 0.05, 2.0, 0.0)
        run(-style.half_lanes + 0.05, 2.0, 0.0)


def _arrows(rng, decals, line, style, blocked):
    """Direction arrows in the middle of lanes (shaft and head)."""
    if rng.random() < 0.35:
        return
    for s in np.arange(line.start + 20, line.end - 20, rng.uniform(35, 70)):
        for lane in range(style.lanes):
            d = (lane + 0.5) * style.lane_width
            for sign in (1.0, -1.0):
                if not blocked(s) and rng.random() < 0.6:
                    _add(decals, PAINT, s, -sign * d, 1.5, 0.08)
                    _add(decals, ARROW, s + sign * 1.9, -sign * d, 0.6, 0.4, 1.0, sign)


def _bays(rng, decals, line, style, sides, blocked):
    """Lines between parking bays."""
    for side, sign in ((0, 1.0), (1, -1.0)):
        if style.parking[side] and rng.random() < 0.75:
            mid = sign * (style.half_lanes + style.parking[side] / 2)
            for s in np.arange(line.start, line.end, rng.uniform(5.2, 6.0)):
                if not blocked(s):
                    _add(decals, PAINT, s, mid, 0.05, style.parking[side] / 2)
