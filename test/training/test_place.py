# SPDX-License-Identifier: Apache-2.0
"""Training the place network: features of shards, batches, recalls, and a short run."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy.spatial.transform import Rotation

from lhmap_loc_ros.errors import ConfigError, InputError
from lhmap_loc_ros.geometry import Camera, make_pose
from lhmap_loc_ros.training.place_batches import PlaceWorlds, same_place
from lhmap_loc_ros.training.place_material import HEADINGS, PlaceFeatures, apart, around, beside, describe_shard
from lhmap_loc_ros.training.place_recall import chance, column_means, recalls
from lhmap_loc_ros.training.run import train
from lhmap_loc_ros.training.shards import write_shard

AHEAD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
CAMERA = Camera(320, 128, 200.0, 200.0, 159.5, 63.5)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A street of 40 m with three images."""
    rng = np.random.default_rng(0)
    n = 20_000
    walls = np.stack([rng.uniform(-5, 60, n), rng.choice([-5.0, 6.0], n), rng.uniform(0, 6, n)], 1)
    ground = np.stack([rng.uniform(-5, 60, n), rng.uniform(-5, 6, n), np.zeros(n)], 1)
    points = np.concatenate([walls, ground])
    poses = [make_pose(AHEAD, (x, 0, 1.6)) for x in (0.0, 3.0, 30.0)]
    images = [rng.integers(0, 255, (128, 320, 3), np.uint8) for _ in poses]
    depths = [np.full((128, 320), np.nan, np.float32)] * 3
    path = tmp_path_factory.mktemp("shards") / "street.npz"
    write_shard(path, images, [CAMERA] * 3, poses, depths, points, rng.random(len(points)))
    return path


@pytest.fixture(scope="module")
def features(shard):
    return describe_shard(shard, False, 1, 8.0, False)


def test_a_shard_gives_each_image_with_a_view_of_its_place_and_views_all_around(features):
    assert features.images.shape == (3, 96, 8, 20) and features.images.dtype == np.float16
    # two places further apart than the spacing
    assert len(features.views) == 3 + 2 * HEADINGS
    offset = features.image_poses - features.view_poses[:3]
    along, across = np.abs(offset[:, :2]).max(axis=0)
    assert along < 1.6 and across < 4.1
    np.testing.assert_allclose(features.image_poses[:, 3], 0, atol=1e-6)


def test_a_mirror_shows_the_other_side(shard, features):
    mirrored = describe_shard(shard, True, 1, 8.0, False)
    np.testing.assert_allclose(mirrored.image_poses[:, 1], -features.image_poses[:, 1], atol=1e-6)
    assert not np.allclose(mirrored.images, features.images, atol=0.01)


def test_features_come_back_from_their_file(features, tmp_path):
    features.write(tmp_path / "a.npz")
    np.testing.assert_array_equal(PlaceFeatures.read(tmp_path / "a.npz").views, features.views)


def test_views_beside_a_place_are_level_and_near():
    pose, rng = make_pose(AHEAD, (0, 0, 1.6)), np.random.default_rng(0)
    for _ in range(20):
        near = beside(pose, rng)
        assert abs(near[0, 3]) < 1.6 and abs(near[1, 3]) < 4.1 and near[2, 1] == pytest.approx(-1)


def test_views_around_a_place_look_in_all_directions():
    poses = around(np.zeros(3), 0.3)
    headings = np.unwrap(np.arctan2(poses[:, 1, 2], poses[:, 0, 2]))
    np.testing.assert_allclose(np.diff(headings), 2 * np.pi / HEADINGS)
    for pose in poses:
        assert np.linalg.det(pose[:3, :3]) == pytest.approx(1) and Rotation.from_matrix(pose[:3, :3])


def test_positions_chosen_are_apart():
    assert apart(np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0], [3.5, 0, 0]]), 2.0).tolist() == [0, 2]


def test_same_place_near_and_elsewhere():
    images = torch.tensor([[0.0, 0, 0, 0, 0]])
    views = torch.tensor([
        [1.0, 0, 0, 0.1, 0], [1.0, 0, 0, 3.1, 0], [6.0, 0, 0, 6.2, 0], [30.0, 0, 0, 0, 0], [0.0, 0, 0, 0, 1],
    ])  # fmt: skip
    target, ignored = same_place(images, views)
    assert (target[0] > 0).tolist() == [True, False, False, False, False]
    assert ignored[0].tolist() == [False, False, True, False, False]


