# SPDX-License-Identifier: Apache-2.0
"""Houses with recessed windows and doors, sills, balconies and roofs with eaves."""

from dataclasses import dataclass

import numpy as np

from .mesh import MeshBuilder
from .surfaces import Kind

WALL_COLORS = np.array(
    [
        [0.62, 0.58, 0.5],
        [0.66, 0.6, 0.42],
        [0.55, 0.55, 0.55],
        [0.7, 0.68, 0.66],
        [0.5, 0.36, 0.26],
        [0.42, 0.46, 0.5],
        [0.6, 0.42, 0.34],
        [0.45, 0.5, 0.4],
        [0.3, 0.3, 0.31],
        [0.68, 0.52, 0.3],
        [0.78, 0.77, 0.74],
    ]
)
BRICK_COLORS = np.array([[0.3, 0.12, 0.08], [0.36, 0.2, 0.13], [0.42, 0.32, 0.22], [0.2, 0.1, 0.08], [0.5, 0.42, 0.33]])
ROOF_COLORS = np.array([[0.26, 0.1, 0.07], [0.15, 0.1, 0.08], [0.1, 0.1, 0.11], [0.3, 0.16, 0.1], [0.2, 0.2, 0.2]])


@dataclass(frozen=True)
class HouseStyle:
    """One house's sizes (metres) and surfaces."""

    width: float
    depth: float
    floors: int
    floor_height: float
    base: float  # height of the ground floor above the ground
    bay: float  # spacing of windows
    window: tuple[float, float]
    recess: float
    flat_roof: bool
    roof_pitch: float
    ridge_along: bool  # ridge parallel to the street
    eaves: float
    balconies: bool
    door_bay: int
    wall: int
    plinth: int
    frame: int
    blinds: tuple[int, ...]
    door: int
    roof: int
    trim: int

    @property
    def height(self) -> float:
        """Ground to eaves."""
        return self.base + self.floors * self.floor_height


def draw_house(table, rng, width, depth, floors) -> HouseStyle:
    """Draw a house of the given size with its own surfaces."""
    seed = int(rng.integers(1 << 20))
    vary = rng.uniform(0.8, 1.15) * (1 + rng.uniform(-0.05, 0.05, 3))
    look = rng.random()
    if look < 0.4:
        color = BRICK_COLORS[rng.integers(len(BRICK_COLORS))] * vary
        wall = table.add(
            Kind.BRICK,
            color,
            [0.38, 0.36, 0.33],
            0.2 + 0.5 * color.mean(),
            0.35,
            (rng.uniform(0.2, 0.3), rng.uniform(0.065, 0.1)),
            seed=seed,
        )
    elif look < 0.88:
        color = np.clip(WALL_COLORS[rng.integers(len(WALL_COLORS))] * vary, 0.05, 0.85)
        panel = (
            (rng.uniform(0.0, 0.7), rng.uniform(1.2, 3), rng.uniform(1.2, 3))
            if rng.random() < 0.25
            else (rng.uniform(0, 0.9) * (rng.random() < 0.6),)
        )
        wall = table.add(Kind.PLASTER, color, color * rng.uniform(0.35, 0.8), params=panel, seed=seed)
    else:
        color = np.array([0.35, 0.24, 0.15]) * vary
        wall = table.add(Kind.PLANKS, color, color * 0.2, 0.45, 0.15, (rng.uniform(0.1, 0.25),), seed=seed)
    win = (float(rng.uniform(0.8, 1.7)), float(rng.uniform(1.1, 1.8)))
    frame_color = [0.75] * 3 if rng.random() < 0.6 else rng.uniform(0.05, 0.35, 3)
    panes = (float(rng.choice([1, 2, 2, 3])), float(rng.choice([1, 1, 2])))
    blinds = tuple(
        table.add(Kind.WINDOW, frame_color, nir=0.5, params=(*win, *panes, b), seed=seed + k, gloss=1.0)
        for k, b in enumerate((0.0, 0.0, 0.0, 0.35, 0.6, 1.0))
    )
    roof_color = ROOF_COLORS[rng.integers(len(ROOF_COLORS))] * vary
    bay = max(win[0] + 0.6, rng.uniform(1.9, 3.6))
    shape = dict(
        width=width,
        depth=depth,
        floors=floors,
        floor_height=float(rng.uniform(2.6, 3.5)),
        base=float(rng.uniform(0.1, 0.9)),
        bay=bay,
        window=win,
        recess=float(rng.uniform(0.08, 0.28)),
        flat_roof=bool(rng.random() < (0.25 if floors < 4 else 0.6)),
        roof_pitch=float(rng.uniform(0.45, 1.0)),
        ridge_along=bool(rng.random() < 0.7),
        eaves=float(rng.uniform(0.2, 0.7)),
        balconies=bool(rng.random() < 0.25 and floors > 1),
        door_bay=int(rng.integers(0, max(1, int(width / bay)))),
    )
    rng.random()  # once drew shops, which nothing shows: without it all towns would be others
    return HouseStyle(
        **shape,
        wall=wall,
        plinth=table.add(Kind.STONE, color * 0.6, color * 0.3, params=(0.5,), seed=seed + 7),
        frame=table.add(Kind.PLAIN, frame_color, nir=0.5, params=(0.05,), seed=seed),
        blinds=blinds,
        door=table.add(Kind.PLANKS, rng.uniform(0.03, 0.4, 3), [0.03] * 3, 0.35, 0.1, (0.18,), seed=seed),
        roof=table.add(Kind.ROOF, roof_color, roof_color * 0.35, 0.3, 0.15, (0.24, 0.33), seed=seed),
        trim=table.add(Kind.PLAIN, [0.5, 0.49, 0.46], nir=0.4, params=(0.1,), seed=seed + 8),
    )


