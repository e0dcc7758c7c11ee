# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import NO_POINT, inverse, perturb, project
from lhmap_loc_ros.localization.features import cell_points, render_map
from lhmap_loc_ros.training import samples, variation
from lhmap_loc_ros.training.shards import Shard


def test_true_flow_leads_from_the_view_to_the_true_place(shard_path):
    frame = Shard(shard_path).frame(0)
    start = perturb(frame.T_map_camera, (0.4, -0.2, 0.5), (1, -3, 2))
    view = render_map(frame.points, frame.intensity, start, frame.camera)
    owner = cell_points(view, 4)
    flow, shown = samples.true_flow(frame, view, [owner])[0]
    np.testing.assert_array_equal(shown, np.isfinite(flow[0]))
    rows, columns = np.nonzero(np.isfinite(flow[0]))
    assert len(rows) > 50
    point = owner[rows, columns]
    assert (point != NO_POINT).all()
    truth, _ = project(frame.points, inverse(frame.T_map_camera), frame.camera)
    np.testing.assert_allclose(view.uv[point] + flow[:, rows, columns].T, truth[point], atol=1e-3)


def test_points_hidden_from_the_true_pose_have_no_flow(shard_path):
    frame = Shard(shard_path).frame(0)
    # a second wall close to the camera hides everything behind it
    local = np.stack(np.meshgrid(np.linspace(-3, 3, 300), np.linspace(-1.5, 1.5, 150)), -1).reshape(-1, 2)
    near = np.column_stack([local, np.full(len(local), 2.0)])
    near = near @ frame.T_map_camera[:3, :3].T + frame.T_map_camera[:3, 3]
    points = np.vstack([frame.points, near]).astype(np.float32)
    hidden = samples.Frame(frame.image, frame.camera, frame.T_map_camera, points, np.ones(len(points), np.float32))
    # seen from in front of the near wall's plane, the far wall is in view
    start = perturb(frame.T_map_camera, (0, 0, 2.5), (0, 0, 0))
    view = render_map(points, hidden.intensity, start, frame.camera)
    flow, shown = samples.true_flow(hidden, view, [cell_points(view, 4)])[0]
    assert not np.isfinite(flow).any() and not shown.any()


def test_displacements_along_the_borders_lead_outwards_as_often_as_inwards(shard_path):
    """Left out where they leave the image, they would teach that everything at a border moves inwards."""
    frame = Shard(shard_path).frame(0)
    last_column = []
    for yaw in (-2, 2):
        start = perturb(frame.T_map_camera, (0, 0, 0), (0, yaw, 0))
        view = render_map(frame.points, frame.intensity, start, frame.camera)
        flow, _ = samples.true_flow(frame, view, [cell_points(view, 4)])[0]
        last_column.append(np.nanmean(flow[0, :, -2:]))
    # 2 degrees at a focal length of 110 pixels, further out at the border
    np.testing.assert_allclose(last_column[::-1], -np.array(last_column), rtol=0.2)
    assert abs(last_column[0]) > 3


