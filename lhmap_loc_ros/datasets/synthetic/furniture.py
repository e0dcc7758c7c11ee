# SPDX-License-Identifier: Apache-2.0
"""Small things along the street: lamps, signs, fences, walls, bins, cabinets."""

import numpy as np

from .mesh import MeshBuilder
from .surfaces import Kind


def furniture_surfaces(table, rng) -> dict[str, int]:
    """Metal, wood, concrete and sign surfaces shared along one street."""
    seed = int(rng.integers(1 << 20))
    metal = rng.uniform(0.08, 0.4) * np.array([1, 1.02, 1.05])
    if rng.random() < 0.3:
        metal = np.array([0.03, 0.09, 0.06])
    wood = np.array([0.3, 0.2, 0.12]) * rng.uniform(0.5, 1.5)
    wall = rng.uniform(0.2, 0.55) * np.array([1.0, 0.96, 0.9])
    out = {
        "metal": table.add(Kind.PLAIN, metal, nir=0.35, params=(0.08,), seed=seed),
        "wood": table.add(Kind.PLANKS, wood, wood * 0.15, 0.5, 0.1, (rng.uniform(0.08, 0.16),), seed=seed),
        "concrete": table.add(Kind.PLASTER, wall, wall * 0.7, params=(0.15, 2.5, 0.0), seed=seed),
        "stone": table.add(Kind.STONE, wall * 0.7, wall * 0.3, params=(rng.uniform(0.25, 0.6),), seed=seed + 1),
        "lamp": table.add(Kind.PLAIN, [0.7] * 3, nir=0.6, glow=3.0),
        "back": table.add(Kind.PLAIN, [0.35] * 3, nir=0.4, params=(0.05,)),
        "white": table.add(Kind.PLAIN, [0.75] * 3, nir=0.75, params=(0.1,), seed=seed),
        "pole_red": table.add(Kind.PLAIN, [0.5, 0.04, 0.03], nir=0.5, params=(0.1,), seed=seed),
    }
    bins = [0.05, 0.12, 0.05], [0.03, 0.05, 0.15], [0.25, 0.2, 0.05], [0.12] * 3, [0.3, 0.28, 0.25]
    for k, color in enumerate(bins):
        out[f"bin{k}"] = table.add(Kind.PLAIN, color, nir=rng.uniform(0.15, 0.5), params=(0.12,), seed=seed + k)
    faces = [
        ([0.55, 0.03, 0.03], [0.85] * 3),
        ([0.03, 0.1, 0.45], [0.85] * 3),
        ([0.55, 0.03, 0.03], [0.85] * 3),
        ([0.03, 0.12, 0.4], [0.8] * 3),
        ([0.7, 0.5, 0.02], [0.85] * 3),
    ]
    for k, (a, b) in enumerate(faces):
        out[f"sign{k}"] = table.add(Kind.SIGN, a, b, 0.85, 1.0, (min(k, 3),), seed=seed + k)
    return out


def lamp_mesh(rng, surf, height, arm) -> MeshBuilder:
    """A lamp post with its arm towards +x."""
    mesh = MeshBuilder()
    mesh.tube([(0, 0, -0.3), (0, 0, 1.0)], [0.11, 0.1], surf["metal"])
    if arm > 0.2:
        mesh.tube(
            [(0, 0, 1.0), (0, 0, height - 0.4), (arm * 0.3, 0, height), (arm, 0, height + 0.1)],
            [0.08, 0.055, 0.045, 0.035],
            surf["metal"],
            sides=6,
        )
        mesh.box((arm - 0.1, -0.14, height), (arm + 0.6, 0.14, height + 0.13), surf["lamp"])
    else:
        mesh.tube([(0, 0, 1.0), (0, 0, height)], [0.07, 0.045], surf["metal"], sides=6)
        mesh.tube([(0, 0, height), (0, 0, height + 0.5)], [0.12, 0.22], surf["lamp"])
    return mesh


def lamp_head(height, arm) -> tuple[float, float, float]:
    """Where the light of such a lamp comes from, in its frame."""
    return (arm + 0.25, 0.0, height) if arm > 0.2 else (0.0, 0.0, height)


