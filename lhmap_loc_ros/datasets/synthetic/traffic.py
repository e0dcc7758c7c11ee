# SPDX-License-Identifier: Apache-2.0
"""What changes from day to day: parked cars, moving cars, bins put out."""

from dataclasses import dataclass

import numpy as np

from . import cars, furniture
from .caster import Moving
from .mesh import MeshBuilder, upright_pose
from .surfaces import Kind


@dataclass(frozen=True)
class Vehicle:
    """A car that keeps its lane: station = start + speed * time, wrapped at the ends."""

    template: int
    start: float
    speed: float  # metres per second, negative against the direction of the stations
    offset: float  # to the left of the centre line [m]

    def at(self, time: float, line, terrain) -> Moving:
        """Pose and velocity at ``time`` seconds."""
        span = line.end - line.start
        s = line.start + (self.start + self.speed * time) % span
        x, y = (float(v) for v in line.offset(s, self.offset))
        _, _, heading, curvature = line.at(s)
        slope = terrain.gradient(x, y)
        along = np.array([np.cos(heading), np.sin(heading), slope @ [np.cos(heading), np.sin(heading)]])
        yaw = float(heading) + (np.pi if self.speed < 0 else 0.0)
        pose = tilted_pose(terrain, x, y, yaw, 0.0)
        return Moving(self.template, pose, along * self.speed * (1 - float(curvature) * self.offset))


def tilted_pose(terrain, x, y, yaw, lift) -> np.ndarray:
    """A pose standing on the slope of the terrain."""
    pose = upright_pose(x, y, float(terrain.height(x, y)) + lift, yaw)
    gx, gy = terrain.gradient(np.float64(x), np.float64(y))
    up = np.array([-gx, -gy, 1.0]) / np.sqrt(1 + gx * gx + gy * gy)
    forward = pose[:3, 0] - (pose[:3, 0] @ up) * up
    forward /= np.linalg.norm(forward)
    pose[:3, :3] = np.column_stack([forward, np.cross(up, forward), up])
    return pose


def park_cars(mesh, rng, line, terrain, style, sides, fleet, fill) -> None:
    """Fill the parking strips; where there are none, a few cars stand half on the sidewalk."""
    for side, sign in ((0, 1.0), (1, -1.0)):
        strip = style.parking[side]
        s = line.start + rng.uniform(0, 4)
        while s < line.end:
            s += rng.uniform(5.2, 6.2)
            near_side_street = any(x.side == side and abs(s - x.s) < x.width / 2 + 4 for x in sides)
            if near_side_street or rng.random() > (fill if strip else 0.06 * fill):
                continue
            d = style.half_lanes + strip / 2 + rng.uniform(-0.12, 0.15) + (0.0 if strip else style.curb_width + 0.6)
            body, _ = fleet[rng.integers(len(fleet))]
            x, y = (float(v) for v in line.offset(s, sign * d))
            yaw = float(line.at(s)[2]) + (np.pi if side == 0 and rng.random() < 0.85 else 0.0) + rng.normal(0, 0.02)
            mesh.add(body, tilted_pose(terrain, x, y, yaw, 0.0 if strip else style.curb_height * 0.6))


def put_bins(mesh, rng, line, terrain, style, surf) -> None:
    """Bins put out at the curb on some days."""
    for side, sign in ((0, 1.0), (1, -1.0)):
        for s in np.arange(line.start, line.end, rng.uniform(7, 40)):
            d = sign * (style.half_street(side) - 0.5)
            x, y = (float(v) for v in line.offset(s + rng.uniform(-3, 3), d))
            z = float(terrain.height(x, y)) + style.curb_height
            mesh.add(furniture.bin_mesh(rng, surf), upright_pose(x, y, z, rng.uniform(0, 6.3)))


def draw_fleet(table, rng, count=14) -> list[tuple[MeshBuilder, float]]:
    """Different cars: (mesh, length)."""
    return [cars.car_mesh(rng, surf) for surf in cars.car_surfaces(table, rng, count)]


def draw_vehicles(rng, line, style, fleet) -> list[Vehicle]:
    """Traffic in both directions; the lane of the ego vehicle (right-hand) stays sparse."""
    span = line.end - line.start
    count = rng.poisson(span / rng.uniform(35, 120))
    out = []
    for _ in range(count):
        lane = (rng.integers(style.lanes) + 0.5) * style.lane_width
        oncoming = rng.random() < 0.85
        speed = rng.uniform(5, 10)
        out.append(
            Vehicle(
                int(rng.integers(len(fleet))),
                float(rng.uniform(0, span)),
                -speed if oncoming else speed + 3.0,
                float(lane if oncoming else -lane),
            )
        )
    return out


def fill_bays(mesh, rng, bays, fleet, fill) -> None:
    """Cars in a share of the bays of car parks, forwards or backwards."""
    for pose in bays:
        if rng.random() < fill:
            body, _ = fleet[rng.integers(len(fleet))]
            turned = upright_pose(*pose[:3, 3], np.arctan2(pose[1, 0], pose[0, 0]) + np.pi * (rng.random() < 0.3))
            mesh.add(body, turned)


def draw_people(table, rng, count=6) -> list[tuple[MeshBuilder, float]]:
    """Different people, as (mesh, length) like `draw_fleet`: legs, a body and a head."""
    out = []
    for _ in range(count):
        cloth, legs, skin = (
            table.add(Kind.PLAIN, rng.uniform(0.03, 0.5, 3), nir=rng.uniform(0.2, 0.6), params=(0.1,)) for _ in range(3)
        )
        height, wide = rng.uniform(1.55, 1.9), rng.uniform(0.19, 0.26)
        mesh = MeshBuilder()
        for x, y in ((0.12, 0.09), (-0.12, -0.09)):
            mesh.tube([(x, y, 0.0), (0.0, y, 0.48 * height)], [0.06, 0.08], legs, sides=6)
        mesh.tube([(0, 0, 0.46 * height), (0, 0, 0.8 * height), (0, 0, 0.84 * height)], [0.17, wide, 0.08], cloth)
        mesh.tube([(0, 0, 0.84 * height), (0, 0, 0.92 * height), (0, 0, height)], [0.07, 0.1, 0.05], skin)
        out.append((mesh, 0.5))
    return out


def draw_walkers(rng, line, style, templates) -> list[Vehicle]:
    """People on the path, in both directions."""
    span, out = line.end - line.start, []
    for _ in range(rng.poisson(span / rng.uniform(12, 60))):
        speed = float(rng.choice([-1, 1]) * rng.uniform(0.9, 1.7))
        offset = float(rng.uniform(-0.8, 0.8) * style.half_lanes)
        out.append(Vehicle(int(rng.choice(templates)), float(rng.uniform(0, span)), speed, offset))
    return out
