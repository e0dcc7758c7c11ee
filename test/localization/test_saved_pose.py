# SPDX-License-Identifier: Apache-2.0
"""The pose that a robot starts from where it was switched off."""

import json
import time

import numpy as np
import pytest
from helpers.tiny_map import tiny_map

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import make_pose, se3_exp
from lhmap_loc_ros.localization.saved_pose import load_pose, save_pose

POSE = make_pose(np.eye(3), (1000.25, -2000.5, 7.0)) @ se3_exp(np.array([0, 0, 0, 0.1, -0.2, 1.3]))
COVARIANCE = np.diag([0.04, 0.01, 0.02, 1e-4, 2e-4, 3e-4])


def test_a_pose_comes_back_less_sure(tmp_path):
    with tiny_map(tmp_path / "a.lhmap") as lhmap:
        save_pose(tmp_path / "deep" / "pose.json", lhmap, POSE, COVARIANCE)
        saved = load_pose(tmp_path / "deep" / "pose.json", lhmap)
    assert abs(saved.saved_at - time.time()) < 60
    start = saved.start()
    np.testing.assert_allclose(start.T_map_base, POSE, atol=1e-9)
    assert (np.linalg.eigvalsh(start.covariance - COVARIANCE) > 0).all()


def test_there_is_none_at_first(tmp_path):
    with tiny_map(tmp_path / "a.lhmap") as lhmap:
        assert load_pose(tmp_path / "pose.json", lhmap) is None


def test_a_pose_in_another_map_is_refused(tmp_path):
    with tiny_map(tmp_path / "a.lhmap") as lhmap, tiny_map(tmp_path / "b.lhmap", heat=0.7) as other:
        save_pose(tmp_path / "pose.json", lhmap, POSE, COVARIANCE)
        with pytest.raises(InputError, match=f"{lhmap.identity[:12]}.*expected {other.identity[:12]}"):
            load_pose(tmp_path / "pose.json", other)


@pytest.mark.parametrize(
    "change",
    (
        lambda text: text[:40],
        lambda text: text.replace("position", "place"),
        lambda text: json.dumps(json.loads(text) | {"position": [None, 0, 0]}),
        lambda text: json.dumps(json.loads(text) | {"covariance": [-1.0] * 36}),
        lambda text: json.dumps(json.loads(text) | {"orientation": [0, 0, 0, 0]}),
    ),
    ids=("truncated", "renamed", "not a number", "no covariance", "no rotation"),
)
def test_a_damaged_file_is_refused(tmp_path, change):
    path = tmp_path / "pose.json"
    with tiny_map(tmp_path / "a.lhmap") as lhmap:
        save_pose(path, lhmap, POSE, COVARIANCE)
        path.write_text(change(path.read_text()))
        with pytest.raises(InputError):
            load_pose(path, lhmap)
