# SPDX-License-Identifier: Apache-2.0
"""The street: its cross-section, paving, and everything painted on the road."""

from dataclasses import dataclass

import numpy as np

from .mesh import grid_quads
from .surfaces import Kind

PAINT, PATCH, DISC, ARROW, CRACK, STAIN = range(6)


@dataclass(frozen=True)
class StreetStyle:
    """Cross-section of the street, metres; index 0 is the left side, 1 the right."""

    lanes: int  # per direction
    lane_width: float
    parking: tuple[float, float]  # width of the parking strip, 0 = none
    verge: tuple[float, float]  # grass between curb and sidewalk, 0 = none
    sidewalk: tuple[float, float]
    curb_height: float
    curb_width: float
    centre_line: bool
    edge_line: bool
    yellow: bool
    walkway: bool = False  # for people: no traffic, nothing painted

    @staticmethod
    def generate(rng: np.random.Generator) -> "StreetStyle":
        """Draw a street, from a narrow lane to a four-lane road."""
        lanes = int(rng.choice([1, 1, 1, 2]))
        parking = tuple(float(rng.uniform(1.9, 2.4)) if rng.random() < 0.6 else 0.0 for _ in range(2))
        verge = tuple(float(rng.uniform(0.8, 3.0)) if rng.random() < 0.4 else 0.0 for _ in range(2))
        walk = tuple(float(rng.uniform(1.3, 3.6)) for _ in range(2))
        return StreetStyle(
            lanes,
            float(rng.uniform(2.7, 3.6)),
            parking,
            verge,
            walk,
            float(rng.uniform(0.06, 0.16)),
            float(rng.uniform(0.1, 0.3)),
            bool(rng.random() < 0.8),
            bool(rng.random() < 0.6),
            bool(rng.random() < 0.2),
        )

    @staticmethod
    def generate_walkway(rng: np.random.Generator) -> "StreetStyle":
        """Draw a path 3 to 6 m wide, flush with the lawn."""
        edge = float(rng.uniform(0.15, 0.4))
        return StreetStyle(
            1,
            float(rng.uniform(1.3, 2.8)),
            (0.0, 0.0),
            (0.0, 0.0),
            (edge, edge),
            0.02,
            0.08,
            False,
            False,
            False,
            walkway=True,
        )

    @property
    def half_lanes(self) -> float:
        """Centre line to the edge of the last lane."""
        return self.lanes * self.lane_width

    def half_road(self, side: int) -> float:
        """Centre line to the curb."""
        return self.half_lanes + self.parking[side] + 0.25

    def walk_inner(self, side: int) -> float:
        """Centre line to the inner edge of the sidewalk."""
        return self.half_road(side) + self.curb_width + self.verge[side]

    def half_street(self, side: int) -> float:
        """Centre line to the outer edge of the sidewalk."""
        return self.walk_inner(side) + self.sidewalk[side]

    @property
    def reach(self) -> float:
        """The wider side's outer edge."""
        return max(self.half_street(0), self.half_street(1))


@dataclass(frozen=True)
class SideStreet:
    """A street that joins: station, side (0 left, 1 right) and width in metres."""

    s: float
    side: int
    width: float


def street_surfaces(table, rng) -> dict[str, int]:
    """Asphalt, curb, sidewalk, verge and ground surfaces of one street."""
    grey = rng.uniform(0.07, 0.22)
    tint = np.array([1.0, 1.0, 1.0]) + rng.uniform(-0.06, 0.06, 3)
    walk = rng.uniform(0.16, 0.38)
    walk_tint = np.array([1.05, 1.0, 0.93]) + rng.uniform(-0.06, 0.06, 3)
    if rng.random() < 0.25:
        walk_tint = np.array([1.3, 0.85, 0.7])
    green = np.array([0.05, 0.09, 0.025]) * rng.uniform(0.7, 1.5) + rng.uniform(0, 0.015, 3)
    dry = np.array([0.16, 0.13, 0.07]) * rng.uniform(0.7, 1.3)
    slab = (rng.uniform(0.2, 1.2), rng.uniform(0.2, 0.8), float(rng.random() < 0.6))
    seed = int(rng.integers(1 << 20))
    return {
        "road": table.add(
            Kind.ROAD,
            grey * tint,
            0.6 * grey * tint,
            nir=rng.uniform(0.1, 0.22),
            nir2=0.08,
            params=(rng.uniform(0.12, 0.3),),
            seed=seed,
        ),
        "curb": table.add(Kind.PAVING, [0.3, 0.29, 0.27], [0.14] * 3, 0.34, 0.2, (1.0, 9.0, 0), seed=seed + 1),
        "walk": table.add(
            Kind.PAVING, walk * walk_tint, 0.5 * walk * walk_tint, 0.12 + 0.7 * walk, 0.15, slab, seed=seed + 2
        ),
        "verge": table.add(Kind.GRASS, green, dry, 0.5, 0.34, seed=seed + 3),
        "ground": table.add(Kind.GRASS, green * 0.9, dry, 0.48, 0.33, (float(rng.uniform(-0.4, 0.5)),), seed=seed + 4),
    }


