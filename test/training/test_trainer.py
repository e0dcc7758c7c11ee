# SPDX-License-Identifier: Apache-2.0
"""The loop of every method, on a network of a few weights."""

import os
from unittest.mock import patch

import pytest
import torch
from helpers.mean_task import MeanTask
from lightning_fabric import Fabric
from safetensors.torch import load_file

from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import ConfigError, InputError
from lhmap_loc_ros.training import trainer
from lhmap_loc_ros.training.checkpoint import save_checkpoint
from lhmap_loc_ros.training.trainer import TrainConfig, fit


@pytest.fixture
def config(shard_path):
    return TrainConfig(train=[str(shard_path)], batch=2, steps=2, workers=0, precision="32-true", accelerator="cpu")


def test_the_resumed_state_of_the_optimiser_goes_where_the_network_went(config, tmp_path, monkeypatch):
    fit(MeanTask(), config, tmp_path)
    setup = Fabric.setup

    def moved(self, module, *optimizers, **settings):
        # as to a GPU: the parameters become others than those of the checkpoint
        return setup(self, module.double(), *optimizers, **settings)

    monkeypatch.setattr(Fabric, "setup", moved)
    last = fit(MeanTask(), config.model_copy(update={"steps": 3}), tmp_path)
    tensors = load_file(last)
    averages = [tensor for name, tensor in tensors.items() if "exp_avg" in name]
    assert averages and all(tensor.dtype == torch.float64 for tensor in averages)
    assert all(tensor == 3 for name, tensor in tensors.items() if name.startswith("opt.") and name.endswith("step"))


def test_two_devices_train_a_network_of_which_the_loss_asks_but_a_part(config, tmp_path, monkeypatch):
    # gradients are gathered as from two devices, in one process: a rendezvous of two has hung on a loaded machine
    monkeypatch.setattr(trainer, "Fabric", lambda devices, **settings: Fabric(devices=1, **settings))
    # the loop-back alone, and none of the variables that Fabric sets for later tests
    with patch.dict(os.environ, GLOO_SOCKET_IFNAME="lo"):
        assert fit(MeanTask(), config.model_copy(update={"devices": 2}), tmp_path).exists()


def test_the_best_weights_of_a_run_that_is_begun_anew_are_not_those_of_the_one_before(config, tmp_path):
    best = tmp_path / "best.safetensors"
    save_checkpoint(best, MeanTask().net, None, 9, {"score": "-3.0"})
    assert fit(MeanTask(), config, tmp_path, resume=False) == tmp_path / "last.safetensors"
    assert fit(MeanTask(), config, tmp_path) == best


def test_weights_that_leave_no_shard_are_refused_before_the_first_step(config, tmp_path):
    with pytest.raises(InputError, match="no training shard has one above zero"):
        fit(MeanTask(), config.model_copy(update={"weights": {"wall": 0.0}}), tmp_path)


@pytest.mark.parametrize("wrong", [{"weights": {"wall": -1}}, {"learning_rate": float("inf")}])
def test_settings_that_would_end_in_numbers_that_are_none_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(TrainConfig, {"train": ["a"], **wrong})


def test_samples_prepared_beside_the_network_leave_it_its_threads(config, tmp_path):
    threads = torch.get_num_threads()
    try:
        fit(MeanTask(), config.model_copy(update={"threads": 2}), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_weights_that_are_trained_on_keep_the_statistics_of_their_normalisation(config, tmp_path):
    first = fit(MeanTask(), config, tmp_path / "first")
    again = fit(MeanTask(), config.model_copy(update={"init": first}), tmp_path / "again")
    before, after = load_file(first), load_file(again)
    statistics = [name for name in before if name.endswith("running_mean")]
    assert statistics
    assert all((before[name] == after[name]).all() for name in statistics)
    assert any((before[name] != after[name]).any() for name in before if name.endswith("weight"))