def test_recall_counts_the_first_views_that_are_near_and_look_the_same_way():
    images = np.array([[0.0, 0, 0, 0], [50.0, 0, 0, 0]])
    views = np.array([[1.0, 0, 0, np.pi], [2.0, 0, 0, 0.1], [60.0, 0, 0, 0]])
    found = recalls(np.array([[0.9, 0.8, 0.1], [0.2, 0.1, 0.9]]), images, views)
    assert found["recall_at_1_5m"] == 0.5 and found["recall_at_1_5m_heading"] == 0.0
    assert found["recall_at_5_5m_heading"] == 0.5 and found["recall_at_1_20m_heading"] == 0.5


def test_another_world_is_never_near():
    image, view = np.array([[0.0, 0, 0, 0, 1]]), np.array([[0.0, 0, 0, 0, 2]])
    assert recalls(np.ones((1, 1)), image, view)["recall_at_5_20m"] == 0


def test_chance_is_the_share_of_views_that_are_near():
    views = np.stack([np.arange(0, 1000, 10.0), *np.zeros((3, 100))], 1)
    assert chance(np.zeros((50, 4)), views)["recall_at_1_5m"] == pytest.approx(0.01, abs=0.01)


def test_the_baseline_tells_features_on_the_left_from_those_on_the_right():
    values = np.zeros((2, 3, 4, 20), np.float16)
    values[0, 1, :, :5], values[1, 1, :, 15:] = 1, 1
    found = column_means(values, np.ones((2, 1, 4, 20), np.float16), 5)
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-6)


def test_a_run_learns_to_match_what_it_sees_and_goes_on(shard, tmp_path):
    config = tmp_path / "place.yaml"
    text = f"train: ['{shard}']\nvalidation: {{street: '{shard}'}}\nimages: 3\nworkers: 1\nthreads: 1\n"
    config.write_text(text + "steps: 4\nvalidate_every: 2\n")
    train("place", config, tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run" / "features" / "train").iterdir()) == [
        "street.npz", "street_mirror.npz",
    ]  # fmt: skip
    assert {p.name for p in (tmp_path / "run").glob("*.safetensors")} == {"last.safetensors", "best.safetensors"}
    config.write_text(text + "steps: 6\nvalidate_every: 2\n")
    train("place", config, tmp_path / "run")
    from lhmap_loc_ros.training.checkpoint import read_metadata

    assert read_metadata(tmp_path / "run" / "last.safetensors")["step"] == "6"


def test_a_resumed_run_does_not_draw_again_what_it_began_with(shard, tmp_path, monkeypatch):
    drawn, batch = [], PlaceWorlds.batch
    monkeypatch.setattr(PlaceWorlds, "batch", lambda *given: drawn.append(batch(*given)) or drawn[-1])
    for steps in (1, 2):
        (tmp_path / "place.yaml").write_text(f"train: ['{shard}']\nimages: 3\nworkers: 1\nthreads: 1\nsteps: {steps}\n")
        train("place", tmp_path / "place.yaml", tmp_path / "run")
    first, resumed = (poses for *_, poses in drawn)
    assert not torch.equal(first, resumed)


def test_shards_of_one_name_are_refused_before_features_are_kept_by_it(shard, tmp_path):
    (tmp_path / "street.npz").write_bytes(shard.read_bytes())
    config = tmp_path / "place.yaml"
    text = f"train: ['{shard}']\nvalidation: {{one: '{shard}', other: '{tmp_path / 'street.npz'}'}}\n"
    config.write_text(text)
    with pytest.raises(InputError, match="street.npz have one name, expected different ones"):
        train("place", config, tmp_path / "run")
    assert not (tmp_path / "run" / "features").exists()


def test_unknown_settings_are_named(shard, tmp_path):
    (tmp_path / "place.yaml").write_text(f"train: ['{shard}']\nbatch: 3\n")
    with pytest.raises(ConfigError, match="batch"):
        train("place", tmp_path / "place.yaml", tmp_path / "run")
