# SPDX-License-Identifier: Apache-2.0
"""A new scene is learned by its codes alone; those that are looked at least are left out."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from helpers.known_places import write_street
from helpers.known_scene import street_material

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.networks.codes import CodesNet
from lhmap_loc_ros.scenes.codes import MAX_CODES, NONE
from lhmap_loc_ros.training import scene_codes
from lhmap_loc_ros.training.checkpoint import save_checkpoint
from lhmap_loc_ros.training.codes_worlds import Worlds
from lhmap_loc_ros.training.scene import Amount
from lhmap_loc_ros.training.scene_codes import MIN_CODES, SceneCodes, learn_codes, most_attended
from lhmap_loc_ros.training.scene_codes_material import asked_cells, scene_features, thinned


@pytest.fixture
def street(tmp_path):
    with write_street(tmp_path / "street.lhmap") as lhmap:
        yield lhmap


@pytest.fixture
def weights(tmp_path):
    """A decoder of a few weights that nobody trained."""
    torch.manual_seed(0)
    net = CodesNet(cells=(196,), width=(32,), layers=(1,), heads=(2,), code=(16,))
    torch.nn.init.normal_(net.basis)
    save_checkpoint(tmp_path / "tiny.safetensors", net, None, 0)
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def material():
    return street_material(20.0)


def test_only_codes_change_and_they_learn(monkeypatch, street, weights, material):
    nets, losses, loss, load = [], [], scene_codes.codes_loss, scene_codes.load_checkpoint
    monkeypatch.setattr(scene_codes, "PRUNED_AT", 2.0)
    monkeypatch.setattr(scene_codes, "load_checkpoint", lambda *a: nets.append(load(*a)) or nets[-1])
    monkeypatch.setattr(scene_codes, "codes_loss", lambda *a: losses.append(loss(*a)) or losses[-1])
    monkeypatch.setattr(scene_codes, "RATE", 0.05)
    learn_codes(material, "codes", street, amount=Amount(steps=60), weights=weights)
    net, before = nets[0][0], load(weights, CodesNet)[0].state_dict()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in net.parameters())
    metres = [one for _, one in losses]
    assert np.mean(metres[-10:]) < 0.7 * np.mean(metres[:3])


def test_a_map_stores_no_more_bytes_than_it_may(street, weights, material):
    sizes, counts = [], []
    for kb_per_km in (200.0, 400.0):
        learned = learn_codes(material, "codes", street, None, None, Amount(4, kb_per_km=kb_per_km), weights)
        sizes.append(len(learned.to_section().data))
        counts.append(learned.counts)
    # the images are 18 m apart
    assert sizes[0] <= 3600 and 5400 < sizes[1] <= 7200
    assert (counts[0] >= MIN_CODES).all() and (counts[1] > counts[0]).any()


def test_codes_that_nothing_looks_at_are_left_out(material, weights, street):
    net, _ = scene_codes.load_checkpoint(weights, CodesNet)
    features = scene_features(material, material.T_map_camera)
    worlds = Worlds([features], net, MAX_CODES, np.random.default_rng(0), 40)
    codes = SceneCodes((len(worlds.cells), 16, 16))
    torch.nn.init.normal_(codes.first)
    codes.kept[:, 9] = 0
    kept = most_attended(net, worlds, codes, 8 * len(worlds.cells), "cpu")
    assert kept.sum() == 8 * len(worlds.cells) and kept[:, 9].sum() == 0 and (kept.sum(1) >= MIN_CODES).all()


def test_images_ask_the_grid_cells_that_they_see(material, weights):
    net, _ = scene_codes.load_checkpoint(weights, CodesNet)
    features = scene_features(material, material.T_map_camera)
    worlds = Worlds([features], net, 16, np.random.default_rng(0), 40)
    asked = asked_cells(worlds, features, np.arange(10) // 5)
    for row, end in zip(asked, (0, 9), strict=True):
        first = worlds.cells[row[0]].centre
        assert np.linalg.norm(first[:2] - material.T_map_camera[end][:2, 3]) < 40
        assert len(set(row[row != NONE].tolist())) == (row != NONE).sum() > 1


def test_an_interrupted_run_learns_what_it_would_have(tmp_path, monkeypatch, street, weights, material):
    monkeypatch.setattr(scene_codes, "SAVE_EVERY", 20)
    whole = learn_codes(material, "codes", street, None, None, Amount(40), weights)
    draws, draw = [], Worlds.draw

    def drawn(*args):
        draws.append(1)
        if len(draws) == 30:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(Worlds, "draw", drawn)
    run = (material, "codes", street, tmp_path, None, Amount(40), weights)
    with pytest.raises(KeyboardInterrupt):
        learn_codes(*run)
    learned = learn_codes(*run)
    assert len(draws) == 30 + 20 and learned.to_section() == whole.to_section()
    assert learn_codes(*run).to_section() == learned.to_section() and len(draws) == 50


def test_a_decoder_of_other_features_is_refused(street, weights):
    with pytest.raises(InputError, match="tiny.safetensors: a decoder of 196 features, expected one of 240"):
        learn_codes(street_material(10.0, fine=48), "codes", street, weights=weights)


def test_images_that_show_what_the_one_before_did_are_not_kept(material):
    from lhmap_loc_ros.scenes.section import LearnedImages

    x = np.arange(0, 10, 0.5)
    images = LearnedImages(
        np.column_stack([x, 0 * x, 0 * x]), np.where(x < 9.4, 0, 1.0), np.zeros((20, 24)), np.zeros(20, int)
    )  # fmt: skip
    kept = thinned(images)
    assert kept.positions[:, 0].tolist() == [0.0, 3.0, 6.0, 9.0, 9.5] and kept.codes.shape == (5, 24)