def house_mesh(style: HouseStyle, rng) -> MeshBuilder:
    """Frame: front wall on y = 0 facing -y, x from 0 to width, house at y > 0, z = 0 the ground."""
    mesh = MeshBuilder()
    w, d = style.width, style.depth
    walls = [((0, 0), (1, 0), w), ((w, 0), (0, 1), d), ((w, d), (-1, 0), w), ((0, d), (0, -1), d)]
    for (x, y), (ax, ay), span in walls:
        frame = np.array([[ax, -ay, 0, x], [ay, ax, 0, y], [0, 0, 1, 0], [0, 0, 0, 1]], float)
        _facade(mesh, style, rng, frame, span, ay == 0 and ax > 0)
    (_flat_roof if style.flat_roof else _gable_roof)(mesh, style, rng)
    return mesh


def _facade(mesh, style, rng, frame, span, front):
    """A wall in the plane y = 0 of ``frame`` with openings cut out on a grid."""
    bays = max(1, int(span / style.bay))
    pitch = span / bays
    ww, wh = min(style.window[0], pitch - 0.3), style.window[1]
    u = [0.0]
    for i in range(bays):
        u += [(i + 0.5) * pitch - ww / 2, (i + 0.5) * pitch + ww / 2]
    u.append(span)
    z = [-1.0, style.base]
    for f in range(style.floors):
        low = style.base + f * style.floor_height + min(0.85, style.floor_height - wh - 0.15)
        z += [low, low + wh]
    z.append(style.height)
    panels: list[tuple] = []
    shut = rng.random((bays, style.floors)) < (0.0 if front else 0.45)
    for i in range(len(u) - 1):
        for j in range(len(z) - 1):
            rect = (u[i], u[i + 1], z[j], z[j + 1])
            opening = i % 2 == 1 and j >= 2 and j % 2 == 0
            bay, floor = i // 2, j // 2 - 1
            if opening and front and floor == 0 and bay == style.door_bay:
                _opening(mesh, style, frame, rect, style.door, 0.3)
            elif opening and not shut[bay, floor]:
                _opening(mesh, style, frame, rect, int(rng.choice(style.blinds)), style.recess, sill=True)
            else:
                door_foot = front and i % 2 == 1 and j == 1 and bay == style.door_bay
                panels.append((rect, style.plinth if j == 0 else style.door if door_foot else style.wall))
    _panels(mesh, frame, panels)
    if front:
        _front_details(mesh, style, rng, frame, u, z)


def _panels(mesh, frame, panels, y=0.0):
    """Rectangles ((u0, u1, z0, z1), surface) in a plane of the frame."""
    u0, u1, z0, z1 = np.array([rect for rect, _ in panels]).T
    uv = np.stack([np.stack([u0, u1, u1, u0], 1), np.stack([z0, z0, z1, z1], 1)], -1)
    corners = np.stack([uv[..., 0], np.full(uv.shape[:2], y), uv[..., 1]], -1)
    mesh.quads(corners @ frame[:3, :3].T + frame[:3, 3], [surface for _, surface in panels], uv)


def _opening(mesh, style, frame, rect, surface, depth, sill=False):
    """A recessed pane, its four reveals, and a sill that sticks out."""
    u0, u1, z0, z1 = rect
    sx, sz = u1 - u0, z1 - z0
    corners = np.array([(u0, depth, z0), (u1, depth, z0), (u1, depth, z1), (u0, depth, z1)])
    mesh.quads(corners @ frame[:3, :3].T + frame[:3, 3], surface, [(0, 0), (sx, 0), (sx, sz), (0, sz)])
    ring = [(u0, z0), (u1, z0), (u1, z1), (u0, z1)]
    reveals = [
        [(a, 0, b), (c, 0, d), (c, depth, d), (a, depth, b)] for (a, b), (c, d) in zip(ring, ring[1:] + ring[:1])
    ]
    mesh.quads(np.array(reveals) @ frame[:3, :3].T + frame[:3, 3], style.trim)
    if sill:
        mesh.box((u0 - 0.06, -0.08, z0 - 0.07), (u1 + 0.06, 0.02, z0), style.trim, frame)