def test_points_the_image_does_not_show_keep_their_flow_but_are_told_apart(shard_path):
    """Left half of the picture: another car now stands before the wall. Right half: nothing is known."""
    frame = Shard(shard_path).frame(0)
    depth = np.full(frame.image.shape[:2], np.nan, np.float32)
    depth[:, : frame.camera.width // 2] = 4.0
    frame = replace(frame, depth=depth)
    view = render_map(frame.points, frame.intensity, frame.T_map_camera, frame.camera)
    flow, shown = samples.true_flow(frame, view, [cell_points(view, 4)])[0]
    known = np.isfinite(flow[0])
    left = np.arange(shown.shape[1]) < shown.shape[1] // 2 - 1
    assert known[:, left].sum() > 50 and not shown[:, left].any()
    right = np.arange(shown.shape[1]) > shown.shape[1] // 2
    np.testing.assert_array_equal(shown[:, right], known[:, right])


def test_what_stands_close_before_the_camera_covers_pixels_and_nothing_else():
    image = np.random.default_rng(0).random((48, 160, 3)).astype(np.float32)
    for seed in range(20):
        out, covered = variation.occluded(image, np.random.default_rng(seed))
        np.testing.assert_array_equal(out[~covered], image[~covered])
        assert 0 < covered.mean() < 0.61 and (out[covered] != image[covered]).mean() > 0.8


def test_covered_points_count_as_not_shown(shard_path):
    frame = Shard(shard_path).frame(0)
    frame = replace(frame, depth=np.full(frame.image.shape[:2], np.nan, np.float32))
    shown = []
    for seed in range(12):
        sample = samples.training_sample(frame, 160, 48, np.random.default_rng(seed))
        known = np.isfinite(sample.flow4[0])
        shown.append(sample.shown4[known].mean())
    # where depth is unknown and nothing covers the image, all that is known is shown
    assert max(shown) == 1.0 and 0.3 < min(shown) < 0.95 and 0.4 < np.mean(np.equal(shown, 1)) < 0.95


def test_mirrored_and_reframed_depth_stays_with_the_picture(shard_path):
    frame = Shard(shard_path).frame(0)
    # depth that repeats the first colour shows whether both move alike
    frame = replace(frame, depth=frame.image[:, :, 0].astype(np.float32))
    np.testing.assert_array_equal(variation.mirrored(frame).depth, variation.mirrored(frame).image[:, :, 0])
    out = variation.reframed(frame, frame.camera.width, frame.camera.height, np.random.default_rng(1))
    inside = np.isfinite(out.depth)
    assert inside.mean() > 0.5
    assert np.corrcoef(out.depth[inside], out.image[:, :, 0][inside])[0, 1] > 0.8


def test_mirrored_frame_shows_every_point_at_the_mirrored_pixel(shard_path):
    frame = Shard(shard_path).frame(1)
    mirror = variation.mirrored(frame)
    a, depth = project(frame.points, inverse(frame.T_map_camera), frame.camera)
    b, _ = project(mirror.points, inverse(mirror.T_map_camera), mirror.camera)
    front = depth > 0.5
    np.testing.assert_allclose(b[front, 0], frame.camera.width - 1 - a[front, 0], atol=1e-2)
    np.testing.assert_allclose(b[front, 1], a[front, 1], atol=1e-2)
    assert np.linalg.det(mirror.T_map_camera[:3, :3]) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(12))
def test_reframed_picture_and_camera_still_agree(shard_path, seed):
    frame = Shard(shard_path).frame(2)
    marked = np.zeros_like(frame.image)
    uv, depth = project(frame.points, inverse(frame.T_map_camera), frame.camera)
    middle = np.nanargmin(np.abs(uv - (100, 30)).sum(1))
    column, row = np.round(uv[middle]).astype(int)
    marked[row - 1 : row + 2, column - 1 : column + 2] = 255
    frame = samples.Frame(marked, frame.camera, frame.T_map_camera, frame.points, frame.intensity)
    out = variation.reframed(frame, 320, 96, np.random.default_rng(seed))
    assert out.image.shape == (96, 320, 3)
    expected = project(out.points[middle : middle + 1], inverse(out.T_map_camera), out.camera)[0][0]
    if not (5 < expected[0] < 314 and 5 < expected[1] < 90):
        return  # a part of the image that does not show the mark
    rows, columns = np.nonzero(out.image[:, :, 0] > 100)
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1.6


def test_same_seed_gives_the_same_sample(shard_path):
    frame = Shard(shard_path).frame(3)
    a, b = (samples.training_sample(frame, 160, 48, np.random.default_rng(4)) for _ in range(2))
    for name in ("image", "view", "flow8", "flow4"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.image.shape == (3, 48, 160) and a.flow8.shape == (2, 6, 20) and a.flow4.shape == (2, 12, 40)


def test_a_camera_that_looks_away_from_all_that_was_mapped_teaches_nothing_and_stops_nothing(shard_path):
    frame = Shard(shard_path).frame(0)
    frame = replace(frame, points=frame.points[:0], intensity=frame.intensity[:0])
    for seed in range(30):
        sample = samples.training_sample(frame, 160, 48, np.random.default_rng(seed))
        assert not sample.view.any() and not np.isfinite(sample.flow8).any() and not sample.rays4.any()


@pytest.mark.parametrize("level", samples.LEVELS)
def test_start_errors_stay_in_the_protocols_range(level):
    rng, (metres, degrees) = np.random.default_rng(0), samples.LEVELS[level]
    poses = np.array([samples.start_pose(np.eye(4), level, rng) for _ in range(300)])
    angles = np.abs(Rotation.from_matrix(poses[:, :3, :3]).as_euler("xyz", degrees=True))
    for largest, limit in ((np.abs(poses[:, :3, 3]).max(), metres), (angles.max(), degrees)):
        assert 0.9 * limit < largest <= limit + 1e-9


def test_file_that_is_no_shard_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a training shard"):
        Shard(tmp_path / "a.npz")
