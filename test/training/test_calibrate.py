# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.localization.refine import Refiner, RefinerConfig
from lhmap_loc_ros.networks.flow import FlowNet
from lhmap_loc_ros.training.calibrate import Trials, fit_covariances, trials
from lhmap_loc_ros.training.shards import Shard
from lhmap_loc_ros.training.validate import TorchModelSet, shard_queries


def errors_that_grow(n, seed):
    """Errors five times the solver's standard deviation, more where few matches agree, one in fifty a failure.

    Those of near starts are half as large. Of one pose in five other starts tell that it may be elsewhere.
    """
    rng = np.random.default_rng(seed)
    sigma, inliers, step = 10 ** rng.uniform(-3, -1, (n, 6)), rng.uniform(0.1, 0.9, n), 10 ** rng.uniform(-3, 0, n)
    scale = 5 * (inliers + 0.05) ** -1.0 * (step + 0.02) ** 0.4
    error = sigma * scale[:, None] * rng.normal(size=(n, 6))
    error[rng.random(n) < 0.02] *= 50
    rough = rng.random(n) < 0.5
    error[~rough] *= 0.5
    spread = np.where(rng.random((n, 1)) < 0.2, rng.uniform(0.5, 5, (n, 6)), 0.0)
    error += np.sqrt(spread) * rng.normal(size=(n, 6))
    return Trials(error, sigma, spread, inliers, step, rough)


def in_sigmas(models, data):
    """Errors (N, 6) over their calibrated standard deviations."""
    factors = [
        (models.rough if rough else models.near).factors(inliers, step)
        for inliers, step, rough in zip(data.inlier_ratio, data.step_m, data.rough, strict=True)
    ]
    return np.abs(data.error) / np.sqrt((data.sigma * np.array(factors)) ** 2 + data.spread)


def test_fitted_covariance_holds_on_other_trials_of_either_kind():
    models, other = fit_covariances(errors_that_grow(3000, 0)), errors_that_grow(6000, 1)
    for kind, model in ((other.rough, models.rough), (~other.rough, models.near)):
        ratio = in_sigmas(models, other.select(kind))
        np.testing.assert_allclose((ratio < 1).mean(0), 0.68, atol=0.05)
        np.testing.assert_allclose((ratio < 2).mean(0), 0.95, atol=0.05)
        assert np.allclose(model.inlier_power, -1, atol=0.3) and np.allclose(model.step_power, 0.4, atol=0.15)
    assert np.allclose(models.rough.factors(0.5, 0.1) / models.near.factors(0.5, 0.1), 2, rtol=0.2)


def test_long_tails_are_shared_between_one_two_and_three_sigmas():
    data = errors_that_grow(8000, 0)
    # one error in eight is three times as large as it seems
    tail = np.random.default_rng(7).random(data.error.shape) < 0.12
    data = replace(data, error=np.where(tail, 3 * data.error, data.error))
    ratio = in_sigmas(fit_covariances(data), data)
    for sigmas, share in ((1, 0.683), (2, 0.954), (3, 0.997)):
        np.testing.assert_allclose((ratio < sigmas).mean(0), share, atol=0.05)


@pytest.mark.parametrize(("rough", "missing"), [(True, "near"), (False, "rough")])
def test_calibration_without_a_kind_of_start_is_refused(rough, missing):
    data = errors_that_grow(100, 0)
    with pytest.raises(InputError, match=missing):
        fit_covariances(data.select(data.rough == rough))


def test_trials_come_from_rough_and_near_starts(shard_path):
    refiner = Refiner(RefinerConfig(), TorchModelSet(FlowNet(), [(160, 48)]))
    found = Trials.joined([trials(refiner, shard_queries([Shard(shard_path)], frames=2))])
    # two frames, three near starts each at least: from rough ones an untrained network may walk out of the map
    n = len(found.error)
    assert 6 <= n <= 12 and found.error.shape == found.sigma.shape == (n, 6) and (found.sigma > 0).all()
    assert np.isfinite(found.error).all() and found.step_m.shape == found.inlier_ratio.shape == (n,)
    assert (~found.rough).sum() == 6 and found.rough.sum() == n - 6
