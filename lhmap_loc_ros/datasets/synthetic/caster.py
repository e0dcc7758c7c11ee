# SPDX-License-Identifier: Apache-2.0
"""Ray casting: one fixed scene and rigid objects that move through it."""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numba import njit

from .noise import JIT


@dataclass(frozen=True)
class Hits:
    """What n rays met. All in the map frame."""

    range: np.ndarray  # (n,) float32 metres, inf for nothing
    triangle: np.ndarray  # (n,) int32 row in the triangle table, -1 for nothing
    bary: np.ndarray  # (n, 2) float32 weights of the second and third corner
    normal: np.ndarray  # (n, 3) float32 unit normal towards the ray's origin


@dataclass(frozen=True)
class Moving:
    """A template at a pose with a velocity, at one moment."""

    template: int
    pose: np.ndarray  # (4, 4) T_map_object
    velocity: np.ndarray  # (3,) metres per second, map frame


class Caster:
    """Embree scenes of the fixed world and of one template per moving object."""

    def __init__(self, fixed: np.ndarray, templates: list[np.ndarray]) -> None:
        """``fixed`` and each template: triangles (n, 3, 3); rows of the triangle table follow that order."""
        self._fixed = _scene(fixed)
        self._templates = [_scene(t) for t in templates]
        sizes = [len(fixed)] + [len(t) for t in templates]
        self._first = np.r_[0, np.cumsum(sizes)].astype(np.int32)
        self._bounds = [_bounding_sphere(t) for t in templates]

    def cast(self, origins, directions, movers=(), ages=None) -> Hits:
        """First hits of rays (n, 3) float32; ``ages`` (n,) seconds since the movers' poses were taken."""
        hit = self._fixed[0].run(origins, directions, output=1)
        reach = np.where(hit["primID"] < 0, np.float32(np.inf), hit["tfar"]).astype(np.float32)
        triangle, normal = hit["primID"].copy(), hit["Ng"].copy()
        bary = np.stack([hit["u"], hit["v"]], 1)
        for mover in movers:
            rays, o, d = self._local_rays(mover, origins, directions, ages, reach)
            if not len(rays):
                continue
            near = self._templates[mover.template][0].run(o, d, output=1)
            won = (near["primID"] >= 0) & (near["tfar"] < reach[rays])
            w = rays[won]
            reach[w] = near["tfar"][won]
            triangle[w] = near["primID"][won] + self._first[mover.template + 1]
            bary[w] = np.stack([near["u"], near["v"]], 1)[won]
            normal[w] = near["Ng"][won] @ mover.pose[:3, :3].T.astype(np.float32)
        _face_rays(normal, directions)
        return Hits(reach, triangle, bary, normal)

    def occluded(self, origins, directions, movers=()) -> np.ndarray:
        """Whether anything lies on each ray, (n,) bool."""
        if not len(origins):
            return np.zeros(0, bool)
        dark = self._fixed[0].run(origins, directions, query="OCCLUDED") >= 0
        for mover in movers:
            rays, o, d = self._local_rays(mover, origins, directions, None, np.full(len(origins), np.inf, np.float32))
            if len(rays):
                dark[rays] |= self._templates[mover.template][0].run(o, d, query="OCCLUDED") >= 0
        return dark

    def _local_rays(self, mover, origins, directions, ages, reach):
        """The rays that may meet a mover, in its frame."""
        center, radius = self._bounds[mover.template]
        world = mover.pose[:3, :3] @ center + mover.pose[:3, 3]
        age = np.zeros(1, np.float32) if ages is None else ages
        rays = _rays_near(origins, directions, world, radius, mover.velocity, age, reach)
        if not len(rays):
            return rays, None, None
        moved = mover.pose[:3, 3] + mover.velocity * (0.0 if ages is None else ages[rays, None])
        rotation = mover.pose[:3, :3]
        local = ((origins[rays] - moved) @ rotation).astype(np.float32)
        return rays, np.ascontiguousarray(local), np.ascontiguousarray((directions[rays] @ rotation).astype(np.float32))


def _scene(triangles: np.ndarray):
    # The mesh is kept beside its scene: Embree reads its buffers.
    scene = EmbreeScene(robust=True)
    vertices = np.ascontiguousarray(triangles.reshape(-1, 3), np.float32)
    return scene, TriangleMesh(scene, vertices, np.arange(len(vertices), dtype=np.int32).reshape(-1, 3))


def _bounding_sphere(triangles):
    points = triangles.reshape(-1, 3)
    center = 0.5 * (points.min(0) + points.max(0))
    return center, float(np.linalg.norm(points - center, axis=1).max())


@njit(**JIT)
def _rays_near(origins, directions, center, radius, velocity, ages, reach):
    """Indices of rays that pass the sphere before their present end."""
    out = np.empty(len(origins), np.int64)
    n = 0
    for i in range(len(origins)):
        age = ages[i] if len(ages) > 1 else ages[0]
        x = center[0] + velocity[0] * age - origins[i, 0]
        y = center[1] + velocity[1] * age - origins[i, 1]
        z = center[2] + velocity[2] * age - origins[i, 2]
        along = x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2]
        if along < -radius or along - radius > reach[i]:
            continue
        if x * x + y * y + z * z - along * along < radius * radius:
            out[n] = i
            n += 1
    return out[:n]


@njit(**JIT)
def _face_rays(normal, directions):
    """Normalise normals and turn them against the rays, in place."""
    for i in range(len(normal)):
        x, y, z = normal[i]
        inv = 1.0 / max(1e-12, np.sqrt(x * x + y * y + z * z))
        if x * directions[i, 0] + y * directions[i, 1] + z * directions[i, 2] > 0.0:
            inv = -inv
        normal[i, 0] = x * inv
        normal[i, 1] = y * inv
        normal[i, 2] = z * inv
