# SPDX-License-Identifier: Apache-2.0
"""Heads that learn a stretch of the path: alignment, stretches, steps, and what is kept of an interrupted run."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.known_places import write_street
from helpers.known_scene import street_material

from lhmap_loc_ros.geometry import perturb, pose_error
from lhmap_loc_ros.networks.scene import SceneHead, aligned
from lhmap_loc_ros.scenes.heads import aligned_pose, run_head
from lhmap_loc_ros.scenes.pnp import solve_pose
from lhmap_loc_ros.training import scene
from lhmap_loc_ros.training.scene import Amount, learn, stretches
from lhmap_loc_ros.training.scene_losses import pose_loss
from lhmap_loc_ros.training.scene_steps import ConstraintsStep


def clouds(rng, wrong=0):
    """Points in a camera's frame, their places, and the pose of the camera."""
    pose = perturb(np.eye(4), rng.uniform(-5, 5, 3), rng.uniform(-40, 40, 3))
    seen = rng.uniform((-8, -4, 4), (8, 4, 30), (200, 3))
    places = seen @ pose[:3, :3].T + pose[:3, 3]
    places[:wrong] += rng.normal(0, 20, (wrong, 3))
    return seen, places, pose


def test_alignment_finds_the_pose_and_leaves_out_what_has_no_weight():
    rng = np.random.default_rng(0)
    seen, places, pose = clouds(rng, wrong=50)
    weights = np.r_[np.zeros(50), np.ones(150)]
    assert pose_error(aligned_pose(places, seen, weights).T_map_camera, pose)[0] < 1e-6
    batch = [torch.from_numpy(np.stack([a, a])) for a in (places, seen, weights)]
    found = aligned(*batch).numpy()
    for one in found:
        assert pose_error(one.astype(float), pose)[0] < 0.01
    assert aligned_pose(places, seen, np.zeros(200)) is None


@pytest.mark.parametrize("which", [0, 1, 2])
def test_values_that_overflowed_align_nothing(which):
    seen, places, _ = clouds(np.random.default_rng(0))
    arrays = [places, seen, np.ones(200)]
    arrays[which][3] = np.nan
    assert aligned_pose(*arrays) is None


def test_gradients_pass_through_the_alignment():
    seen, places, pose = clouds(np.random.default_rng(1), wrong=20)
    weights = torch.ones(1, 200, requires_grad=True)
    found = aligned(torch.from_numpy(places)[None], torch.from_numpy(seen)[None], weights)
    pose_loss(found, torch.from_numpy(pose).float()[None]).backward()
    gradient = weights.grad.numpy()[0]
    # less weight on what is wrong makes the pose better
    assert np.isfinite(gradient).all() and gradient[:20].mean() > gradient[20:].mean()


def test_pnp_has_an_error_as_large_as_its_covariance_says():
    from lhmap_loc_ros.geometry import Camera, inverse, se3_log

    camera, rng, scaled = Camera(608, 176, 300.0, 300.0, 303.5, 87.5), np.random.default_rng(2), []
    for _ in range(20):
        seen, places, pose = clouds(rng, wrong=60)
        pixels = seen[:, :2] / seen[:, 2:] * 300 + (303.5, 87.5) + rng.normal(0, 1.0, (200, 2))
        found = solve_pose(places, pixels, camera)
        error = se3_log(inverse(pose) @ found.T_map_camera)
        scaled.append(error / np.sqrt(np.diag(found.covariance)))
        assert 0.5 < found.inlier_ratio < 0.8
    # neighbours err together on real images, and here do not
    assert 0.2 < np.std(scaled) < 1.0


def test_coarse_places_of_many_pixels_make_a_pose_near_where_it_begins():
    from lhmap_loc_ros.geometry import Camera
    from lhmap_loc_ros.scenes.pnp import refined_pose

    camera, rng, errors = Camera(608, 176, 300.0, 300.0, 303.5, 87.5), np.random.default_rng(3), []
    for _ in range(10):
        seen, places, pose = clouds(rng, wrong=40)
        pixels = seen[:, :2] / seen[:, 2:] * 300 + (303.5, 87.5) + rng.normal(0, 20.0, (200, 2))
        start = perturb(pose, rng.uniform(-1, 1, 3), rng.uniform(-4, 4, 3))
        found = refined_pose(start, places, pixels, 20.0, camera)
        errors.append(pose_error(found.T_map_camera, pose)[0])
        assert np.linalg.eigvalsh(found.covariance).min() > 0 and found.inliers > 100
    assert np.median(errors) < 0.5
    assert refined_pose(start, places[:8], pixels[:8], 20.0, camera) is None


def test_a_path_is_cut_into_stretches_of_about_the_same_length():
    x = np.arange(0, 400, 2.0)
    number = stretches(np.column_stack([x, 0 * x, 0 * x]))
    assert number.max() == 2 and (np.diff(number) >= 0).all() and np.bincount(number).min() > 60
    assert stretches(np.zeros((4, 3))).tolist() == [0] * 4


def test_numpy_runs_a_head_as_torch_does():
    torch.manual_seed(0)
    net, x = SceneHead(10, 16, 4), np.random.default_rng(0).normal(size=(7, 10)).astype(np.float32)
    layers = [(layer.weight.detach().T.numpy(), layer.bias.detach().numpy()) for layer in net.layers]
    np.testing.assert_allclose(run_head(layers, x), net(torch.from_numpy(x)).detach().numpy(), atol=1e-5)


@pytest.fixture
def street(tmp_path):
    with write_street(tmp_path / "street.lhmap") as lhmap:
        yield lhmap


def test_a_head_that_is_done_is_not_learned_again(tmp_path, street, monkeypatch):
    folder = tmp_path / "work"
    folder.mkdir()
    first = learn(street_material(10.0), "regression", street, folder, amount=Amount(steps=5))
    monkeypatch.setattr(scene, "train_head", lambda *_: pytest.fail("learned again"))
    again = learn(street_material(10.0), "regression", street, folder, amount=Amount(steps=5))
    assert first.to_section() == again.to_section()
    with pytest.raises(pytest.fail.Exception, match="learned again"):
        learn(street_material(12.0), "regression", street, folder, amount=Amount(steps=5))


def test_a_head_whose_file_is_damaged_is_learned_again(tmp_path, street):
    first = learn(street_material(10.0), "regression", street, tmp_path, amount=Amount(steps=5))
    (kept,) = tmp_path.glob("head_*.npz")
    kept.write_bytes(kept.read_bytes()[:2000])
    again = learn(street_material(10.0), "regression", street, tmp_path, amount=Amount(steps=5))
    assert first.to_section() == again.to_section() and kept.stat().st_size > 2000


def test_constraints_learn_from_few_coordinates(street, monkeypatch):
    monkeypatch.setattr(ConstraintsStep, "CELLS", 64)
    seen = []
    loss = ConstraintsStep.loss
    monkeypatch.setattr(ConstraintsStep, "loss", lambda *a: seen.append(loss(*a)) or seen[-1])
    learned = learn(street_material(10.0), "constraints", street, amount=Amount(steps=40, coordinates=0.05))
    losses = torch.stack(seen).detach().numpy()
    assert np.isfinite(losses).all() and losses[-8:].mean() < 0.7 * losses[:8].mean()
    assert learned.layers[-1][0].shape == (1, 192, 5)
