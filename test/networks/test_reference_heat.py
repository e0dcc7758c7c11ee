# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")

from lhmap_loc_ros.geometry import Camera
from lhmap_loc_ros.inference import load_model
from lhmap_loc_ros.localization.features import render_map
from lhmap_loc_ros.localization.regressor import depth_input
from lhmap_loc_ros.networks.reference_heat import ReferenceHeatNet, depth_of_view, hottest, total_heat
from lhmap_loc_ros.training.export import export_part


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def sparse_depth(batch=2, height=64, width=128):
    depth = torch.rand(batch, 1, height, width)
    return depth * (depth > 0.7)


def test_heat_lies_where_points_are_and_sums_to_its_unit():
    net, depth = ReferenceHeatNet(scale=0.125), sparse_depth()
    channels = net.heat_channels(depth)
    assert channels.shape == (2, 8, 64, 128)
    torch.testing.assert_close(channels.sum((2, 3)), torch.ones(2, 8))
    torch.testing.assert_close(total_heat(channels, torch.ones_like(depth)).mean((1, 2, 3)), torch.ones(2))
    heat = net(depth)
    assert heat.shape == (2, 1, 64, 128) and ((heat > 0) == (depth > 0)).all()


def test_heat_has_64_channels_and_the_rough_pose_a_unit_quaternion():
    net = ReferenceHeatNet()
    depth = sparse_depth(1, 64, 64)
    with torch.no_grad():
        channels = net.heat_channels(depth)
        translation, quaternion = net.rough(torch.randn(1, 3, 64, 64), depth, channels)
    assert channels.shape == (1, 64, 64, 64) and translation.shape == (1, 3)
    assert quaternion.norm() == pytest.approx(1, abs=1e-5)


def test_depth_comes_back_from_the_map_view():
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.uniform(-8, 8, 2000), rng.uniform(-3, 3, 2000), rng.uniform(2, 70, 2000)])
    camera = Camera(128, 64, 60.0, 60.0, 63.5, 31.5)
    view = render_map(points.astype(np.float32), np.ones(2000, np.float32), np.eye(4), camera)
    found = depth_of_view(torch.from_numpy(view.channels[None]))
    np.testing.assert_allclose(found[0].numpy(), depth_input(view), atol=1e-4)


def test_the_hottest_points_are_kept_and_no_more_than_there_are():
    heat = torch.zeros(2, 1, 4, 4)
    heat[0, 0, 0] = torch.tensor([4.0, 1.0, 3.0, 2.0])
    heat[1, 0, 2, 2] = 1.0
    kept = hottest(heat, 2)
    assert kept[0].nonzero().tolist() == [[0, 0, 0], [0, 0, 2]] and kept[1].nonzero().tolist() == [[0, 2, 2]]
    assert hottest(heat, 100).sum() == 5


def test_heat_is_exported_alone(tmp_path):
    net = ReferenceHeatNet(scale=0.125).half().float().eval()
    path = tmp_path / "heat.onnx"
    export_part(net, "forward", {"depth": sparse_depth(1)}, ["heat"], path, {})
    depth = sparse_depth(1)
    found = load_model(path).run({"depth": depth.numpy()})["heat"]
    with torch.no_grad():
        np.testing.assert_allclose(found, net(depth).numpy(), atol=1e-4)
