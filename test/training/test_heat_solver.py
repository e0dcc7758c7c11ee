# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from lhmap_loc_ros.localization.features import MAP_CHANNELS
from lhmap_loc_ros.networks.flow import FINE
from lhmap_loc_ros.networks.heat import HeatNet
from lhmap_loc_ros.training.heat_solver import cell_doubt, heat_solver_loss

HEIGHT, WIDTH = 48, 96


class BadOnTheDark:
    """A flow network that finds bright points and misses dark ones, all of them the same way."""

    def fine_matches(self, image, view):
        dark = torch.nn.functional.avg_pool2d(view[:, 2:3], FINE) < 0.5
        flow = torch.where(dark, 6.0, 0.0).expand(-1, 2, -1, -1)
        return flow, torch.zeros_like(flow)


@pytest.fixture
def batch():
    """image, view, truth4, rays4 and focal; bright and dark blocks of 16 pixels."""
    rng = np.random.default_rng(0)
    h, w = HEIGHT // FINE, WIDTH // FINE
    view = torch.zeros(2, MAP_CHANNELS, HEIGHT, WIDTH)
    view[:, 0], view[:, 1] = 0.3, 1.0
    blocks = torch.tensor(rng.integers(0, 2, (2, HEIGHT // 16, WIDTH // 16)), dtype=torch.float32)
    view[:, 2] = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    focal = torch.full((2, 2), 60.0)
    rays = torch.zeros(2, 3, h, w)
    rays[:, 0] = (torch.arange(w) * FINE - WIDTH / 2) / 60
    rays[:, 1] = (torch.arange(h).view(-1, 1) * FINE - HEIGHT / 2) / 60
    rays[:, 2] = torch.tensor(rng.uniform(0.05, 0.3, (2, h, w)))
    return torch.zeros(2, 3, HEIGHT, WIDTH), view, torch.zeros(2, 2, h, w), rays, focal


def test_heat_learns_which_points_the_pose_should_rest_on(batch):
    torch.manual_seed(0)
    net = HeatNet((8, 8, 16, 16))
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(40):
        loss, figures = heat_solver_loss(net, BadOnTheDark(), *batch, share=0.3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    heat = (-2 * cell_doubt(net, batch[1])).exp().detach()
    bright = torch.nn.functional.avg_pool2d(batch[1][:, 2:3], FINE) > 0.5
    assert figures["pose_px"] < 0.25 * figures["pose_px_without_heat"]
    assert heat[bright].mean() > 5 * heat[~bright].mean()
    assert figures["mean_heat"] == pytest.approx(0.3, rel=0.3)


def test_gradient_reaches_the_heat_through_the_pose_alone(batch):
    net = HeatNet((8, 8, 16, 16))
    loss, _ = heat_solver_loss(net, BadOnTheDark(), *batch, budget=0.0)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())
    assert net.out.weight.grad.any() and net.to2[0].weight.grad.any()


def test_cells_without_a_point_or_beyond_the_window_do_not_count(batch):
    image, view, truth, rays, focal = batch
    net = HeatNet((8, 8, 16, 16)).eval()
    truth, rays = truth.clone(), rays.clone()
    truth[:, :, :, :4], truth[:, :, :, 4:8] = torch.nan, 1000.0
    rays[:, :, :, :4] = 0.0
    loss, figures = heat_solver_loss(net, BadOnTheDark(), image, view, truth, rays, focal)
    assert torch.isfinite(loss) and figures["pose_px"] < 20
