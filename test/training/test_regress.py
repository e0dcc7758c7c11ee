# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.geometry import from_quaternion, inverse, perturb, pose_error, project
from lhmap_loc_ros.localization.features import render_map
from lhmap_loc_ros.networks.reference_heat import ReferenceHeatNet, hottest
from lhmap_loc_ros.networks.regress import RegressNet
from lhmap_loc_ros.training import reference_heat, regress
from lhmap_loc_ros.training.regress import RegressSampleConfig, regress_loss, regress_sample
from lhmap_loc_ros.training.samples import LEVELS
from lhmap_loc_ros.training.shards import Shard

CONFIG = RegressSampleConfig(width=128, height=48)


def batch_of(shard_path, sample, config=CONFIG, count=2):
    shard = Shard(shard_path)
    samples = [sample(shard.frame(k), config, np.random.default_rng(k)) for k in range(count)]
    return [torch.from_numpy(np.stack(x)) for x in zip(*samples, strict=True)]


def trained(net, loss, batch, steps, learning_rate):
    """The first and the last loss of some optimiser steps on one batch."""
    optimizer, losses = torch.optim.Adam(net.parameters(), learning_rate), []
    for _ in range(steps):
        value, figures = loss(net, *batch)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(float(value.detach()))
    assert all(np.isfinite(v) for v in figures.values())
    return losses[0], losses[-1]


@pytest.mark.parametrize("published", [False, True])
def test_sample_is_padded_to_whole_cells(shard_path, published):
    config = RegressSampleConfig(width=160, height=48, published=published)
    frame = Shard(shard_path).frame(0)
    a, b = (regress_sample(frame, config, np.random.default_rng(2)) for _ in range(2))
    assert a.image.shape == (3, 64, 192) and a.depth.shape == (1, 64, 192)
    for part in (a.image, a.depth):
        assert part.dtype == np.float32
        assert not part[:, 48:].any() and not part[:, :, 160:].any() and part[:, :48, :160].any()
    assert 0.05 < a.depth.max() < 0.2  # a wall some ten metres away
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


def test_target_applied_to_the_start_gives_the_true_pose(shard_path):
    truth = Shard(shard_path).frame(0).T_map_camera
    start = perturb(truth, (1.5, -0.4, 0.7), (8, -9, 5))
    translation, quaternion = regress.target(start, truth)
    metres, degrees = pose_error(start @ from_quaternion(translation, quaternion), truth)
    assert metres < 1e-5 and degrees < 1e-4


@pytest.mark.parametrize("stage", LEVELS)
def test_start_errors_are_those_of_the_stage(shard_path, stage):
    frame = Shard(shard_path).frame(0)
    config = RegressSampleConfig(width=32, height=16, stage=stage, published=True)
    samples = [regress_sample(frame, config, np.random.default_rng(k)) for k in range(40)]
    metres = max(np.linalg.norm(s.translation) for s in samples)
    degrees = max(2 * np.degrees(np.arccos(min(1, s.quaternion[3]))) for s in samples)
    for found, limit in zip((metres, degrees), LEVELS[stage], strict=True):
        assert 0.7 * limit < found <= 1.8 * limit


@pytest.mark.parametrize("angle", [-0.08, 0.05])
def test_rolled_picture_shows_every_point_where_the_rolled_camera_has_it(shard_path, angle):
    frame = Shard(shard_path).frame(1)
    image = np.zeros_like(frame.image)
    uv, _ = project(frame.points, inverse(frame.T_map_camera), frame.camera)
    one = np.nanargmin(np.abs(uv - (140, 20)).sum(1))
    column, row = np.round(uv[one]).astype(int)
    image[row - 1 : row + 2, column - 1 : column + 2] = 255
    frame = regress.rolled(regress.replace(frame, image=image), angle)
    expected = project(frame.points[one : one + 1], inverse(frame.T_map_camera), frame.camera)[0][0]
    rows, columns = np.nonzero(frame.image[:, :, 0] > 60)
    assert np.hypot(columns.mean() - expected[0], rows.mean() - expected[1]) < 1.2
    assert np.hypot(*(expected - (column, row))) > 1.5


def test_colour_jitter_stays_within_its_size():
    image = np.full((4, 5, 3), (40, 100, 160), np.uint8)
    out = np.array([regress.colour_jitter(image, np.random.default_rng(k)) for k in range(50)]) * 255
    assert out.shape == (50, 4, 5, 3) and out.dtype == np.float32
    assert 5 < np.ptp(out[:, 0, 0, 1]) < 30 and abs(out[:, 0, 0, 1].mean() - 100) < 4
    assert (np.diff(out[:, 0, 0], axis=1) > 40).all()


