# SPDX-License-Identifier: Apache-2.0
"""The weights in models/, as a localizer and a map builder load them."""

import numpy as np
import pytest
from helpers.shipped_models import SHIPPED

from lhmap_loc_ros.bench.latency_worker import REFERENCE
from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import find_model, load_model, models_dir
from lhmap_loc_ros.localization.covariance import CovarianceModel
from lhmap_loc_ros.localization.features import GRIDS, MAP_CHANNELS
from lhmap_loc_ros.localization.network_set import NetworkSet
from lhmap_loc_ros.localization.refine import RefinerConfig


@pytest.fixture(scope="module")
def flow():
    return NetworkSet(RefinerConfig(threads=1))


@pytest.mark.parametrize("grid", GRIDS)
def test_flow_networks_fit_each_other_on_every_grid(flow, grid):
    models, (width, height) = flow.for_grid(grid), grid
    assert models.grid == grid and grid in flow.grids
    rng = np.random.default_rng(0)
    image = rng.random((3, height, width), np.float32)
    view = np.zeros((MAP_CHANNELS, height, width), np.float32)
    view[:, ::2, ::2] = rng.random(view[:, ::2, ::2].shape, np.float32)
    (image8, image4), encoded = models.image(image), models.map(view)
    for cell, (flow, log_scale) in ((8, models.coarse(encoded, image8)), (4, models.fine(encoded, image4))):
        assert flow.shape == log_scale.shape == (2, height // cell, width // cell)
        assert np.isfinite(flow).all() and np.isfinite(log_scale).all()


def test_flow_networks_know_their_covariance(flow):
    for model in (flow.covariance.rough, flow.covariance.near):
        assert model != CovarianceModel() and np.isfinite(model.factors(0.5, 0.05)).all()


def test_heat_is_zero_where_there_is_no_point_and_differs_elsewhere():
    model = load_model("heat", threads=1)
    view = np.zeros(model.inputs["map"], np.float32)
    view[:, 1, 40:80, 100:200] = 1
    view[:, 0, 40:80, 100:200] = np.random.default_rng(0).random((40, 100))
    heat = model.run({"map": view})["heat"][0, 0]
    assert (heat[view[0, 1] == 0] == 0).all()
    inside = heat[view[0, 1] > 0]
    assert (inside > 0).all() and (inside <= 1).all() and inside.std() > 0


def test_same_input_gives_the_same_output():
    model = load_model("flow_image", threads=2)
    image = {"image": np.random.default_rng(1).random(model.inputs["image"], np.float32)}
    first, second = model.run(image), model.run(image)
    for name in model.outputs:
        np.testing.assert_array_equal(first[name], second[name])


def test_weights_are_small_enough_to_ship():
    assert sum(find_model(name).stat().st_size for name in SHIPPED) < 12e6


def test_no_other_networks_are_shipped():
    assert sorted(path.stem for path in models_dir().glob("*.onnx")) == sorted(SHIPPED)


def test_every_model_has_a_card():
    for path in models_dir().glob("*.onnx"):
        assert any(path.name in card.read_text() for card in models_dir().glob("*.md")), path.name


def test_unknown_model_names_where_it_was_looked_for():
    with pytest.raises(ModelError, match="nothing_like_it.*models"):
        find_model("nothing_like_it")


def test_folder_without_weights_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LHMAP_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match=str(tmp_path)):
        find_model("flow_image")


def test_files_name_no_folder_of_the_machine_that_exported_them():
    for path in [*models_dir().glob("*.onnx"), REFERENCE]:
        assert b'File "' not in path.read_bytes(), path.name