def _front_details(mesh, style, rng, frame, u, z):
    """Steps, canopy, balconies and rain pipes."""
    door = min(style.door_bay, (len(u) - 2) // 2 - 1)
    u0, u1 = u[1 + 2 * door], u[2 + 2 * door]
    steps = max(1, int(style.base / 0.17))
    for k in range(steps):
        mesh.box((u0 - 0.2, -0.28 * (steps - k), -1), (u1 + 0.2, 0, (k + 1) * style.base / steps), style.trim, frame)
    if rng.random() < 0.5:
        mesh.box((u0 - 0.3, -0.9, z[3] + 0.15), (u1 + 0.3, 0, z[3] + 0.27), style.trim, frame)
    if style.balconies:
        for floor in range(1, style.floors):
            low = style.base + floor * style.floor_height
            for bay in range(0, (len(u) - 2) // 2, 2):
                a, b = u[1 + 2 * bay] - 0.3, u[2 + 2 * bay] + 0.3
                mesh.box((a, -1.2, low - 0.15), (b, 0, low), style.trim, frame)
                mesh.box((a, -1.2, low), (b, -1.14, low + 0.95), style.frame, frame)
                mesh.box((a, -1.2, low), (a + 0.05, 0, low + 0.95), style.frame, frame)
                mesh.box((b - 0.05, -1.2, low), (b, 0, low + 0.95), style.frame, frame)
    for x in (0.15, style.width - 0.15):
        if rng.random() < 0.6:
            mesh.box((x - 0.05, -0.11, -0.5), (x + 0.05, -0.01, style.height), style.frame, frame)


def _flat_roof(mesh, style, rng):
    w, d, h, e = style.width, style.depth, style.height, 0.12
    mesh.box((-e, -e, h), (w + e, d + e, h + rng.uniform(0.25, 0.7)), style.trim)
    if rng.random() < 0.5:
        mesh.box((w * 0.3, d * 0.4, h), (w * 0.6, d * 0.8, h + 2.4), style.wall)


def _gable_roof(mesh, style, rng):
    """Two slopes over the eaves, gables, a chimney, sometimes dormers."""
    w, d, h, e = style.width, style.depth, style.height, style.eaves
    pose = None
    if not style.ridge_along:  # turn the roof by a quarter: ridge towards the street
        pose = np.array([[0, -1, 0, w], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)
        w, d = d, w
    rise = style.roof_pitch * d / 2
    drop = style.roof_pitch * e
    t = np.eye(4) if pose is None else pose
    apply = lambda c: np.asarray(c, float) @ t[:3, :3].T + t[:3, 3]  # noqa: E731
    ridge = [(-e, d / 2, h + rise), (w + e, d / 2, h + rise)]
    for y, out in ((0, -e), (d, d + e)):
        low = [(-e, out, h - drop), (w + e, out, h - drop)]
        mesh.quads(apply([low[0], low[1], ridge[1], ridge[0]]), style.roof)
        lower = [(a, b, c - 0.16) for a, b, c in low]
        mesh.quads(apply([lower[0], lower[1], low[1], low[0]]), style.frame)
        mesh.quads(apply([lower[0], lower[1], (w, y, h - 0.1), (0, y, h - 0.1)]), style.frame)
    for x in (0, w):
        gable = apply([(x, 0, h), (x, d, h), (x, d / 2, h + rise)])
        mesh.triangles(gable, [(0, h), (d, h), (d / 2, h + rise)], style.wall)
    if rng.random() < 0.7:
        x = rng.uniform(0.15, 0.85) * w
        top = h + rise + rng.uniform(0.5, 1.1)
        mesh.box((x, d / 2 + 0.3, h + rise * 0.3), (x + 0.6, d / 2 + 1.0, top), style.trim, t)
    if rng.random() < 0.35 and rise > 2.2:
        for x in np.arange(1.5, w - 2, 3.2):
            mesh.box((x, d * 0.12, h), (x + 1.3, d / 2, h + rise * 0.62), style.roof, t)
            rect = (x + 0.12, x + 1.18, h + rise * 0.2, h + rise * 0.55)
            _panels(mesh, t, [(rect, style.blinds[0])], d * 0.12 - 0.02)
