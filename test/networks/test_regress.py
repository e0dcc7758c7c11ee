# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="networks need PyTorch")

from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lhmap_loc_ros.inference import load_model
from lhmap_loc_ros.networks import regress
from lhmap_loc_ros.networks.regress import RegressNet
from lhmap_loc_ros.training.checkpoint import load_checkpoint, save_checkpoint
from lhmap_loc_ros.training.export import export_part


@pytest.fixture(autouse=True)
def same_weights_every_time():
    torch.manual_seed(0)


def inputs(batch=2, height=64, width=128):
    depth = torch.rand(batch, 1, height, width)
    return torch.randn(batch, 3, height, width), depth * (depth > 0.7)


def test_size_is_that_of_the_published_network():
    """14.4 M parameters, 13.1 GMAC at 384x1280; tensors without values count without being computed."""
    with FakeTensorMode():
        net = RegressNet()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(*inputs(1, 384, 1280))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(14.4e6, rel=0.005)
    assert counter.get_total_flops() / 2 == pytest.approx(13.1e9, rel=0.01)


def test_untrained_network_says_that_nothing_has_to_move():
    translation, quaternion = RegressNet(scale=0.25)(*inputs())
    assert translation.shape == (2, 3) and quaternion.shape == (2, 4)
    torch.testing.assert_close(quaternion.norm(dim=1), torch.ones(2))
    assert translation.abs().max() < 0.5 and quaternion[:, 3].min() > 0.95


@pytest.mark.parametrize("width", [9, regress.WIDE])
def test_correlation_is_the_mean_product_with_every_shift(width):
    image, other = torch.randn(1, 3, 5, width), torch.randn(1, 3, 5, width)
    expected = torch.zeros(1, 25, 5, width)
    for channel in range(25):
        dv, du = channel // 5 - 2, channel % 5 - 2
        for v in range(max(0, -dv), min(5, 5 - dv)):
            for u in range(max(0, -du), min(width, width - du)):
                expected[0, channel, v, u] = (image[0, :, v, u] * other[0, :, v + dv, u + du]).mean()
    torch.testing.assert_close(regress.correlation(image, other, 2), expected)
    with torch.no_grad():
        torch.testing.assert_close(regress.correlation(image, other, 2), expected)


def test_warp_without_flow_changes_nothing_and_by_whole_cells_shifts():
    features = torch.randn(2, 3, 6, 10)
    torch.testing.assert_close(regress.warp(features, torch.zeros(2, 2, 6, 10)), features, atol=1e-5, rtol=0)
    flow = torch.tensor([3.0, -2.0]).view(1, 2, 1, 1).expand(2, 2, 6, 10)
    expected = torch.zeros_like(features)
    expected[:, :, 2:, :-3] = features[:, :, :-2, 3:]
    torch.testing.assert_close(regress.warp(features, flow), expected, atol=1e-5, rtol=0)
    half = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(2, 2, 6, 10)
    between = (features[..., :-1] + features[..., 1:]) / 2
    torch.testing.assert_close(regress.warp(features, half)[..., :-1], between, atol=1e-5, rtol=0)


def test_attention_shares_out_one_per_channel():
    net = RegressNet(scale=0.25)
    attention = net.attention(*net.map_pyramid(inputs()[1])[-3:])
    assert attention.shape == (2, 128, 4, 8)
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(2, 128))


def test_every_weight_learns():
    net = RegressNet(scale=0.25)
    # three cells wide at level 6: of a single one the outer weights of a kernel would meet nothing but padding
    translation, quaternion = net(*inputs(1, 192, 192))
    (translation.square().sum() + quaternion[:, :3].square().sum()).backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def loud(net):
    """The network with a head that says more than a fresh one does."""
    for layer in (net.head.translation, net.head.rotation):
        torch.nn.init.normal_(layer.weight, std=10.0)
    return net


def test_half_precision_is_near():
    net, batch = loud(RegressNet(scale=0.125)), inputs()
    expected = net(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(*batch)
    assert expected[0].abs().max() > 0.1
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32 and (a - b).abs().max() < 0.05 * b.abs().max()


def test_exported_network_says_what_torch_says(tmp_path):
    # the file holds half precision: with weights that fit into it both sides compute the same
    net = loud(RegressNet(scale=0.125)).half().float().eval()
    image, depth = inputs(1)
    path = tmp_path / "regress.onnx"
    export_part(net, "forward", {"image": image, "depth": depth}, ["translation", "quaternion"], path, {})
    image, depth = inputs(1)
    found = load_model(path).run({"image": image.numpy(), "depth": depth.numpy()})
    with torch.no_grad():
        expected = net(image, depth)
    assert expected[0].abs().max() > 0.1
    for name, value in zip(("translation", "quaternion"), expected, strict=True):
        np.testing.assert_allclose(found[name], value.numpy(), atol=1e-4, rtol=1e-4)


def test_checkpoint_brings_back_the_network(tmp_path):
    net = RegressNet(scale=0.125).eval()
    save_checkpoint(tmp_path / "a.safetensors", net, None, 3)
    again, step = load_checkpoint(tmp_path / "a.safetensors", RegressNet)
    assert step == 3
    with torch.no_grad():
        torch.testing.assert_close(again(*(x := inputs())), net(*x))
