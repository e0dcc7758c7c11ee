# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share."""

import numpy as np
import pytest

from lhmap_loc_ros.geometry import Camera, inverse, perturb, project, se3_exp


def draw(points, shades, camera, pose):
    """A picture of bright and dark points, so that image and map share what can be matched."""
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    uv, depth = project(points, inverse(pose), camera)
    for i in np.argsort(-np.nan_to_num(depth)):
        if depth[i] > 0.5 and 0 <= uv[i, 0] < camera.width - 2 and 0 <= uv[i, 1] < camera.height - 2:
            column, row = int(uv[i, 0]), int(uv[i, 1])
            image[row : row + 3, column : column + 3] = 255 * shades[i]
    return image


@pytest.fixture(scope="session")
def shard_path(tmp_path_factory):
    """Six pictures of a wall of random brightness."""
    from lhmap_loc_ros.training.shards import write_shard

    rng = np.random.default_rng(0)
    n = 6000
    points = np.column_stack([rng.uniform(-10, 10, n), rng.uniform(9, 14, n), rng.uniform(0, 5, n)]).astype(np.float32)
    shades = rng.random(n).astype(np.float32)
    camera = Camera(200, 60, 110.0, 110.0, 99.0, 28.0)
    base = se3_exp([0, 0, 0, -np.pi / 2, 0, 0])
    base[:3, 3] = (0, 0, 1.6)
    poses = [perturb(base, rng.uniform(-1, 1, 3), rng.uniform(-4, 4, 3)) for _ in range(6)]
    path = tmp_path_factory.mktemp("shards") / "wall.npz"
    pictures = [draw(points, shades, camera, p) for p in poses]
    unknown = [np.full((camera.height, camera.width), np.nan)] * 6
    write_shard(path, pictures, [camera] * 6, poses, unknown, points, shades)
    return path
