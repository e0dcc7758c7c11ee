# SPDX-License-Identifier: Apache-2.0
"""The loop of small networks: rates, steps, and what is told of them."""

import logging
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from lhmap_loc_ros.training.descent import RunningAverages, descend, learning_rate

CONFIG = SimpleNamespace(steps=6, learning_rate=0.5, log_every=4)


def test_optimisers_step_at_their_own_multiple_of_the_rate_and_the_last_step_is_told(caplog):
    net = torch.nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.zero_(), net.bias.zero_()
    # the gradient's norm is one: nothing is clipped
    rates = {torch.optim.SGD([net.weight]): 1.0, torch.optim.SGD([net.bias], 9.0): 10.0}
    told, asked = [], []

    def loss(step):
        asked.append(step)
        return 0.6 * net.weight.sum() + 0.8 * net.bias.sum(), {"seen": float(step)}

    with caplog.at_level(logging.INFO):
        descend(CONFIG, 2, net, rates, loss, lambda step, done: told.append((step, done)))
    assert asked == [2, 3, 4, 5] and told == [(3, False), (4, False), (5, False), (6, True)]
    moved = sum(learning_rate(CONFIG, step) for step in asked)
    assert float(net.weight.detach()) == pytest.approx(-0.6 * moved)
    assert float(net.bias.detach()) == pytest.approx(-0.8 * 10 * moved)
    assert [record.message.split("  ")[0] for record in caplog.records] == ["step 4", "step 6"]


def test_large_gradients_are_clipped():
    net = torch.nn.Linear(1, 1, bias=False)
    before = float(net.weight.detach())
    config = SimpleNamespace(steps=1, learning_rate=0.1, log_every=1)
    descend(config, 0, net, {torch.optim.SGD(net.parameters()): 1.0},
            lambda step: (1e6 * net.weight.sum(), {}), lambda *_: None)  # fmt: skip
    assert before - float(net.weight.detach()) == pytest.approx(learning_rate(config, 0), rel=1e-3)


def test_figures_that_measured_nothing_are_left_out_of_the_averages():
    averages = RunningAverages()
    for value in (1.0, float("nan"), 2.0):
        averages.add({"a": value})
    averages.add({"b": float("nan")})
    assert averages.values == {"a": pytest.approx(1.02)} and str(averages) == "a 1.020"
