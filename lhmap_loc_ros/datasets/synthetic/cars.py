# SPDX-License-Identifier: Apache-2.0
"""Cars and vans: body, cabin, glass, wheels, lights, plates."""

from dataclasses import dataclass

import numpy as np

from .mesh import MeshBuilder
from .surfaces import Kind

CAR_COLORS = np.array(
    [
        [0.7, 0.7, 0.7],
        [0.4, 0.41, 0.43],
        [0.2, 0.2, 0.21],
        [0.02, 0.02, 0.022],
        [0.03, 0.06, 0.2],
        [0.35, 0.03, 0.03],
        [0.1, 0.13, 0.15],
        [0.05, 0.15, 0.1],
        [0.5, 0.42, 0.28],
        [0.6, 0.3, 0.02],
    ]
)
COLOR_ODDS = np.array([0.2, 0.19, 0.14, 0.16, 0.09, 0.07, 0.06, 0.03, 0.04, 0.02])


@dataclass(frozen=True)
class Shape:
    """Ranges of the outer sizes in metres, and the side view as fractions of height and length."""

    length: tuple[float, float]
    width: tuple[float, float]
    height: tuple[float, float]
    belt: float  # height of the lower edge of the windows
    hood: float  # length of the hood
    screen: float  # from the front to the upper edge of the windscreen
    roof: float  # from the back to the end of the roof
    tail: float  # from the back to the lower edge of the rear window


SHAPES = {
    "hatch": Shape((3.6, 4.2), (1.65, 1.78), (1.4, 1.55), 0.6, 0.27, 0.46, 0.1, 0.02),
    "sedan": Shape((4.3, 4.9), (1.72, 1.86), (1.38, 1.48), 0.62, 0.27, 0.44, 0.3, 0.17),
    "estate": Shape((4.4, 4.9), (1.74, 1.86), (1.42, 1.55), 0.6, 0.26, 0.43, 0.08, 0.02),
    "suv": Shape((4.2, 4.8), (1.8, 1.95), (1.6, 1.82), 0.6, 0.24, 0.38, 0.07, 0.01),
    "van": Shape((4.8, 5.6), (1.88, 2.05), (1.9, 2.5), 0.5, 0.13, 0.26, 0.02, 0.0),
}


def car_surfaces(table, rng, count) -> list[dict[str, int]]:
    """Paints and parts of ``count`` different cars."""
    common = {
        "glass": table.add(Kind.GLASS, [0.02, 0.022, 0.024], nir=0.03, gloss=1.0),
        "tyre": table.add(Kind.PLAIN, [0.02] * 3, nir=0.06, params=(0.2,)),
        "rim": table.add(Kind.PLAIN, [0.35] * 3, [0.15] * 3, nir=0.45, params=(0.3,)),
        "dark": table.add(Kind.PLAIN, [0.015] * 3, nir=0.05),
        "tail": table.add(Kind.RETRO, [0.4, 0.02, 0.015], nir=0.8, glow=2.5),
        "head": table.add(Kind.RETRO, [0.6, 0.6, 0.62], nir=0.7, gloss=0.6, glow=6.0),
        "plate": table.add(Kind.RETRO, [0.7, 0.7, 0.65], nir=1.0),
    }
    cars = []
    for _ in range(count):
        color = CAR_COLORS[rng.choice(len(CAR_COLORS), p=COLOR_ODDS)] * rng.uniform(0.8, 1.2)
        nir = float(np.clip(0.1 + color.mean() + rng.uniform(-0.08, 0.2), 0.05, 0.8))
        paint = table.add(Kind.PAINT, color, nir=nir, gloss=0.5)
        cars.append(common | {"paint": paint})
    return cars


def car_mesh(rng, surf) -> tuple[MeshBuilder, float]:
    """A car on the ground, centre at the origin, x forward; also its length in metres."""
    shape = SHAPES[str(rng.choice(list(SHAPES), p=[0.33, 0.22, 0.2, 0.17, 0.08]))]
    length, width, height = (rng.uniform(*r) for r in (shape.length, shape.width, shape.height))
    belt = shape.belt * height
    mesh = MeshBuilder()
    at = lambda f: (f - 0.5) * length  # noqa: E731  fraction from the tail to metres
    hood_z = belt * rng.uniform(0.88, 0.96)
    sill, w = 0.22, width / 2
    profile = [
        (at(0.0), sill + 0.12),
        (at(0.005), belt * 0.95),
        (at(shape.tail + 0.03), belt),
        (at(1 - shape.hood), belt),
        (at(0.985), hood_z * 0.82),
        (at(1.0), sill + 0.2),
        (at(0.985), sill),
        (at(0.01), sill),
    ]
    _extrude(mesh, profile, w, surf["paint"])
    cabin = [
        (at(shape.tail + 0.01), belt),
        (at(shape.roof), height - 0.03),
        (at(shape.roof + 0.12), height),
        (at(1 - shape.screen - 0.05), height - 0.01),
        (at(1 - shape.screen), height - 0.06),
        (at(1 - shape.hood + 0.02), belt),
    ]
    _cabin(mesh, cabin, w * 0.95, w * 0.76, surf)
    _wheels(mesh, rng, length, w, surf)
    _ends(mesh, length, w, belt, hood_z, surf)
    return mesh, length


