# SPDX-License-Identifier: Apache-2.0
"""`lhmap bench latency`: real processes over a small bag, and the arithmetic of its report."""

import onnx
import pytest
from helpers.tiny_bag import write_world
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.bench.latency import STEPS, add_ratios, bench_latency, cases, refiners, write_plot
from lhmap_loc_ros.bench.latency_worker import REFERENCE
from lhmap_loc_ros.localization.refine import RefineMode, RefinePlan, RefinerConfig
from lhmap_loc_ros.networks.regress import RegressNet


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def report(world):
    files = [world / "walls.lhmap"], world / "bag", world / "bag.tum"
    plan = RefinePlan().adapted(multi_start=False)
    # the network finds nothing between bare walls, and would search far at every image
    asked = cases(*files, [*refiners(["flow"], [2], plan), (RefinerConfig(model="nothing_like_it"), plan)])
    return bench_latency([case.model_copy(update={"warm_up": 1}) for case in asked], images=3)


def test_reference_and_default_are_timed_side_by_side(report):
    reference, ours, exactly = report["rows"]
    assert (reference["method"], reference["refinements"], reference["input"]) == ("regress", 3, "384x1280")
    assert (ours["method"], ours["refinements"], ours["backend"]) == ("flow", 3, "ONNX Runtime, CPU")
    assert report["ratio_to_reference"] == pytest.approx(reference["p50_ms"] / ours["p50_ms"], rel=0.01)
    assert exactly["ratio_to_reference"] == pytest.approx(reference["p50_ms"] / exactly["p50_ms"], rel=0.01)
    assert reference["ratio_to_reference"] == 1 and reference["refinements_mean"] == 3


def test_what_cannot_run_is_named_and_the_rest_is_timed(report):
    assert len(report["not_run"]) == 1 and "nothing_like_it" in report["not_run"][0]


def test_steps_make_up_the_whole(report):
    for row in report["rows"]:
        assert 0 < row["p50_ms"] <= row["p99_ms"] and row["rss_mb"] > 50
        assert set(row["steps"]) <= set(STEPS)
        assert sum(step["p50_ms"] for step in row["steps"].values()) < 1.3 * row["p99_ms"]
    assert report["rows"][1]["steps"].keys() >= {"decode", "crop", "encode", "project", "network", "solve", "publish"}


def test_plot_shows_every_row(report, tmp_path):
    write_plot(report, tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_command_refuses_a_map_without_a_bag(world):
    result = CliRunner().invoke(cli.app, ["bench", "latency", "--map", str(world / "walls.lhmap")])
    assert result.exit_code == 2 and "--bag" in result.stderr


def test_without_a_reference_there_is_no_ratio():
    assert add_ratios([{"method": "flow", "p50_ms": 8.0}]) is None


def test_default_comes_first_and_asked_refinements_are_all_done():
    def settings(refiner, plan):
        track, predicted = (plan.schedules[mode] for mode in (RefineMode.TRACK, RefineMode.TRACK_ODOMETRY))
        return refiner.max_iterations, track.convergence_m, predicted.convergence_deg

    made = [(r.model, *settings(r, plan)) for r, plan in refiners(["a", "b"], [2])]
    default, exact = settings(RefinerConfig(), RefinePlan()), (2, 0.0, 0.0)
    assert made == [("a", *default), ("a", *exact), ("b", *default), ("b", *exact)]


def test_reference_graph_is_that_of_the_whole_network():
    model = onnx.load(REFERENCE)
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    laid_out = sum(int(shapes[node.input[1]].prod()) for node in model.graph.node if node.op_type == "Expand")
    matrices = sum(p.numel() for p in RegressNet().parameters() if p.ndim > 1)
    assert laid_out == pytest.approx(matrices, rel=0.01)
