# SPDX-License-Identifier: Apache-2.0
"""The place network: what its heads keep and ignore, and its loss."""

import pytest

torch = pytest.importorskip("torch")

from lhmap_loc_ros.networks.place import FEATURES, PlaceNet, contrastive_loss, pool_cells


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return PlaceNet().eval()


def cells(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(2, FEATURES, 16, 40, generator=generator), dim=1)


@torch.no_grad()
def test_descriptors_have_unit_length_and_tell_left_from_right(net):
    seen = torch.ones(2, 1, 16, 40)
    for side in (net.image, net.map):
        found = side(cells(), seen)
        assert found.shape == (2, 256)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(2))
        assert not torch.allclose(found, side(cells().flip(3), seen), atol=1e-3)


@torch.no_grad()
def test_cells_that_are_not_seen_change_nothing(net):
    seen = torch.ones(2, 1, 16, 40)
    seen[..., :12] = 0
    other = cells()
    other[..., :12] = cells(1)[..., :12]
    torch.testing.assert_close(net.image(cells(), seen), net.image(other, seen))


@torch.no_grad()
def test_a_view_of_nothing_has_a_descriptor(net):
    assert net.map(cells(), torch.zeros(2, 1, 16, 40)).isfinite().all()


def test_blocks_are_means_of_what_is_seen():
    seen = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    features = torch.tensor([[[[2.0, 9.0], [4.0, 9.0]]]])
    pooled, share = pool_cells(features, seen)
    assert float(pooled) == pytest.approx(3.0, rel=0.01) and float(share) == 0.5


def test_loss_is_least_where_pairs_of_one_place_are_the_most_similar():
    target = torch.eye(3)
    ignored = torch.zeros(3, 3, dtype=torch.bool)
    right, wrong = (contrastive_loss(10 * logits, target, ignored) for logits in (target, target.roll(1, 0)))
    assert right < 0.01 < wrong


def test_pairs_that_are_ignored_cost_nothing_and_images_without_a_view_neither():
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    logits = torch.tensor([[1.0, 8.0], [3.0, 0.0]], requires_grad=True)
    ignored = torch.tensor([[False, True], [True, False]])
    loss = contrastive_loss(logits, target, ignored)
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)
