# SPDX-License-Identifier: Apache-2.0
"""The grounds of a campus: squares, courtyards, car parks and lawns along a path that is for people, not for cars."""

import numpy as np

from . import furniture, layout, plants
from .mesh import MeshBuilder, grid_quads
from .surfaces import Kind

NAME = "grounds"
CHARACTERS = (*layout.CHARACTERS, NAME)
"""Kinds of towns, by their names."""
BAY = 2.5, 5.0  # width and length of a parking bay [m]
ABOVE_GROUND = 0.05  # what is paved lies so far above the lawn around it [m]


def furnish(site: layout.Site) -> None:
    """Fill both sides of the path, then add what stands along it."""
    rng = site.rng
    odds = np.array([odds for odds, _ in _ZONES.values()]) * rng.uniform(0.4, 1.6, len(_ZONES))
    surf = _surfaces(site.table, rng)
    for side in (0, 1):
        s = site.line.start
        while s < site.line.end:
            span = rng.uniform(25, 60)
            zone = str(rng.choice(list(_ZONES), p=odds / odds.sum()))
            end = min(s + span, site.line.end)
            # what is left at the end is too short for a courtyard
            make = _ZONES[zone][1] if end - s >= 25 else _lawn
            make(site, surf, side, s, end)
            s += span
    _along_the_path(site)


def path_surface(table, rng) -> int:
    """Slabs, asphalt or gravel."""
    grey, seed = rng.uniform(0.14, 0.4) * np.array([1.04, 1.0, 0.93]), int(rng.integers(1 << 20))
    if rng.random() < 0.6:
        slab = (rng.uniform(0.15, 0.8), rng.uniform(0.15, 0.6), float(rng.random() < 0.5))
        return table.add(Kind.PAVING, grey, 0.55 * grey, 0.12 + 0.7 * grey.mean(), 0.15, slab, seed=seed)
    return table.add(
        Kind.ROAD, 0.6 * grey, 0.35 * grey, rng.uniform(0.1, 0.25), 0.08, (rng.uniform(0.15, 0.45),), seed=seed
    )


def _surfaces(table, rng) -> dict[str, int]:
    grey, seed = rng.uniform(0.2, 0.45) * np.array([1.03, 1.0, 0.95]), int(rng.integers(1 << 20))
    tint = rng.uniform(0.8, 1.15, 3)
    slab = (rng.uniform(0.3, 1.5), rng.uniform(0.3, 1.0), float(rng.random() < 0.4))
    dark = rng.uniform(0.08, 0.2)
    return {
        "square": table.add(
            Kind.PAVING, grey * tint, 0.55 * grey * tint, 0.12 + 0.7 * grey.mean(), 0.15, slab, seed=seed
        ),
        "asphalt": table.add(Kind.ROAD, [dark] * 3, [0.6 * dark] * 3, 0.16, 0.08, (0.2,), seed=seed + 1),
    }


def _paved(site, surface: int, side: int, s: float, end: float, depth: float) -> bool:
    """Pave from the path `depth` metres out; False if something stands there."""
    d0, d1 = site.near(side, -0.05), site.near(side, depth)
    sign = 1.0 if side == 0 else -1.0
    middle = (s + end) / 2
    x, y = site.line.offset(middle, sign * (d0 + 1 + d1) / 2)
    if not site.occupancy.take(x, y, float(site.line.at(middle)[2]), (0.5, d1 - d0 - 1)):
        return False
    along, across = np.linspace(s, end, max(2, int((end - s) / 2))), np.linspace(d0, d1, max(2, int(depth / 2)))
    x, y = site.line.offset(along[:, None], sign * across[None])
    xyz = np.stack([x, y, site.terrain.height(x, y) + site.style.curb_height + ABOVE_GROUND], -1)
    uv = np.stack(np.broadcast_arrays(along[:, None], sign * across[None]), -1)
    site.mesh.quads(grid_quads(xyz), surface, grid_quads(uv))
    return True


