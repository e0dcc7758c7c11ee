# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lhmap_loc_ros.geometry import Camera, inverse, project
from lhmap_loc_ros.localization.solver import solve_pose
from lhmap_loc_ros.networks import flow
from lhmap_loc_ros.training import losses


def test_matching_loss_is_zero_only_for_the_right_cell():
    truth = torch.zeros(1, 2, 3, 5)
    truth[:, 0] = flow.COARSE  # everything moved one cell to the right
    right = torch.full((1, 15, 15), -30.0)
    for cell in range(15):
        if cell % 5 < 4:
            right[0, cell, cell + 1] = 30.0
    truth[:, :, :, 4] = torch.nan  # leaves the picture
    loss, matched = losses.coarse_matching(right, truth)
    assert loss < 1e-5 and matched == 1
    wrong, matched = losses.coarse_matching(right.flip(2), truth)
    assert wrong > 10 and matched < 0.5


def test_target_between_cells_is_shared_between_them():
    truth = torch.full((1, 2, 3, 5), torch.nan)
    truth[0, :, 1, 1] = torch.tensor([0.5 * flow.COARSE, 0.0])
    scores = torch.full((1, 15, 15), -30.0)
    scores[0, 6, 6] = scores[0, 6, 7] = 0.0
    loss, _ = losses.coarse_matching(scores, truth)
    assert loss == pytest.approx(0.6931, abs=1e-3)


def test_fine_targets_outside_the_window_do_not_count():
    truth = torch.full((1, 2, 2, 2), 100.0)
    loss, matched = losses.fine_matching(torch.randn(1, 81, 2, 2), truth)
    assert loss == 0 and matched == 0


def test_only_points_the_image_shows_are_matched():
    truth = torch.zeros(1, 2, 4, 5)
    truth[0, 1, 3] = flow.FINE  # the last row moves out of the image
    shown = torch.ones(1, 4, 5, dtype=torch.bool)
    shown[0, 0, 0] = False
    known = torch.isfinite(losses._matchable(truth, shown, flow.FINE)[0, 0])
    assert not known[3].any() and not known[0, 0] and known.sum() == 14


def test_likelihood_prefers_the_true_scale():
    torch.manual_seed(0)
    truth = torch.distributions.Laplace(0.0, 2.0).sample((4, 2, 20, 20))
    flow_ = torch.zeros_like(truth)
    values = {s: float(losses.laplace_nll(flow_, torch.full_like(truth, s).log(), truth)) for s in (1.0, 2.0, 4.0)}
    assert values[2.0] == min(values.values())


def test_unknown_cells_give_no_gradient():
    truth = torch.full((1, 2, 3, 3), torch.nan)
    truth[0, :, 0, 0] = 1.0
    prediction = torch.zeros(1, 2, 3, 3, requires_grad=True)
    losses.laplace_nll(prediction, torch.zeros(1, 2, 3, 3), truth).backward()
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.count_nonzero() == 2


def test_cells_the_image_does_not_show_teach_only_doubt():
    truth = torch.full((1, 2, 3, 3), 5.0)
    flow = torch.zeros(1, 2, 3, 3, requires_grad=True)
    log_scale = torch.zeros(1, 2, 3, 3, requires_grad=True)
    shown = torch.zeros(1, 3, 3, dtype=torch.bool)
    shown[0, 0, 0] = True
    losses.laplace_nll(flow, log_scale, truth, shown).backward()
    assert (flow.grad[0, :, 0, 0] != 0).all() and (flow.grad != 0).sum() == 2
    # errors of 5 pixels at a scale of 1: every scale must grow
    assert (log_scale.grad < 0).all()


@pytest.mark.parametrize("width", [9, 47, 114])
def test_window_cost_is_the_product_with_every_shift_and_so_is_its_gradient(width):
    torch.manual_seed(0)
    a, b = (torch.randn(2, 5, 6, width, requires_grad=True) for _ in range(2))
    padded = F.pad(b, (2,) * 4)
    expected = torch.stack(
        [(a * padded[:, :, dy : dy + 6, dx : dx + width]).sum(1) for dy in range(5) for dx in range(5)], 1
    )
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * weight).sum(), (a, b))
    found = flow.window_cost(a, b, 2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), (a, b)), gradients)
    with torch.no_grad():
        torch.testing.assert_close(flow.window_cost(a, b, 2), expected)


def pose_error_case(displace):
    """A street of 200 points, the displacement `displace(points, pixels)` in pixels, and both routes to its pose."""
    rng = np.random.default_rng(2)
    camera = Camera(320, 96, 180.0, 180.0, 159.5, 44.0)
    points = np.column_stack([rng.uniform(-6, 6, 200), rng.uniform(-1.5, 1.5, 200), rng.uniform(5, 30, 200)])
    uv, depth = project(points.astype(np.float32), np.eye(4), camera)
    error = displace(points, uv)
    scale = rng.uniform(0.8, 1.2, (200, 2))

    def as_cells(x):
        return torch.tensor(x, dtype=torch.float32).T.reshape(1, -1, 10, 20)

    rays = np.column_stack([points[:, :2] / points[:, 2:], 1 / points[:, 2]])
    found = losses.pose_error_px(
        as_cells(error), as_cells(np.log(scale)), torch.zeros(1, 2, 10, 20), as_cells(rays), torch.full((1, 2), 180.0)
    )
    solved = solve_pose(points, uv + error, scale, np.ones(200), np.eye(4), camera, (2.0, np.radians(10)))
    moved, _ = project(points.astype(np.float32), inverse(solved.T_map_camera), camera)
    return float(found), float(np.sqrt(np.square(moved - uv).sum(1).mean()))


def test_pose_error_is_what_the_solver_would_make_of_the_displacements():
    rng = np.random.default_rng(1)
    for displace in (
        lambda points, uv: np.full(uv.shape, 0.7),
        lambda points, uv: (uv - (159.5, 44.0)) / points[:, 2:] * 0.1,
        lambda points, uv: rng.normal(0, 0.4, uv.shape),
    ):
        found, solved = pose_error_case(displace)
        assert found == pytest.approx(solved, rel=0.1)


def test_errors_in_common_cost_more_than_errors_that_cancel():
    rng = np.random.default_rng(1)
    common, _ = pose_error_case(lambda points, uv: np.ones(uv.shape))
    scattered, _ = pose_error_case(lambda points, uv: np.sign(rng.normal(size=uv.shape)))
    assert common > 3 * scattered