def test_angle_between_quaternions_has_no_sign_and_a_slope_everywhere():
    rng = np.random.default_rng(0)
    a, b = Rotation.random(20, random_state=rng), Rotation.random(20, random_state=rng)
    qa, qb = (torch.tensor(r.as_quat(), dtype=torch.float32) for r in (a, b))
    expected = torch.tensor((a.inv() * b).magnitude(), dtype=torch.float32)
    torch.testing.assert_close(regress.quaternion_angle(qa, qb), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(regress.quaternion_angle(-qa, qb), expected, atol=1e-4, rtol=0)
    qa.requires_grad_()
    regress.quaternion_angle(qa, qa.detach()).sum().backward()
    assert torch.isfinite(qa.grad).all()


def test_network_learns_one_batch_by_heart(shard_path):
    torch.manual_seed(0)
    batch = batch_of(shard_path, regress_sample)
    first, last = trained(RegressNet(scale=0.125), regress_loss, batch, steps=40, learning_rate=2e-3)
    assert last < 0.1 * first


def test_place_leads_from_the_true_view_to_the_start_view(shard_path):
    frame = Shard(shard_path).frame(0)
    start = perturb(frame.T_map_camera, (0.4, -0.2, 0.5), (1, -3, 2))
    a, b = (render_map(frame.points, frame.intensity, T, frame.camera) for T in (start, frame.T_map_camera))
    place, depth = reference_heat.places(a, b)
    assert place.shape == depth.shape == (64, 256)
    rows, columns = np.nonzero((place >= 0) & (place < place.size))
    assert len(rows) > 500 and (place == place.size).sum() > 50
    assert not ((place >= 0) & (np.pad(b.index, ((0, 4), (0, 56)), constant_values=-1) < 0)).any()
    point = b.index[rows, columns]
    assert len(np.unique(point)) == len(point)  # however wide it is drawn, a point has one place
    expected, z = project(frame.points[point], inverse(start), frame.camera)
    found = np.column_stack([place[rows, columns] % 256, place[rows, columns] // 256])
    assert np.abs(found - expected).max() <= 0.501
    np.testing.assert_allclose(depth[rows, columns], z / 100, rtol=1e-5)


def test_with_all_points_kept_the_start_view_is_drawn_again(shard_path):
    """Every point of the wall that both poses see, nothing hides another: what the sample's own depth shows."""
    config = RegressSampleConfig(width=128, height=48, stage=3, published=True)
    _, depth, true_depth, place, moved, *_ = batch_of(shard_path, reference_heat.reference_heat_sample, config)
    found = reference_heat.kept_depth(true_depth, place.unsqueeze(1) >= 0, place, moved)
    both = (found > 0) & (depth > 0)
    assert both.sum() > 0.6 * (depth > 0).sum() and ((found > 0) & ~both).sum() == 0
    assert ((found - depth).abs() < 1e-5)[both].float().mean() > 0.7 and (found - depth)[both].min() > -1e-5


def test_only_kept_points_are_drawn_and_the_gate_lets_their_heat_learn():
    heat = torch.rand(1, 1, 4, 6).requires_grad_()
    place, depth = torch.full((1, 4, 6), -1), torch.zeros(1, 4, 6)
    place[0, 0, :4] = torch.tensor([7, 7, 20, 24])  # two in one pixel, one elsewhere, one out of view
    depth[0, 0, :4] = torch.tensor([0.2, 0.1, 0.3, 0.4])
    kept = hottest(torch.where(place.unsqueeze(1) >= 0, heat.detach(), 0), 24)
    out = reference_heat.kept_depth(heat, kept, place, depth)
    expected = torch.zeros(24)
    expected[7], expected[20] = 0.1, 0.3
    torch.testing.assert_close(out.flatten(), expected)
    out.sum().backward()
    # in proportion to the depth that would go if the point did
    mean = heat.detach()[0, 0, 0, :4].mean()
    torch.testing.assert_close(heat.grad[0, 0, 0], torch.tensor([0, 0.1, 0.3, 0, 0, 0]) / mean)
    assert heat.grad.count_nonzero() == 2


@pytest.mark.parametrize("first_stage", [0.0, 1.0])
def test_either_stage_alone_teaches_the_heat(shard_path, first_stage):
    torch.manual_seed(0)
    net = ReferenceHeatNet(scale=0.125)
    batch = batch_of(shard_path, reference_heat.reference_heat_sample)
    loss, figures = reference_heat.reference_heat_loss(net, *batch, kept=200, first_stage=first_stage)
    loss.backward()
    assert 50 < figures["kept"] <= 200
    assert all(p.grad.any() and torch.isfinite(p.grad).all() for p in net.branch.parameters())


def test_both_stages_learn_one_batch_by_heart(shard_path):
    torch.manual_seed(0)
    config = RegressSampleConfig(width=64, height=48)
    batch = batch_of(shard_path, reference_heat.reference_heat_sample, config)

    def loss(net, *batch):
        return reference_heat.reference_heat_loss(net, *batch, kept=300)

    first, last = trained(ReferenceHeatNet(scale=0.125), loss, batch, steps=28, learning_rate=6e-3)
    assert last < 0.5 * first
