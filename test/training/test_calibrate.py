# SPDX-License-Identifier: Apache-2.0
import numpy as np

from lhmap_loc_ros.localization.refine import Refiner, RefinerConfig
from lhmap_loc_ros.networks.flow import FlowNet
from lhmap_loc_ros.training.calibrate import Trials, fit_covariance, trials
from lhmap_loc_ros.training.shards import Shard
from lhmap_loc_ros.training.validate import TorchModelSet, shard_queries


def errors_that_grow(n, seed):
    """Errors five times the solver's standard deviation, more where few matches agree, one in fifty a failure."""
    rng = np.random.default_rng(seed)
    sigma, inliers, step = 10 ** rng.uniform(-3, -1, (n, 6)), rng.uniform(0.1, 0.9, n), 10 ** rng.uniform(-3, 0, n)
    scale = 5 * (inliers + 0.05) ** -1.0 * (step + 0.02) ** 0.4
    error = sigma * scale[:, None] * rng.normal(size=(n, 6))
    error[rng.random(n) < 0.02] *= 50
    return Trials(error, sigma, inliers, step)


def test_fitted_covariance_holds_on_other_trials():
    model, other = fit_covariance(errors_that_grow(1500, 0)), errors_that_grow(3000, 1)
    factors = np.array([model.factors(i, s) for i, s in zip(other.inlier_ratio, other.step_m, strict=True)])
    ratio = np.abs(other.error) / (other.sigma * factors)
    np.testing.assert_allclose((ratio < 1).mean(0), 0.68, atol=0.05)
    np.testing.assert_allclose((ratio < 2).mean(0), 0.95, atol=0.05)
    assert np.allclose(model.inlier_power, -1, atol=0.3) and np.allclose(model.step_power, 0.4, atol=0.15)


def test_long_tails_are_shared_between_one_two_and_three_sigmas():
    data = errors_that_grow(4000, 0)
    # one error in eight is three times as large as it seems
    tail = np.random.default_rng(7).random(data.error.shape) < 0.12
    error = np.where(tail, 3 * data.error, data.error)
    model = fit_covariance(Trials(error, data.sigma, data.inlier_ratio, data.step_m))
    factors = np.array([model.factors(i, s) for i, s in zip(data.inlier_ratio, data.step_m, strict=True)])
    ratio = np.abs(error) / (data.sigma * factors)
    for sigmas, share in ((1, 0.683), (2, 0.954), (3, 0.997)):
        np.testing.assert_allclose((ratio < sigmas).mean(0), share, atol=0.05)


def test_trials_come_from_rough_and_near_starts(shard_path):
    refiner = Refiner(RefinerConfig(), TorchModelSet(FlowNet(), 160, 48))
    found = Trials.joined([trials(refiner, shard_queries([Shard(shard_path)], frames=2))])
    # two frames, three near starts each at least: from rough ones an untrained network may walk out of the map
    n = len(found.error)
    assert 6 <= n <= 12 and found.error.shape == found.sigma.shape == (n, 6) and (found.sigma > 0).all()
    assert np.isfinite(found.error).all() and found.step_m.shape == found.inlier_ratio.shape == (n,)
