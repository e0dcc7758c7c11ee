# SPDX-License-Identifier: Apache-2.0
"""Trees, bushes and hedges made of many small leaf facets."""

import numpy as np

from .mesh import MeshBuilder
from .surfaces import Kind


def leaf_surface(table, rng, autumn=0.0) -> int:
    """A foliage colour: dark in the image, bright in the near infrared."""
    green = np.array([0.055, 0.1, 0.022]) * rng.uniform(0.6, 1.6) * (1 + rng.uniform(-0.15, 0.15, 3))
    other = green * rng.uniform(1.2, 2.2)
    if rng.random() < autumn:
        other = np.array([0.3, 0.16, 0.03])
    return table.add(Kind.LEAF, green, other, rng.uniform(0.4, 0.6), rng.uniform(0.45, 0.7))


def bark_surface(table, rng) -> int:
    """Bark, from grey to brown, sometimes light as a birch's."""
    if rng.random() < 0.12:
        return table.add(Kind.BARK, [0.5, 0.48, 0.44], [0.1, 0.09, 0.08], 0.5, 0.25, seed=int(rng.integers(9999)))
    brown = np.array([0.16, 0.12, 0.085]) * rng.uniform(0.6, 1.5)
    return table.add(Kind.BARK, brown, brown * 0.4, 0.36, 0.2, seed=int(rng.integers(9999)))


def scatter_leaves(mesh, rng, centers, size, surface) -> None:
    """One randomly turned triangle pair (a bent leaf cluster) at each of ``centers`` (n, 3)."""
    n = len(centers)
    a = rng.normal(size=(n, 3))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = np.cross(a, rng.normal(size=(n, 3)))
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    half = size * rng.uniform(0.5, 1.2, (n, 1))
    p = centers
    corners = np.stack([p - a * half, p + b * half * 0.7, p + a * half, p - b * half * 0.7], 1)
    tone = rng.random((n, 1))
    uv = np.stack([tone, rng.random((n, 1))], -1).repeat(4, 1)
    mesh.quads(corners, surface, uv)


def _blob(rng, center, radius, count):
    """Points mostly near the surface of an ellipsoid (n, 3)."""
    v = rng.normal(size=(count, 3))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    return center + v * radius * rng.uniform(0.45, 1.0, (count, 1)) ** 0.5


def tree_mesh(table, rng, height, leaf, bark) -> MeshBuilder:
    """A tree standing at the origin; broad-leaved, or a conifer for one in seven."""
    mesh = MeshBuilder()
    radius = height * rng.uniform(0.014, 0.028)
    if rng.random() < 0.14:
        mesh.tube([(0, 0, -0.5), (0, 0, height * 0.9)], [radius, 0.03], bark)
        z = height * (0.12 + 0.88 * rng.random(1500) ** 1.5)
        r = (height - z) * rng.uniform(0.2, 0.3) * np.sqrt(rng.uniform(0.2, 1, len(z))) + 0.1
        angle = rng.uniform(0, 2 * np.pi, len(z))
        scatter_leaves(mesh, rng, np.stack([r * np.cos(angle), r * np.sin(angle), z], 1), 0.28, leaf)
        return mesh
    fork = height * rng.uniform(0.22, 0.42)
    lean = rng.normal(0, 0.03, 2) * height
    mesh.tube(
        [(0, 0, -0.5), (0, 0, 0.2), (*lean * 0.5, fork), (*lean, height * 0.75)],
        [radius * 1.3, radius, radius * 0.8, radius * 0.25],
        bark,
    )
    spread = height * rng.uniform(0.2, 0.36)
    blobs = int(rng.integers(5, 12))
    for _ in range(blobs):
        angle, out = rng.uniform(0, 2 * np.pi), spread * np.sqrt(rng.random())
        center = np.array(
            [
                lean[0] + out * np.cos(angle),
                lean[1] + out * np.sin(angle),
                rng.uniform(fork + 0.2 * height, height * 0.9),
            ]
        )
        size = height * rng.uniform(0.1, 0.19) * np.array([1.1, 1.1, 0.8])
        mesh.tube([(*lean * 0.5, fork), tuple(center)], [radius * 0.45, radius * 0.12], bark, sides=5)
        scatter_leaves(mesh, rng, _blob(rng, center, size, int(1900 / blobs)), 0.03 * height**0.8 + 0.08, leaf)
    return mesh


def bush_mesh(rng, size, leaf) -> MeshBuilder:
    """A round bush of the given height, on the ground at the origin."""
    mesh = MeshBuilder()
    for _ in range(3):
        center = np.array([*rng.normal(0, 0.3 * size, 2), 0.5 * size])
        scatter_leaves(mesh, rng, _blob(rng, center, size * np.array([0.5, 0.5, 0.5]), 110), 0.1 + 0.05 * size, leaf)
    return mesh


def hedge_mesh(rng, length, height, width, leaf) -> MeshBuilder:
    """A clipped hedge along x from 0 to ``length``, leaves on a dark core."""
    mesh = MeshBuilder()
    core = [(0.0, 0.12 - width / 2, -0.3), (length, width / 2 - 0.12, height - 0.12)]
    mesh.box(*core, leaf)
    area = length * (2 * height + width)
    n = int(area * 45)
    x = rng.uniform(0, length, n)
    t = rng.uniform(0, 2 * height + width, n)
    y = np.where(t < height, -width / 2, np.where(t < height + width, t - height - width / 2, width / 2))
    z = np.where(t < height, t, np.where(t < height + width, height, 2 * height + width - t))
    points = np.stack([x, y, z], 1) + rng.normal(0, 0.05, (n, 3))
    scatter_leaves(mesh, rng, points, 0.13, leaf)
    return mesh
