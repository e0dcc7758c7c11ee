# SPDX-License-Identifier: Apache-2.0
"""Triangle soup with a surface and surface coordinates on every triangle."""

import numpy as np


class MeshBuilder:
    """Gathers triangles. Coordinates are metres in the frame of the object."""

    def __init__(self) -> None:
        self._xyz: list[np.ndarray] = []
        self._uv: list[np.ndarray] = []
        self._surface: list[np.ndarray] = []

    def triangles(self, xyz, uv, surface) -> None:
        """Add triangles: `xyz` (n, 3, 3), `uv` (n, 3, 2), `surface` int or (n,)."""
        xyz = np.asarray(xyz, float).reshape(-1, 3, 3)
        self._xyz.append(xyz)
        self._uv.append(np.asarray(uv, float).reshape(-1, 3, 2))
        self._surface.append(np.broadcast_to(np.asarray(surface, np.int32), len(xyz)).copy())

    def quads(self, corners, surface, uv=None) -> None:
        """Add quads: `corners` (n, 4, 3) in order around; `uv` defaults to metres from corner 0."""
        c = np.asarray(corners, float).reshape(-1, 4, 3)
        if uv is None:
            uv = planar_uv(c)
        uv = np.asarray(uv, float).reshape(-1, 4, 2)
        surface = np.broadcast_to(np.asarray(surface, np.int32), len(c))
        for pick in ([0, 1, 2], [0, 2, 3]):
            self.triangles(c[:, pick], uv[:, pick], surface)

    def box(self, low, high, surface, pose=None, top=None) -> None:
        """Add an axis-aligned box (5 or 6 faces), moved by the 4x4 `pose`."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        sides = [
            [(x0, y0, z0), (x1, y0, z0), (x1, y0, z1), (x0, y0, z1)],
            [(x1, y0, z0), (x1, y1, z0), (x1, y1, z1), (x1, y0, z1)],
            [(x1, y1, z0), (x0, y1, z0), (x0, y1, z1), (x1, y1, z1)],
            [(x0, y1, z0), (x0, y0, z0), (x0, y0, z1), (x0, y1, z1)],
        ]
        caps = [
            [(x0, y0, z1), (x1, y0, z1), (x1, y1, z1), (x0, y1, z1)],
            [(x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0)],
        ]
        self.quads(move(sides, pose), surface)
        self.quads(move(caps, pose), surface if top is None else top)

    def tube(self, points, radii, surface, sides=8) -> None:
        """Add a round tube along `points` (n, 3) with `radii` (n,)."""
        points = np.asarray(points, float)
        radii = np.broadcast_to(np.asarray(radii, float), len(points))
        axis = points[-1] - points[0]
        axis /= np.linalg.norm(axis) + 1e-9
        helper = np.array([1.0, 0, 0]) if abs(axis[0]) < 0.8 else np.array([0, 1.0, 0])
        a = np.cross(axis, helper)
        a /= np.linalg.norm(a)
        b = np.cross(axis, a)
        angle = np.linspace(0, 2 * np.pi, sides + 1)
        ring = np.cos(angle)[:, None] * a + np.sin(angle)[:, None] * b
        rings = points[:, None] + radii[:, None, None] * ring
        along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        around = angle * float(radii.mean())
        corner = lambda i, j: rings[i, j]  # noqa: E731
        quads, uvs = [], []
        for i in range(len(points) - 1):
            for j in range(sides):
                quads.append([corner(i, j), corner(i, j + 1), corner(i + 1, j + 1), corner(i + 1, j)])
                uvs.append(
                    [
                        (around[j], along[i]),
                        (around[j + 1], along[i]),
                        (around[j + 1], along[i + 1]),
                        (around[j], along[i + 1]),
                    ]
                )
        self.quads(quads, surface, uvs)

    def fan(self, center, rim, surface, uv_center=(0, 0), uv_rim=None) -> None:
        """Add a closed fan: `center` (3,), `rim` (n, 3) in order."""
        rim = np.asarray(rim, float)
        nxt = np.roll(rim, -1, axis=0)
        mid = np.broadcast_to(np.asarray(center, float), rim.shape)
        if uv_rim is None:
            uv_rim = np.zeros((len(rim), 2))
        uv_rim = np.asarray(uv_rim, float)
        uv = np.stack([np.broadcast_to(uv_center, uv_rim.shape), uv_rim, np.roll(uv_rim, -1, axis=0)], 1)
        self.triangles(np.stack([mid, rim, nxt], 1), uv, surface)

    def add(self, other: "MeshBuilder", pose=None) -> None:
        """Add all triangles of another builder, moved by the 4x4 `pose`."""
        xyz, uv, surface = other.arrays()
        if len(xyz):
            self.triangles(move(xyz, pose), uv, surface)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`xyz` (n, 3, 3) float64, `uv` (n, 3, 2) float64, `surface` (n,) int32."""
        if not self._xyz:
            return np.zeros((0, 3, 3)), np.zeros((0, 3, 2)), np.zeros(0, np.int32)
        if len(self._xyz) > 1:  # keep the joined arrays: asked for again and again for placed copies
            self._xyz = [np.concatenate(self._xyz)]
            self._uv = [np.concatenate(self._uv)]
            self._surface = [np.concatenate(self._surface)]
        return self._xyz[0], self._uv[0], self._surface[0]


def grid_quads(values: np.ndarray) -> np.ndarray:
    """The quads ((a - 1) * (b - 1), 4, k) between the values (a, b, k) of a grid, each in order around."""
    a, b, k = values.shape
    corners = [values[i : a - 1 + i, j : b - 1 + j] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))]
    return np.stack(corners, 2).reshape(-1, 4, k)


def planar_uv(corners: np.ndarray) -> np.ndarray:
    """Metres along the first edge and across it, for quads (n, 4, 3)."""
    along = corners[:, 1] - corners[:, 0]
    along = along / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
    rel = corners - corners[:, :1]
    u = np.einsum("nij,nj->ni", rel, along)
    v = np.linalg.norm(rel - u[..., None] * along[:, None], axis=2)
    return np.stack([u, v], -1)


def move(points, pose) -> np.ndarray:
    """Apply a 4x4 pose to points (..., 3); None means identity."""
    points = np.asarray(points, float)
    if pose is None:
        return points
    return points @ pose[:3, :3].T + pose[:3, 3]


def upright_pose(x: float, y: float, z: float, yaw: float) -> np.ndarray:
    """4x4 pose of an upright object: x forward along `yaw` (radians), z up."""
    pose = np.eye(4)
    c, s = np.cos(yaw), np.sin(yaw)
    pose[:2, :2] = [[c, -s], [s, c]]
    pose[:3, 3] = (x, y, z)
    return pose
