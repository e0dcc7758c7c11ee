# SPDX-License-Identifier: Apache-2.0
"""Builds the geometry of a world: first what stays, then what the day brings."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from . import furniture, grounds, layout, plants, street, traffic
from .markings import bucket_decals, draw_decals
from .mesh import MeshBuilder
from .route import CentreLine, Terrain
from .surfaces import SurfaceTable

BEFORE, AFTER = 45.0, 110.0  # street built beyond the drivable stations [m]


@dataclass(frozen=True)
class Geometry:
    """All triangles and tables; rows of ``uv`` and ``surface``: fixed triangles, then each template."""

    line: CentreLine
    terrain: Terrain
    style: street.StreetStyle
    fixed: np.ndarray  # (n, 3, 3) metres, map frame
    templates: list  # of (m, 3, 3), metres, vehicle frame
    uv: np.ndarray  # (n + sum m, 3, 2) float32
    surface: np.ndarray  # (n + sum m,) int32
    kinds: np.ndarray
    rows: np.ndarray
    decals: np.ndarray
    decal_starts: np.ndarray
    decal_order: np.ndarray
    vehicles: tuple[traffic.Vehicle, ...]
    permanent: int  # the first rows of ``fixed`` that do not depend on the day
    lamps: np.ndarray  # (n, 4): x, y, z [m, map frame] and height above the ground of each street lamp


@dataclass(frozen=True)
class Street:
    """The course of a street, known before anything is built on it."""

    line: CentreLine
    terrain: Terrain
    style: street.StreetStyle

    @staticmethod
    def generate(rng: np.random.Generator, length: float, character: str | None = None) -> "Street":
        """Draw a street; ``rng`` must be that of :func:`town_stream`, and fresh."""
        draw = street.StreetStyle.generate_walkway if character == grounds.NAME else street.StreetStyle.generate
        style = draw(rng)
        terrain = Terrain.generate(rng)
        return Street(CentreLine.generate(rng, length, BEFORE, AFTER, style.reach + 6.0), terrain, style)


def town_stream(seed: int) -> np.random.Generator:
    """The random numbers of everything that does not change with the day."""
    return np.random.default_rng([seed, 1])


def build(seed: int, length: float, day: int, character: str | None = None) -> Geometry:
    """Build the street of ``seed`` as it looks on ``day``; ``character`` is one of `grounds.CHARACTERS`."""
    # Independent streams: the day must never shift a draw of the town.
    town = town_stream(seed)
    today = np.random.default_rng([seed, 2, day])
    table, mesh = SurfaceTable(), MeshBuilder()
    course = Street.generate(town, length, character)
    line, terrain, style = course.line, course.terrain, course.style
    sides = _draw_side_streets(town, line, style)
    surf = street.street_surfaces(table, town)
    if style.walkway:
        surf["road"] = grounds.path_surface(table, town)
    _build_ground(mesh, line, terrain, style, sides, surf)
    site = _build_site(town, table, mesh, line, terrain, style, sides, character)
    decals = draw_decals(town, line, style, sides)
    starts, order = bucket_decals(decals, line.start, line.end)
    permanent = len(mesh.arrays()[0])

    fleet = traffic.draw_fleet(table, today)
    if style.walkway:
        traffic.fill_bays(mesh, today, site.bays, fleet, today.uniform(0.25, 0.9))
        people = traffic.draw_people(table, today)
        vehicles = tuple(traffic.draw_walkers(today, line, style, range(len(fleet), len(fleet) + len(people))))
        fleet = fleet + people
    else:
        traffic.park_cars(mesh, today, line, terrain, style, sides, fleet, today.uniform(0.25, 0.9))
        if today.random() < 0.4:
            traffic.put_bins(mesh, today, line, terrain, style, site.surf)
        vehicles = tuple(traffic.draw_vehicles(today, line, style, fleet))
    lamps = np.array(site.lamps, float).reshape(-1, 4)
    return _pack(line, terrain, style, mesh, fleet, table, (decals, starts, order), vehicles, permanent, lamps)


def side_streets(seed: int, length: float, character: str | None = None) -> list[street.SideStreet]:
    """The streets that join that of ``seed``."""
    town = town_stream(seed)
    course = Street.generate(town, length, character)
    return _draw_side_streets(town, course.line, course.style)


def _draw_side_streets(rng, line, style):
    """Side streets on straight stretches, with a random gap between them."""
    out, s = [], line.start + rng.uniform(15, 70)
    while s < line.end - 20:
        around = line.at(np.linspace(s - 12, s + 12, 9))[3]
        if (np.abs(around) < 1e-3).all():
            width = rng.uniform(2, 4) if style.walkway else rng.uniform(4.5, 8)
            chosen = {0: [0], 1: [1], 2: [0, 1]}[int(rng.integers(3))]
            out += [street.SideStreet(float(s), side, float(width)) for side in chosen]
        s += rng.uniform(40, 120)
    return out


def _build_ground(mesh, line, terrain, style, sides, surf):
    s = np.arange(line.start, line.end, 1.0)
    tree = cKDTree(np.stack(line.at(s)[:2], 1))
    street.sweep_street(mesh, line, terrain, style, sides, surf, BEFORE)
    for side_street in sides:
        street.side_street_mesh(mesh, line, terrain, style, side_street, surf)
    street.ground_mesh(mesh, line, terrain, style, surf, lambda p: tree.query(p)[0])


def _build_site(rng, table, mesh, line, terrain, style, sides, character):
    s = np.arange(line.start, line.end, 2.0)
    x, y, heading, _ = line.at(s)
    occupancy = layout.Occupancy((x.min() - 120, y.min() - 120), (x.max() + 120, y.max() + 120))
    left, right = style.half_road(0), style.half_road(1)
    for xi, yi, hi in zip(x, y, heading):
        occupancy.take(xi, yi, hi, (2.4, left + right + 0.3), (0, (left - right) / 2), force=True)
    for side in sides:
        sign = 1.0 if side.side == 0 else -1.0
        sx, sy, h, _ = line.at(side.s)
        occupancy.take(sx, sy, h, (side.width + 1.5, 60.0), (0, sign * 30.0), force=True)
    leaves = [plants.leaf_surface(table, rng, autumn=0.1) for _ in range(4)]
    barks = [plants.bark_surface(table, rng) for _ in range(2)]
    height = rng.uniform(5, 12)
    trees = [
        plants.tree_mesh(table, rng, height * rng.uniform(0.7, 1.3), rng.choice(leaves), rng.choice(barks))
        for _ in range(6)
    ]
    site = layout.Site(
        line, terrain, style, occupancy, mesh, table, rng, trees, leaves, furniture.furniture_surfaces(table, rng),
        tree_spacing=rng.uniform(7, 20), setback=rng.uniform(0.5, 7), house_floors=(1, int(rng.integers(2, 5))),
    )  # fmt: skip
    if style.walkway:
        grounds.furnish(site)
    else:
        layout.furnish(site, character)
    return site


def _pack(line, terrain, style, mesh, fleet, table, decals, vehicles, permanent, lamps) -> Geometry:
    xyz, uv, surface = mesh.arrays()
    parts = [body.arrays() for body, _ in fleet]
    kinds, rows = table.arrays()
    return Geometry(
        line,
        terrain,
        style,
        xyz,
        [p[0] for p in parts],
        np.concatenate([uv] + [p[1] for p in parts]).astype(np.float32),
        np.concatenate([surface] + [p[2] for p in parts]).astype(np.int32),
        kinds,
        rows,
        *decals,
        vehicles,
        permanent,
        lamps,
    )
