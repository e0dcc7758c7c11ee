# SPDX-License-Identifier: Apache-2.0
"""Places houses, plants and furniture along a street, zone by zone."""

from dataclasses import dataclass, field

import numpy as np

from . import furniture, houses, plants
from .mesh import MeshBuilder, upright_pose
from .route import CentreLine, Terrain
from .street import StreetStyle

ZONES = ("row", "detached", "park", "wall", "lot", "field", "blocks", "wood")
# How often a zone comes up in a town of each character.
CHARACTERS = {
    "old town": (0.6, 0.08, 0.05, 0.1, 0.07, 0.0, 0.1, 0.0),
    "suburb": (0.12, 0.55, 0.13, 0.08, 0.06, 0.06, 0.0, 0.02),
    "campus": (0.1, 0.05, 0.3, 0.1, 0.15, 0.1, 0.2, 0.05),
    "village": (0.1, 0.35, 0.15, 0.1, 0.05, 0.25, 0.0, 0.1),
    "wooded": (0.0, 0.1, 0.15, 0.05, 0.05, 0.1, 0.05, 0.5),
}


class Occupancy:
    """Which ground is taken, on a half-metre grid over the map."""

    def __init__(self, low, high, cell: float = 0.5) -> None:
        self._low, self._cell = np.asarray(low, float), cell
        self._taken = np.zeros(np.ceil((np.asarray(high) - low) / cell).astype(int) + 1, bool)

    def _cells(self, x, y, yaw, size, centre):
        """Grid indices under a rectangle of ``size`` (length, width) centred at ``centre`` of the frame."""
        n = np.maximum(2, np.ceil(np.asarray(size) / self._cell * 1.5).astype(int))
        u, v = np.meshgrid(
            np.linspace(-0.5, 0.5, n[0]) * size[0] + centre[0], np.linspace(-0.5, 0.5, n[1]) * size[1] + centre[1]
        )
        c, s = np.cos(yaw), np.sin(yaw)
        p = np.stack([x + c * u - s * v, y + s * u + c * v], -1).reshape(-1, 2)
        i = ((p - self._low) / self._cell).astype(int)
        inside = ((i >= 0) & (i < self._taken.shape)).all(1)
        return i[inside]

    def take(self, x, y, yaw, size, centre=(0.0, 0.0), force=False) -> bool:
        """Claim a rectangle; False (and nothing changes) if any of it is taken."""
        i = self._cells(x, y, yaw, size, centre)
        if not force and self._taken[i[:, 0], i[:, 1]].any():
            return False
        self._taken[i[:, 0], i[:, 1]] = True
        return True


@dataclass
class Site:
    """Everything needed to put things beside the street."""

    line: CentreLine
    terrain: Terrain
    style: StreetStyle
    occupancy: Occupancy
    mesh: MeshBuilder
    table: object
    rng: np.random.Generator
    trees: list = field(default_factory=list)
    hedges: list = field(default_factory=list)
    surf: dict = field(default_factory=dict)
    tree_spacing: float = 12.0
    setback: float = 2.0
    house_floors: tuple = (1, 3)
    lamps: list = field(default_factory=list)  # (x, y, z, height above the ground) of each light, map frame
    bays: list = field(default_factory=list)  # poses (4, 4) that cars of the day stand in, in car parks

    def place(self, builder, s, side, d, turn=0.0, size=None, centre=(0.0, 0.0), lift=None) -> bool:
        """Put a mesh at station s, d metres out, x axis along the street (plus ``turn``).

        For the right side the frame is turned so that its -y looks at the street too.
        """
        pose, yaw = self.pose_beside(s, side, d, turn, lift)
        if size is not None and not self.occupancy.take(*pose[:2, 3], yaw, size, centre):
            return False
        self.mesh.add(builder, pose)
        return True

    def pose_beside(self, s, side, d, turn=0.0, lift=None) -> tuple[np.ndarray, float]:
        """The pose (4, 4) in the map of what `place` puts there, and its yaw [rad]."""
        x, y = self.line.offset(s, d if side == 0 else -d)
        yaw = float(self.line.at(s)[2]) + turn + (np.pi if side == 1 else 0.0)
        z = float(self.terrain.height(x, y)) + (self.style.curb_height if lift is None else lift)
        return upright_pose(float(x), float(y), z, yaw), yaw

    def near(self, side: int, extra: float) -> float:
        """Distance from the centre line, ``extra`` metres beyond the sidewalk."""
        return self.style.half_street(side) + extra


def furnish(site: Site, character: str | None = None) -> None:
    """Fill both sides with zones, then add street trees, lamps, signs and small things.

    Without a ``character`` the town draws one.
    """
    rng = site.rng
    drawn = list(CHARACTERS)[rng.integers(len(CHARACTERS))]
    odds = np.array(CHARACTERS[character or drawn]) * rng.uniform(0.4, 1.6, len(ZONES))
    for side in (0, 1):
        s = site.line.start
        while s < site.line.end:
            span = rng.uniform(22, 75)
            zone = str(rng.choice(ZONES, p=odds / odds.sum()))
            _ZONE_MAKERS[zone](site, side, s, min(s + span, site.line.end))
            s += span
    _street_things(site)


