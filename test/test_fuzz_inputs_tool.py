# SPDX-License-Identifier: Apache-2.0
"""Corrupted inputs of every kind end in one of our own errors or are read; tools/fuzz_inputs.py tries thousands."""

import random

import pytest

pytest.importorskip("laspy")
pytest.importorskip("pypcd4")
pytest.importorskip("rclpy")

RUNS = {"mcap": 5, "mcap-zstd": 5, "sqlite3": 5, "ros1": 5, "parameters": 8}
"""Of bags fewer: each takes a tenth of a second."""


@pytest.fixture
def tool(load_tool):
    return load_tool("fuzz_inputs")


def test_some_dozens_of_corruptions_of_each_kind(tool, tmp_path, capsys):
    from fuzz_kinds import KINDS

    # one call: each starts a worker, which imports and compiles for seconds
    found = tool.fuzz(tmp_path, {kind: RUNS.get(kind, 24) for kind in KINDS}, seed=7)
    failed = {kind: counts["failed"] for kind, counts in found.items() if counts["failed"]}
    assert not failed, capsys.readouterr().err
    assert all(counts["refused"] for counts in found.values())
    assert all(counts["read"] for kind, counts in found.items() if kind not in ("lhmap", "mcap-zstd"))


def test_the_same_seed_gives_the_same_corruptions(tool):
    data = bytes(range(256)) * 4
    first, again, other = (tool.corrupted(data, random.Random(seed), text=False) for seed in ("a", "a", "b"))
    assert first == again != other != data


def test_what_the_worker_does_not_survive_is_a_failure(tool, tmp_path):
    worker = tool.Worker(tmp_path)
    outcome, _ = worker.ask("no such kind", 0, 0)
    assert outcome == "failed" and worker.process is None