def _square(site, surf, side, s, end) -> None:
    """Slabs with trees, benches and something to look at, before a building."""
    rng, depth = site.rng, site.rng.uniform(14, 32)
    if not _paved(site, surf["square"], side, s + 0.5, end - 0.5, depth):
        return _lawn(site, surf, side, s, end)
    lift, spacing = site.style.curb_height + ABOVE_GROUND, rng.uniform(6, 11)
    if rng.random() < 0.7:
        for x in np.arange(s + 4, end - 3, spacing):
            for d in np.arange(4.0, depth - 3, spacing):
                if rng.random() < 0.5:
                    layout.put_tree(site, side, x, site.near(side, d), rng.uniform(0.5, 0.9))
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(0.4, 1.6, 3) * (1, 1, 1.5)
        block = MeshBuilder()
        block.box(-size / 2, size / 2 + (0, 0, size[2]), site.surf[rng.choice(["concrete", "stone", "metal"])])
        where = rng.uniform(s + 3, end - 3), site.near(side, rng.uniform(4, depth - 3))
        site.place(block, where[0], side, where[1], rng.uniform(0, 3), tuple(size[:2]), lift=lift)
    for _ in range(int((end - s) / 6)):
        thing = furniture.cabinet_mesh(rng, site.surf)
        where = rng.uniform(s + 1, end - 1), site.near(side, rng.uniform(1, depth - 1))
        site.place(thing, where[0], side, where[1], rng.choice([0, np.pi / 2]), (0.9, 0.9), lift=lift)
    layout.row(site, side, s + 1, end - 4, floors=int(rng.integers(2, 6)), setback=depth + 0.5)


def _courtyard(site, surf, side, s, end):
    """Two wings that come to the path and a building between them, with a lawn or slabs inside."""
    rng, depth, wing = site.rng, site.rng.uniform(16, 26), site.rng.uniform(7, 11)
    floors, before = int(rng.integers(2, 5)), rng.uniform(1.0, 3.0)
    for start in (s + 0.5, end - wing - 0.5):
        layout.put_house(site, side, start, wing, depth, floors, before)
    layout.put_house(site, side, s + wing + 0.8, end - s - 2 * wing - 1.6, 10.0, floors, before + depth - 10.0)
    inside = s + wing + 1.5, end - wing - 1.5
    if inside[1] - inside[0] > 5 and rng.random() < 0.5:
        _paved(site, surf["square"], side, *inside, depth - 11.0)
    layout.lawn_plants(site, side, *inside, int(rng.integers(1, 4)), int(rng.integers(0, 6)))


def _car_park(site, surf, side, s, end) -> None:
    """Bays square to the path on both sides of an aisle, and a hedge around."""
    rng, rows = site.rng, int(site.rng.integers(1, 3))
    depth = 1.5 + rows * (BAY[1] + 3.0) + 3.0
    if not _paved(site, surf["asphalt"], side, s + 0.5, end - 0.5, depth):
        return _lawn(site, surf, side, s, end)
    lift = site.style.curb_height + ABOVE_GROUND
    line = MeshBuilder()
    line.box((-0.05, -BAY[1] / 2, 0.0), (0.05, BAY[1] / 2, 0.01), site.surf["white"])
    for row in range(rows):
        d = site.near(side, 1.5 + BAY[1] / 2 + row * (BAY[1] + 6.0))
        for x in np.arange(s + 1.5, end - BAY[0] - 1.0, BAY[0]):
            site.place(line, x, side, d, lift=lift)
            site.bays.append(site.pose_beside(x + BAY[0] / 2, side, d, np.pi / 2, lift)[0])
    if rng.random() < 0.6:
        layout.border(site, side, s, end, depth + 0.3, rng.choice(["hedge", "rail", "none"]))
    layout.row(site, side, s, end - 8, setback=depth + rng.uniform(2, 8))


