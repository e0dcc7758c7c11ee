# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import numpy as np
import pytest

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.localization.covariance import CovarianceModel, StartCovariances

MODEL = {"log_scale": [1] * 6, "inlier_power": [-0.5] * 6, "step_power": [0.3] * 6}


def test_without_calibration_nothing_is_scaled():
    models = StartCovariances.of({})
    for model in (models.rough, models.near):
        np.testing.assert_array_equal(model.factors(0.1, 3.0), np.ones(6))


def test_calibration_is_read_as_it_is_written():
    models = StartCovariances(CovarianceModel((2.0,) * 6, (-1.0,) * 6), CovarianceModel((1.0,) * 6))
    assert StartCovariances.of(json.loads(json.dumps({"covariance": asdict(models)}))) == models


def test_fewer_inliers_and_longer_steps_are_less_sure():
    model = CovarianceModel((1.0,) * 6, (-0.5,) * 6, (0.3,) * 6)
    sure, few, moving = model.factors(0.8, 0.02), model.factors(0.2, 0.02), model.factors(0.8, 0.5)
    assert (few > 1.5 * sure).all() and (moving > 1.5 * sure).all()
    assert np.isfinite(model.factors(0.0, np.inf)).all()


@pytest.mark.parametrize(
    "values",
    [
        MODEL,
        {"rough": MODEL},
        {"rough": MODEL, "near": {"log_scale": [1] * 6}},
        {"rough": MODEL, "near": MODEL | {"log_scale": [1] * 5}},
        {"rough": MODEL, "near": MODEL | {"log_scale": [np.nan] * 6}},
        {"rough": MODEL, "near": MODEL | {"log_scale": ["a"] * 6}},
        7,
    ],
)
def test_damaged_calibration_is_refused(values):
    with pytest.raises(ModelError, match="covariance.*rough and near"):
        StartCovariances.of({"covariance": values})