def put_house(site, side, s, width, depth, floors, setback) -> bool:
    rng = site.rng
    style = houses.draw_house(site.table, rng, width, depth, floors)
    mesh = houses.house_mesh(style, rng)
    # the house frame starts at its corner and has the street at -y
    centre = (width / 2, depth / 2)
    start = s if side == 0 else s + width
    return site.place(mesh, start, side, site.near(side, setback), 0.0, (width - 0.3, depth + 0.4), centre)


def row(site, side, s, end, floors=None, setback=None):
    rng = site.rng
    setback = max(0.3, site.setback * rng.uniform(0.1, 0.5)) if setback is None else setback
    while s < end:
        width = rng.uniform(5.5, 14)
        level = int(rng.integers(*site.house_floors)) + 1 if floors is None else floors
        put_house(site, side, s, width, rng.uniform(8, 12), level, setback + rng.uniform(0, 0.3))
        s += width + (rng.uniform(2, 7) if rng.random() < 0.2 else 0.02)


def blocks(site, side, s, end):
    rng = site.rng
    while s < end:
        width = rng.uniform(16, 36)
        put_house(site, side, s, width, rng.uniform(10, 15), int(rng.integers(3, 7)), rng.uniform(2, 9))
        lawn_plants(site, side, s, s + width, 4, 3)
        s += width + rng.uniform(4, 14)


def _detached(site, side, s, end):
    rng = site.rng
    fence = rng.choice(["hedge", "wood", "rail", "stone", "none"])
    while s < end:
        width = rng.uniform(8, 14)
        plot = width + rng.uniform(3, 9)
        depth, floors = rng.uniform(7, 11), int(rng.integers(1, 3))
        put_house(site, side, s + 1, width, depth, floors, site.setback + rng.uniform(0, 3))
        if rng.random() < 0.4:
            put_house(site, side, s + width + 1.2, 3.2, 6, 1, site.setback + 4)
        kind = fence if rng.random() < 0.8 else rng.choice(["hedge", "wood", "rail", "stone", "none"])
        gate = rng.uniform(1.5, 4)
        border(site, side, s + 0.1, s + plot - gate, 0.25, kind)
        lawn_plants(site, side, s, s + plot, int(rng.integers(0, 5)), int(rng.integers(0, 5)))
        s += plot


