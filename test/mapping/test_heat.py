# SPDX-License-Identifier: Apache-2.0
"""Heat from virtual views, with small networks whose answer is known."""

import json

import numpy as np
import pytest
from helpers import box_world as world

from lhmap_loc_ros.errors import ModelError
from lhmap_loc_ros.inference import load_model
from lhmap_loc_ros.inference.model import METADATA_KEY
from lhmap_loc_ros.localization.features import MAP_CHANNELS
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.mapping.heat import (
    FULL_SCALE,
    ViewSampling,
    best_of_views,
    load_heat_model,
    mean_of_best,
    virtual_views_along,
)

onnx = pytest.importorskip("onnx")
INTENSITY = 2


def write_network(path, channel=INTENSITY, stride=4, channels=MAP_CHANNELS, output="heat", metadata=None):
    """A network whose heat is one channel of its input, averaged over cells."""
    h = onnx.helper
    shape = [1, channels, 96, 320]
    nodes = [
        h.make_node("Slice", ["map", "first", "last", "axis"], ["one"]),
        h.make_node("AveragePool", ["one"], [output], kernel_shape=[stride, stride], strides=[stride, stride]),
    ]
    constants = [
        h.make_tensor(name, onnx.TensorProto.INT64, [1], [value])
        for name, value in (("first", channel), ("last", channel + 1), ("axis", 1))
    ]
    graph = h.make_graph(
        nodes,
        "heat",
        [h.make_tensor_value_info("map", onnx.TensorProto.FLOAT, shape)],
        [h.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 1, 96 // stride, 320 // stride])],
        constants,
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    model.ir_version = 8
    if metadata is not None:
        h.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
    onnx.save(model, str(path))
    return path


def wall(x: float, y0: float, intensity: float) -> tuple[np.ndarray, np.ndarray]:
    """A wall of 5x4 m across the x axis."""
    grid = np.stack(np.meshgrid([x], np.arange(y0, y0 + 5, 0.1), np.arange(0, 4, 0.1)), -1).reshape(-1, 3)
    return grid, np.full(len(grid), intensity)


def test_visible_points_get_the_networks_value(tmp_path):
    parts = [wall(15, -5.2, 0.2), wall(15, 0.2, 0.8), wall(25, -5.2, 0.9)]
    ground = np.stack(np.meshgrid(np.arange(-5, 30, 0.3), np.arange(-8, 8, 0.3), [0.0]), -1).reshape(-1, 3)
    parts.append((ground, np.zeros(len(ground))))
    points = np.concatenate([p for p, _ in parts])
    owner = np.repeat(np.arange(4), [len(p) for p, _ in parts])
    intensity = np.concatenate([i for _, i in parts]).astype(np.float32)
    path = np.tile(np.eye(4), (6, 1, 1))
    path[:, 0, 3] = np.arange(6)
    sampling = ViewSampling(yaw_deg=(0.0,))
    model = load_heat_model(str(write_network(tmp_path / "h.onnx")))
    views = virtual_views_along(path, sampling)
    best = best_of_views(points.astype(np.float32), intensity, views, model, sampling)
    assert len(views) == 3 and best.shape == (len(points), 3) and (np.diff(best, axis=1) <= 0).all()
    heat = mean_of_best(best, np.quantile(best[best[:, 0] > 0].mean(1), 0.995))
    dim, bright = heat[owner == 0], heat[owner == 1]
    assert heat.max() <= 1 and bright.max() > 0.8
    assert 3 < np.median(bright[bright > 0]) / np.median(dim[dim > 0]) < 5
    # the second wall hides behind the first but for its rim
    assert (heat[owner == 2] > 0).mean() < 0.1 < (bright > 0).mean()


def test_views_follow_the_path():
    path = np.tile(np.eye(4), (11, 1, 1))
    path[:, 0, 3] = np.arange(11)
    sampling = ViewSampling(spacing_m=2.0, beside_m=(0.0, 3.0), yaw_deg=(0.0, 90.0), height_m=1.5)
    views = [view.camera_pose(lambda place: -0.2, sampling.height_m) for view in virtual_views_along(path, sampling)]
    assert len(views) == 6
    np.testing.assert_allclose([v[:3, 3] for v in views[:4]], [[0, 0, 1.3], [2, 0, 1.3], [4, 3, 1.3], [6, 3, 1.3]])
    np.testing.assert_allclose(views[0][:3, 2], [1, 0, 0], atol=1e-12)  # looks ahead
    np.testing.assert_allclose(views[1][:3, 2], [0, 1, 0], atol=1e-12)  # looks left
    np.testing.assert_allclose(views[1][:3, 1], [0, 0, -1], atol=1e-12)  # upright


def test_a_view_at_the_very_end_of_the_path():
    path = np.tile(np.eye(4), (11, 1, 1))
    path[:, 0, 3] = np.arange(11) * (1 - 5e-8)  # ends half a micrometre before the sixth view
    views = virtual_views_along(path, ViewSampling(spacing_m=2.0))
    assert [round(view.T_map_base[0, 3]) for view in views] == [0, 2, 4, 6, 8, 10]


def test_views_lie_between_poses_that_are_far_apart_and_begin_where_the_vehicle_drove_on():
    path = np.tile(np.eye(4), (4, 1, 1))
    path[:, 0, 3] = [0, 0, 15, 30]
    path[0, :2, :2] = [[0, -1], [1, 0]]  # it stood, and turned
    views = [view.T_map_base for view in virtual_views_along(path, ViewSampling(spacing_m=2.0))]
    np.testing.assert_allclose([view[0, 3] for view in views], np.arange(0, 31, 2), atol=1e-5)
    np.testing.assert_allclose([view[:3, :3] for view in views], np.tile(np.eye(3), (16, 1, 1)), atol=1e-9)


def test_built_with_heat(tmp_path):
    network = write_network(tmp_path / "h.onnx", metadata={"full_scale": 0.7})
    bag = world.write_bag(tmp_path / "b", 6, with_car=False)
    lhmap = build_map(bag, tmp_path / "m", BuildConfig(budget_mb_per_km=40.0, heat=str(network)))
    assert lhmap.metadata.heat_model.sha256 == load_model(network).sha256
    everything = lhmap.all_points()
    assert everything.heat.max() == 1 and everything.heat.min() < 0.5
    hot = everything.heat > 0.5
    assert everything.intensity[hot].mean() > everything.intensity[~hot].mean() + 0.1


def test_heat_is_full_where_the_network_says(tmp_path):
    bag = world.write_bag(tmp_path / "b", 6, with_car=False)
    maps = {}
    for name, metadata in (("said", {"full_scale": 0.7}), ("default", {"full_scale": FULL_SCALE}), ("silent", None)):
        network = write_network(tmp_path / f"{name}.onnx", metadata=metadata)
        maps[name] = build_map(bag, tmp_path / name, BuildConfig(budget_mb_per_km=40.0, heat=str(network)))
    said, default, silent = (maps[name].all_points().heat for name in ("said", "default", "silent"))
    np.testing.assert_array_equal(default, silent)
    assert said.mean() < silent.mean()
    network = write_network(tmp_path / "none.onnx", metadata={"full_scale": "much"})
    with pytest.raises(ModelError, match="full_scale.*'much'.*above zero"):
        build_map(bag, tmp_path / "m", BuildConfig(heat=str(network)))


def test_networks_of_another_shape_are_refused(tmp_path):
    for name, changes in (("c", {"channels": 7}), ("o", {"output": "flow"})):
        path = write_network(tmp_path / f"{name}.onnx", **changes)
        with pytest.raises(ModelError, match=r"expected a heat network: map \(1, 4, H, W\) to heat"):
            load_heat_model(str(path))