def _extrude(mesh, profile, w, surface):
    """The lower body: widest in the middle, drawn in towards sill and belt."""
    p = np.array(profile)
    mid = np.column_stack([p[:, 0] * 0.995, np.zeros(len(p)), p[:, 1]])
    top = p[:, 1].max()
    half = w * np.where(p[:, 1] > 0.8 * top, 0.975, 1.0)
    half = half * np.where(np.abs(p[:, 0]) > 0.97 * np.abs(p[:, 0]).max(), 0.9, 1.0)
    left, right = mid + np.outer(half, [0, 1, 0]), mid - np.outer(half, [0, 1, 0])
    nl, nr = np.roll(left, -1, 0), np.roll(right, -1, 0)
    mesh.quads(np.stack([left, nl, nr, right], 1), surface)
    center = mid.mean(0)
    for side, rim in ((w, left), (-w, right)):
        mesh.fan((center[0], side, center[2]), rim, surface)


def _cabin(mesh, profile, w_low, w_high, surf):
    """Cabin with pillars of body colour and inset glass."""
    p = np.array(profile)
    low, high = p[:, 1].min(), p[:, 1].max()
    half = w_low + (w_high - w_low) * (p[:, 1] - low) / (high - low)
    left = np.column_stack([p[:, 0], half, p[:, 1]])
    right = left * [1, -1, 1]
    for i in range(len(p) - 1):
        quad = np.array([left[i], left[i + 1], right[i + 1], right[i]])
        mesh.quads(quad, surf["paint"])
        if i in (0, 4):
            mesh.quads(_inset(quad, 0.08), surf["glass"])
    for rim in (left, right):
        mesh.fan(rim.mean(0), rim, surf["paint"])
        _side_glass(mesh, rim, surf)


def _inset(quad, margin):
    """A smaller copy of a quad, 8 mm in front of it."""
    c = quad.mean(0)
    normal = np.cross(quad[1] - quad[0], quad[3] - quad[0])
    normal /= np.linalg.norm(normal)
    normal *= np.sign(normal @ (c - [0, 0, 1.0])) or 1.0
    return c + (quad - c) * (1 - 2 * margin) + 0.012 * normal


def _side_glass(mesh, rim, surf):
    """Three panes along the side of the cabin."""
    a, b, c, d = rim[0], rim[1], rim[4], rim[5]
    point = lambda s, t: (a + (d - a) * s) * (1 - t) + (b + (c - b) * s) * t + [0, 0.015 * np.sign(a[1]), 0]  # noqa: E731
    for s0, s1 in ((0.08, 0.3), (0.34, 0.6), (0.64, 0.93)):
        mesh.quads([[point(s0, 0.1), point(s1, 0.1), point(s1, 0.85), point(s0, 0.85)]], surf["glass"])


def _wheels(mesh, rng, length, w, surf):
    radius = rng.uniform(0.29, 0.36)
    angle = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for x in (-0.31 * length, 0.32 * length):
        for sign in (1, -1):
            for scale, out, name in ((1.18, 0.012, "dark"), (1.0, 0.03, "tyre"), (0.62, 0.036, "rim")):
                rim = np.column_stack(
                    [
                        x + scale * radius * np.cos(angle),
                        np.full(14, sign * (w + out)),
                        radius + scale * radius * np.sin(angle),
                    ]
                )
                mesh.fan((x, sign * (w + out), radius), rim, surf[name])
            tread = [(x, sign * (w + 0.03), radius), (x, sign * (w - 0.2), radius)]
            mesh.tube(tread, [radius, radius], surf["tyre"], 12)


def _ends(mesh, length, w, belt, hood_z, surf):
    """Lights and plates on both ends, slightly in front of the body."""
    for x, name, top in ((length / 2, "head", hood_z * 0.8), (-length / 2, "tail", belt * 0.92)):
        x = x + np.sign(x) * 0.01
        for sign in (1, -1):
            y0, y1 = sign * (w - 0.08), sign * (w - 0.4)
            mesh.box((x - 0.06, min(y0, y1), top - 0.2), (x, max(y0, y1), top), surf[name])
        mesh.box((x - 0.04, -0.26, 0.42), (x + 0.01 * np.sign(x), 0.26, 0.53), surf["plate"])
        mesh.box((x - 0.06, -0.8 * w, 0.24), (x - 0.002 * np.sign(x), 0.8 * w, 0.36), surf["dark"])
