# SPDX-License-Identifier: Apache-2.0
"""`lhmap bench build`: real builds of a small drive, by cores and by Dask workers; and what failed ones say last."""

import json
import shutil
import sys
from contextlib import nullcontext

import pytest
from helpers import box_world
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.bench import build_bench, latency, map_bench
from lhmap_loc_ros.errors import LhmapError


def test_builds_of_a_drive_and_of_two_on_end_by_cores_and_by_workers(tmp_path):
    pytest.importorskip("distributed")
    bag, config = box_world.write_bag(tmp_path / "drive", 6), tmp_path / "build.yaml"
    config.write_text("heat: none\n")
    words = ["bench", "build", bag, "--times", 1, "--times", 2, "--dask-workers", 2, "-c", config, "--json"]
    result = CliRunner().invoke(cli.app, list(map(str, words)))
    assert result.exit_code == 0, result.output
    once, once_dask, twice, twice_dask = json.loads(result.stdout)
    assert (once["times"], once["scans"], twice["times"], twice["scans"]) == (1, 6, 2, 12)
    assert once["workers"].endswith("cores") and twice_dask["workers"] == "2 of Dask"
    assert once_dask["map_mb"] == once["map_mb"] and twice_dask["map_mb"] == twice["map_mb"] > once["map_mb"]


def test_a_process_that_ends_without_a_word_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(build_bench, "repeat_drive", lambda *_: build_bench.BuildConfig())
    monkeypatch.setattr(map_bench, "repeat_map", lambda *_: None)
    monkeypatch.setattr(map_bench.LHMap, "open", lambda path: nullcontext())
    case = latency.Case(method="regress", map=tmp_path, bag=tmp_path, truth=tmp_path, refiner=latency.RefinerConfig())
    for bench in (
        lambda: build_bench.bench_build(tmp_path / "drive", [1]),
        lambda: map_bench.bench_map(tmp_path / "map", [1.0]),
        lambda: latency.bench_latency([case], 1),
    ):
        with pytest.raises(LhmapError, match="ended without a word"):
            bench()
