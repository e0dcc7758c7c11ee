# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F

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


def test_window_cost_is_the_product_with_every_shift_and_so_is_its_gradient():
    torch.manual_seed(0)
    a, b = (torch.randn(2, 5, 6, 9, requires_grad=True) for _ in range(2))
    padded = F.pad(b, (2,) * 4)
    expected = torch.stack(
        [(a * padded[:, :, dy : dy + 6, dx : dx + 9]).sum(1) for dy in range(5) for dx in range(5)], 1
    )
    weight = torch.randn_like(expected)
    gradients = torch.autograd.grad((expected * weight).sum(), (a, b))
    found = flow.window_cost(a, b, 2)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad((found * weight).sum(), (a, b)), gradients)
    with torch.no_grad():
        torch.testing.assert_close(flow.window_cost(a, b, 2), expected)