def _park(site, side, s, end):
    rng = site.rng
    area = int((end - s) * rng.uniform(0.12, 0.4))
    if rng.random() < 0.5:
        border(site, side, s, end, 0.3, rng.choice(["hedge", "rail", "stone"]))
    for _ in range(area):
        put_tree(site, side, rng.uniform(s, end), site.near(side, rng.uniform(1.0, 28)), rng.uniform(0.7, 1.5))
    lawn_plants(site, side, s, end, 0, area // 2)


def _wall(site, side, s, end):
    border(site, side, s, end, 0.3, site.rng.choice(["stone", "concrete", "hedge", "wood"]))
    if site.rng.random() < 0.6:
        put_house(site, side, s + 3, min(40, end - s - 4), 14, int(site.rng.integers(1, 4)), site.rng.uniform(5, 14))
    lawn_plants(site, side, s, end, 2, 3)


def _lot(site, side, s, end):
    if site.rng.random() < 0.6:
        border(site, side, s, end - 5, 0.3, site.rng.choice(["rail", "none", "stone"]))
    for x in np.arange(s + 2, end, 9.0):
        put_tree(site, side, x, site.near(side, site.rng.uniform(16, 22)), 0.8)
    if site.rng.random() < 0.7:
        row(site, side, s, end - 10, setback=site.rng.uniform(22, 28))


def _field(site, side, s, end):
    rng = site.rng
    if rng.random() < 0.4:
        border(site, side, s, end, 0.5, rng.choice(["wood", "rail", "hedge"]))
    for _ in range(int((end - s) / 5)):
        put_tree(site, side, rng.uniform(s, end), site.near(side, rng.uniform(12, 50)), rng.uniform(0.6, 1.4))


def _wood(site, side, s, end):
    """Trunks behind dense undergrowth that hides where the ground ends."""
    rng = site.rng
    for _ in range(int((end - s) * rng.uniform(0.3, 0.7))):
        put_tree(site, side, rng.uniform(s, end), site.near(side, rng.uniform(0.6, 16)), rng.uniform(0.8, 1.9))
    for _ in range(int((end - s) * rng.uniform(0.6, 1.4))):
        bush = plants.bush_mesh(rng, rng.uniform(0.6, 2.8), rng.choice(site.hedges))
        site.place(bush, rng.uniform(s, end), side, site.near(side, 0.4 + rng.exponential(3.0)), 0, (0.9, 0.9))


_ZONE_MAKERS = {
    "row": row,
    "detached": _detached,
    "park": _park,
    "wall": _wall,
    "lot": _lot,
    "field": _field,
    "blocks": blocks,
    "wood": _wood,
}


def put_tree(site, side, s, d, scale=1.0):
    tree = site.trees[site.rng.integers(len(site.trees))]
    turned = MeshBuilder()
    pose = upright_pose(0, 0, 0, site.rng.uniform(0, 2 * np.pi))
    pose[:3, :3] *= scale * site.rng.uniform(0.85, 1.15)
    turned.add(tree, pose)
    return site.place(turned, s, side, d, 0, (1.6, 1.6))


def lawn_plants(site, side, s, end, trees, bushes):
    rng = site.rng
    for _ in range(trees):
        put_tree(site, side, rng.uniform(s, end), site.near(side, rng.uniform(1, 8)), rng.uniform(0.4, 0.9))
    for _ in range(bushes):
        bush = plants.bush_mesh(rng, rng.uniform(0.5, 2.0), rng.choice(site.hedges))
        site.place(bush, rng.uniform(s, end), side, site.near(side, rng.uniform(0.8, 6)), 0, (1.2, 1.2))


def border(site, side, s, end, out, kind):
    """A hedge, fence or wall in pieces of up to three metres that follow the street."""
    rng = site.rng
    if kind == "none" or end - s < 2:
        return
    height, width, leaf = rng.uniform(0.7, 2.1), rng.uniform(0.5, 1.0), rng.choice(site.hedges)
    seed = int(rng.integers(1 << 30))
    d = site.near(side, out + (width / 2 if kind == "hedge" else 0.2))
    pieces = max(1, int((end - s) / 3.0))
    step = (end - s) / pieces
    for k in range(pieces):
        a, b = s + k * step, s + (k + 1) * step
        if side == 1:
            a, b = b, a
        sign = 1.0 if side == 0 else -1.0
        p, q = np.array(site.line.offset(a, sign * d)), np.array(site.line.offset(b, sign * d))
        length = float(np.hypot(*(q - p)))
        turn = float(np.arctan2(*(q - p)[::-1])) - float(site.line.at(a)[2]) - (np.pi if side == 1 else 0)
        if kind == "hedge":
            piece = plants.hedge_mesh(rng, length, height, width, leaf)
        else:
            piece = furniture.barrier_mesh(np.random.default_rng(seed), site.surf, kind, length)
        site.place(piece, a, side, d, turn, (max(0.6, length - 0.8), 0.4), (length / 2, 0))


def _street_things(site):
    """Street trees, lamps, signs, bollards and cabinets at the curb."""
    rng, style = site.rng, site.style
    for side in (0, 1):
        curb = style.half_road(side) + style.curb_width
        if rng.random() < 0.65:
            # an avenue in three: crowns that meet over the road, and their shade on it
            low, high = (1.0, 1.9) if rng.random() < 0.33 else (0.6, 1.0)
            for s in np.arange(site.line.start, site.line.end, site.tree_spacing):
                if rng.random() < 0.8:
                    put_tree(site, side, s + rng.uniform(-1, 1), curb + rng.uniform(0.5, 0.8), rng.uniform(low, high))
        height, arm = rng.uniform(3.8, 9), rng.choice([0.0, 1.2, 2.0])
        lamp = furniture.lamp_mesh(rng, site.surf, height, arm)
        spacing = rng.uniform(18, 38)
        for s in np.arange(site.line.start + rng.uniform(0, 15), site.line.end, spacing):
            if site.place(lamp, s, side, curb + 0.35, -np.pi / 2, (0.4, 0.4)):
                site.lamps.append(lamp_place(site, s, side, curb + 0.35, *furniture.lamp_head(height, arm)))
        for s in np.arange(site.line.start, site.line.end, rng.uniform(14, 40)):
            face = rng.choice([0.0, np.pi]) + rng.uniform(-0.2, 0.2)
            site.place(furniture.sign_mesh(rng, site.surf), s + rng.uniform(-5, 5), side, curb + 0.4, face, (0.3, 0.3))
        for s in np.arange(site.line.start, site.line.end, rng.uniform(12, 45)):
            site.place(
                furniture.cabinet_mesh(rng, site.surf),
                s + rng.uniform(-5, 5),
                side,
                site.near(side, -0.35),
                np.pi / 2,
                (0.5, 0.5),
            )


def lamp_place(site, s, side, d, x, _, z):
    """Where the light of a lamp post is that stands d metres out and reaches x metres over the street."""
    sign = 1.0 if side == 0 else -1.0
    px, py = site.line.offset(s, sign * (d - x))
    return float(px), float(py), float(site.terrain.height(px, py)) + site.style.curb_height + z, float(z)