def sign_mesh(rng, surf) -> MeshBuilder:
    """A traffic sign (or two) on a pole, facing +x."""
    mesh = MeshBuilder()
    height = rng.uniform(2.1, 2.9)
    mesh.tube([(0, 0, -0.3), (0, 0, height + 0.4)], [0.035, 0.035], surf["metal"], sides=6)
    for k in range(1 if rng.random() < 0.7 else 2):
        _face(mesh, surf, int(rng.integers(5)), rng.uniform(0.28, 0.4), height - 0.75 * k)
    return mesh


def _face(mesh, surf, design, radius, z):
    corners = {0: 16, 1: 16, 2: 3}.get(design, 4)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False) + {3: np.pi / 2, 4: np.pi / 4}.get(corners, 0)
    scale = np.sqrt(2) if corners == 4 else 1.1 if corners == 3 else 1.0
    unit = np.stack([np.cos(angle), np.sin(angle)], 1) * scale
    for x, surface in ((0.06, surf[f"sign{design}"]), (0.05, surf["back"])):
        rim = np.stack([np.full(corners, x), unit[:, 0] * radius, z + unit[:, 1] * radius], 1)
        mesh.fan((x, 0, z), rim, surface, (0, 0), unit)


def barrier_mesh(rng, surf, kind, length) -> MeshBuilder:
    """A fence or wall along x from 0 to ``length``: wood, rail, stone, concrete or wire posts."""
    mesh = MeshBuilder()
    if kind == "wood":
        height = rng.uniform(0.9, 1.9)
        for y in (0.0, 0.025):
            mesh.quads([[(0, y, 0.06), (length, y, 0.06), (length, y, height), (0, y, height)]], surf["wood"])
        for x in np.arange(0, length, 2.0):
            mesh.box((x, -0.06, -0.4), (x + 0.09, 0.05, height + 0.08), surf["wood"])
    elif kind == "rail":
        height = rng.uniform(0.9, 1.3)
        for z in (0.15, height):
            mesh.box((0, -0.02, z - 0.025), (length, 0.02, z + 0.025), surf["metal"])
        for x in np.arange(0, length, 0.22):
            mesh.box((x, -0.01, -0.3), (x + 0.02, 0.01, height), surf["metal"])
    else:
        height = rng.uniform(0.5, 2.0)
        mesh.box((0, -0.13, -0.6), (length, 0.13, height), surf[kind])
        mesh.box((-0.02, -0.17, height), (length + 0.02, 0.17, height + 0.07), surf["concrete"])
    return mesh


def bin_mesh(rng, surf) -> MeshBuilder:
    """A wheeled bin."""
    mesh = MeshBuilder()
    body = surf[f"bin{rng.integers(5)}"]
    w, h = rng.uniform(0.5, 0.7), rng.uniform(0.9, 1.15)
    mesh.box((-w / 2, -w / 2, 0.06), (w / 2, w / 2, h), body)
    mesh.box((-w / 2 - 0.04, -w / 2 - 0.03, h), (w / 2 + 0.05, w / 2 + 0.03, h + 0.06), body)
    return mesh


def cabinet_mesh(rng, surf) -> MeshBuilder:
    """A switch cabinet, a bench or a bollard."""
    mesh = MeshBuilder()
    kind = rng.random()
    if kind < 0.5:
        w = rng.uniform(0.4, 1.1)
        mesh.box((-0.2, -w / 2, -0.3), (0.2, w / 2, rng.uniform(0.9, 1.4)), surf[f"bin{rng.choice([3, 4])}"])
    elif kind < 0.75:
        mesh.box((-0.25, -0.8, 0.4), (0.2, 0.8, 0.46), surf["wood"])
        mesh.box((0.18, -0.8, 0.5), (0.24, 0.8, 0.9), surf["wood"])
        for y in (-0.6, 0.6):
            mesh.box((-0.2, y, -0.2), (0.2, y + 0.06, 0.4), surf["metal"])
    else:
        for z0, z1, name in ((-0.3, 0.35, "white"), (0.35, 0.6, "pole_red"), (0.6, 0.9, "white")):
            mesh.tube([(0, 0, z0), (0, 0, z1)], [0.07, 0.07], surf[name], sides=8)
    return mesh