def sweep_street(mesh, line, terrain, style, sides, surf, before: float) -> None:
    """Sweep the cross-section along the centre line. uv = (s, d), d to the left."""
    s = np.arange(line.start, line.end, 1.0)
    for side, sign in ((0, 1.0), (1, -1.0)):
        d, z, names = _profile(style, side)
        keep = _gap_factor(s, [x for x in sides if x.side == side])
        height = np.outer(keep, z)
        height[:, -2:] = z[-2:]
        x, y = line.offset(s[:, None], sign * d[None])
        xyz = np.stack([x, y, terrain.height(x, y) + height], -1)
        uv = np.stack(np.broadcast_arrays(s[:, None], sign * d[None]), -1)
        in_gap = 0.5 * (keep[1:] + keep[:-1]) < 0.5
        for j, name in enumerate(names):
            kind = np.where(in_gap & (name != "ground"), surf["road"], surf[name])
            mesh.quads(grid_quads(xyz[:, j : j + 2]), kind, grid_quads(uv[:, j : j + 2]))


def _profile(style, side):
    """Distances from the centre, heights, and the surface of each strip between them."""
    road, hc = style.half_road(side), style.curb_height
    outer = style.half_street(side)
    d = [0.0, road / 2, road, road + 0.02, road + style.curb_width]
    z = [0.0, 0.0, 0.0, hc, hc]
    names = ["road", "road", "curb", "curb"]
    if style.verge[side]:
        d.append(style.walk_inner(side))
        z.append(hc)
        names.append("verge")
    d += [outer, style.reach + 4.6]
    z += [hc + 0.02, hc + 0.02]
    names += ["walk", "ground"]
    return np.array(d), np.array(z), names


def height_above_road(style, sides, s, d) -> np.ndarray:
    """Height [m] of the street's surface above the terrain at stations s and offsets d (n,) to the left."""
    out = np.empty(len(s))
    for side in (0, 1):
        here = (d >= 0) == (side == 0)
        across, z, _ = _profile(style, side)
        along = s[here]
        keep = _gap_factor(along, [x for x in sides if x.side == side])[:, None] * z
        keep[:, -2:] = z[-2:]
        out[here] = [np.interp(abs(x), across, row) for x, row in zip(d[here], keep, strict=True)]
    return out


def footpath(style, side: int) -> tuple[float, float] | None:
    """The part of the sidewalk that no tree, lamp or parked car stands on: inner and outer edge from the centre line.

    None if it is less than half a metre wide.
    """
    curb = style.half_road(side) + style.curb_width
    parked = curb + 1.9 if style.parking[side] == 0 else 0.0  # half on the sidewalk: see traffic.park_cars
    inner = max(style.walk_inner(side) + 0.3, curb + 1.15, parked)
    outer = style.half_street(side) - 1.0
    return (inner, outer) if outer - inner > 0.5 else None


def _gap_factor(s, sides):
    """1 along the curb, 0 where a side street joins, with dropped curbs between."""
    keep = np.ones(len(s))
    for x in sides:
        keep = np.minimum(keep, np.clip(np.abs(s - x.s) - x.width / 2, 0, 1.5) / 1.5)
    return keep


def side_street_mesh(mesh, line, terrain, style, side_street, surf, reach=55.0) -> None:
    """A plain strip of road leading away from the street."""
    sign = 1.0 if side_street.side == 0 else -1.0
    d = np.r_[style.reach - 0.2, np.arange(style.reach + 2, style.reach + reach, 4.0)]
    across = np.array([-0.5, 0.5]) * side_street.width
    x0, y0, h, _ = line.at(side_street.s)
    nx, ny = -np.sin(h) * sign, np.cos(h) * sign
    x = x0 + nx * d[:, None] + np.cos(h) * across
    y = y0 + ny * d[:, None] + np.sin(h) * across
    z = terrain.height(x, y) + style.curb_height + 0.04
    xyz = np.stack([x, y, z], -1)
    uv = np.stack(np.broadcast_arrays(side_street.s + across[None], sign * d[:, None]), -1)
    mesh.quads(grid_quads(xyz), surf["road"], grid_quads(uv))


def ground_mesh(mesh, line, terrain, style, surf, distance_to_street, margin=110.0, cell=3.0) -> None:
    """The land around, lowered below the street so that it never pokes through."""
    s = np.arange(line.start, line.end, 5.0)
    cx, cy, _, _ = line.at(s)
    gx = np.arange(cx.min() - margin, cx.max() + margin, cell)
    gy = np.arange(cy.min() - margin, cy.max() + margin, cell)
    x, y = np.meshgrid(gx, gy, indexing="ij")
    near = distance_to_street(np.stack([x, y], -1))
    z = terrain.height(x, y) + style.curb_height - np.where(near < style.reach + 0.8, 0.8, 0.0)
    quads = grid_quads(np.stack([x, y, z], -1))
    used = (near[:-1, :-1] < margin).reshape(-1)
    mesh.quads(quads[used], surf["ground"], quads[used][..., :2])
