# SPDX-License-Identifier: Apache-2.0
"""The flow network's forms agree with each other."""

import copy

import torch

from lhmap_loc_ros.localization.features import MAP_CHANNELS
from lhmap_loc_ros.networks.flow import FlowNet


def test_heads_with_channels_of_zeros_say_the_same():
    torch.manual_seed(0)
    net = FlowNet().eval()
    padded = copy.deepcopy(net)
    padded.pad_heads()
    assert padded.fine_head[0][0].in_channels % 16 == padded.coarse_head[0][0].in_channels % 16 == 0
    image, view = torch.rand(1, 3, 48, 160), torch.rand(1, MAP_CHANNELS, 48, 160)
    with torch.no_grad():
        features8, features4 = net.image(image)
        encoded = net.map(view)
        of_coarse, of_fine = (encoded.map8, encoded.context8, features8), (encoded.map4, encoded.context4, features4)
        for method, inputs in (("coarse", of_coarse), ("fine", of_fine)):
            results = (getattr(which, method)(*inputs) for which in (net, padded))
            for one, other in zip(*results, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_expected_displacement_is_exact_under_half_precision():
    """Columns of cells reach into the hundreds, where bfloat16 knows every second number only."""
    net = FlowNet().eval()
    similarity = torch.full((1, 4 * 60, 4 * 60), -50.0)
    # every cell matches the one three to the left
    cells = torch.arange(240)
    similarity[0, cells, (cells // 60) * 60 + (cells % 60 - 3).clamp(min=0)] = 50.0
    for parameter in net.coarse_head[-1].parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        flow, _ = net.coarse_of(torch.zeros(1, 97, 4, 60), similarity)
    torch.testing.assert_close(flow[0, 0, :, 10:-10], torch.full((4, 40), -24.0))
