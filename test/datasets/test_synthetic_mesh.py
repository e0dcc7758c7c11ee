# SPDX-License-Identifier: Apache-2.0
"""Meshes of the simulator: a grid of points is cut into quads that cover it once."""

import numpy as np

from lhmap_loc_ros.datasets.synthetic.mesh import MeshBuilder, grid_quads


def test_the_quads_of_a_grid_cover_it_once_and_go_around_the_same_way():
    x, y = np.meshgrid(np.arange(4.0), np.arange(3.0), indexing="ij")
    quads = grid_quads(np.stack([x, y], -1))
    assert quads.shape == (3 * 2, 4, 2)
    assert {tuple(corner) for corner in quads[:, 0].tolist()} == {(i, j) for i in range(3) for j in range(2)}
    a, b, c, d = quads.transpose(1, 0, 2)
    np.testing.assert_array_equal(np.linalg.det(np.stack([b - a, d - a], 1)), 1.0)
    np.testing.assert_array_equal(b - a, c - d)


def test_a_mesh_of_a_grid_has_two_triangles_a_quad():
    mesh = MeshBuilder()
    corners = grid_quads(np.random.default_rng(0).random((5, 2, 3)))
    mesh.quads(corners, 7)
    xyz, _, surface = mesh.arrays()
    assert xyz.shape == (8, 3, 3) and (surface == 7).all()
