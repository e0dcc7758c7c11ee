# SPDX-License-Identifier: Apache-2.0
"""The reference method's runtime around stages that know the answer."""

import numpy as np
import pytest
from helpers.wall_world import CAMERA, IMAGE, TRUTH, wall

from lhmap_loc_ros.errors import InputError, ModelError
from lhmap_loc_ros.geometry import inverse, perturb, pose_error, to_quaternion
from lhmap_loc_ros.localization.regressor import Regressor, RegressorConfig

START = perturb(TRUTH, (1.5, 0.4, -1.8), (4, -8, 3))


@pytest.fixture
def crop():
    return wall(5000)


class Halfway:
    """Knows where it is: goes half of what is left, once from the start and once from there."""

    width, height = 300, 90

    def __init__(self):
        self.pose, self.seen = START.copy(), []

    def __call__(self, image, depth):
        self.seen.append((image.shape, depth.shape, float(depth.max()), float((depth > 0).mean())))
        delta = inverse(self.pose) @ TRUTH
        delta[:3, 3] /= 2
        self.pose = self.pose @ delta
        return to_quaternion(delta)


def test_every_stage_corrects_the_pose_of_the_one_before(crop):
    stage = Halfway()
    poses = Regressor(RegressorConfig(), [stage, stage]).localize(IMAGE, CAMERA, crop, START)
    errors = [pose_error(pose, TRUTH)[0] for pose in (START, *poses)]
    assert errors[1] == pytest.approx(errors[0] / 2) and errors[2] == pytest.approx(errors[0] / 4)
    assert pose_error(poses[0], TRUTH)[1] == pytest.approx(0, abs=1e-4)
    for image, depth, largest, filled in stage.seen:
        assert image == (3, 128, 320) and depth == (1, 128, 320)
        assert 0.05 < largest < 0.8 and filled > 0.1


def test_wrong_image_and_answers_that_are_no_numbers_are_refused(crop):
    class Broken(Halfway):
        def __call__(self, image, depth):
            return np.full(3, np.nan), np.array([0, 0, 0, 1.0])

    regressor = Regressor(RegressorConfig(), [Broken()])
    with pytest.raises(ModelError, match="not finite"):
        regressor.localize(IMAGE, CAMERA, crop, START)
    with pytest.raises(InputError):
        regressor.localize(IMAGE[:100], CAMERA, crop, START)


def test_missing_networks_are_named():
    with pytest.raises(ModelError, match="nowhere_1"):
        Regressor(RegressorConfig(model="nowhere"))