def _lawn(site, surf, side, s, end):
    """Grass with trees, a building behind it or none."""
    rng = site.rng
    for _ in range(int((end - s) * rng.uniform(0.05, 0.25))):
        layout.put_tree(site, side, rng.uniform(s, end), site.near(side, rng.uniform(1.5, 22)), rng.uniform(0.7, 1.5))
    layout.lawn_plants(site, side, s, end, 1, int(rng.integers(0, 8)))
    if rng.random() < 0.6:
        layout.row(site, side, s + 2, end - 10, floors=int(rng.integers(2, 6)), setback=rng.uniform(14, 26))


def _blocks(site, surf, side, s, end):
    """Institutes and halls near the path."""
    layout.blocks(site, side, s, end)


_ZONES = {
    "square": (0.25, _square), "courtyard": (0.2, _courtyard), "car park": (0.12, _car_park), "lawn": (0.23, _lawn),
    "blocks": (0.2, _blocks),
}  # fmt: skip


def _along_the_path(site):
    """Lamps, benches, bicycle stands and hedges."""
    rng, style = site.rng, site.style
    for side in (0, 1):
        edge = style.half_street(side)
        height = rng.uniform(3.2, 5.0)
        lamp = furniture.lamp_mesh(rng, site.surf, height, 0.0)
        for s in np.arange(site.line.start + rng.uniform(0, 15), site.line.end, rng.uniform(16, 34)):
            if site.place(lamp, s, side, edge + 0.5, -np.pi / 2, (0.4, 0.4)):
                site.lamps.append(layout.lamp_place(site, s, side, edge + 0.5, *furniture.lamp_head(height, 0.0)))
        for s in np.arange(site.line.start, site.line.end, rng.uniform(9, 30)):
            thing = furniture.cabinet_mesh(rng, site.surf)
            site.place(thing, s + rng.uniform(-4, 4), side, edge + 0.7, 0.0, (1.0, 0.8))
        for s in np.arange(site.line.start, site.line.end, rng.uniform(25, 60)):
            if rng.random() < 0.5:
                stand = _bicycle_stand(rng, site.surf)
                site.place(stand, s + rng.uniform(-8, 8), side, edge + 1.6, 0.0, (4.0, 1.8), (2.0, 0.0))
        if rng.random() < 0.4:
            for s in np.arange(site.line.start, site.line.end, rng.uniform(7, 13)):
                if rng.random() < 0.8:
                    where = s + rng.uniform(-1, 1), side, edge + rng.uniform(1.0, 2.0)
                    layout.put_tree(site, *where, rng.uniform(0.6, 1.2))
        for s in np.arange(site.line.start, site.line.end, rng.uniform(20, 50)):
            if rng.random() < 0.5:
                bush = plants.bush_mesh(rng, rng.uniform(0.5, 1.6), rng.choice(site.hedges))
                site.place(bush, s, side, edge + rng.uniform(0.8, 4), 0, (1.2, 1.2))


def _bicycle_stand(rng, surf) -> MeshBuilder:
    """Hoops of tube along x, with bicycles as what a LiDAR sees of them: wheels and a frame."""
    mesh = MeshBuilder()
    for x in np.arange(0.0, 4.0, 0.8):
        mesh.tube([(x, -0.4, -0.1), (x, -0.4, 0.8), (x, 0.4, 0.8), (x, 0.4, -0.1)], [0.03] * 4, surf["metal"], sides=5)
        if rng.random() < 0.6:
            tone = surf[f"bin{rng.integers(5)}"]
            for y in (-0.55, 0.55):
                angle = np.linspace(0, 2 * np.pi, 13)
                wheel = np.stack([np.full(13, x + 0.15), y + 0.33 * np.cos(angle), 0.34 + 0.33 * np.sin(angle)], 1)
                mesh.tube(wheel, [0.025] * 13, surf["metal"], sides=4)
            mesh.tube(
                [(x + 0.15, -0.55, 0.34), (x + 0.15, -0.2, 0.85), (x + 0.15, 0.4, 0.85), (x + 0.15, 0.55, 0.34)],
                [0.025] * 4,
                tone,
                sides=5,
            )
    return mesh
