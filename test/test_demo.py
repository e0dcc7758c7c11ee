# SPDX-License-Identifier: Apache-2.0
"""The demo reuses what equal runs have made; a live run looks at its files before it starts anything."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.example_runs import record_of
from helpers.tiny_bag import SECOND, START, write_bag, write_truth, write_walls
from typer.testing import CliRunner

from lhmap_loc_ros import cli, demo, live
from lhmap_loc_ros.configuration import load
from lhmap_loc_ros.datasets.synthetic import simulate as simulation
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import read_tum, write_tum
from lhmap_loc_ros.errors import BagError, InputError
from lhmap_loc_ros.geometry import make_pose
from lhmap_loc_ros.lhmap import LHMap, SectionData
from lhmap_loc_ros.lhmap.writer import write_with_section
from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.offline import LocalizeConfig


class Nothing:
    """Stands for an open map."""

    def close(self):
        pass


@pytest.fixture
def made(monkeypatch):
    """What was done, by name, with the slow stages replaced by short ones."""
    done = []

    def simulate(out, seed, length, report):
        done.append(("simulate", seed, length))
        (Path(out) / "mapping").mkdir(parents=True)

    def build_map(bag, out, config, report):
        done.append(("build",))
        Path(out).write_text("map")
        return Nothing()

    def run_live(bag, map_path, truth, out, **arguments):
        done.append(("live", Path(bag).name))
        return {"losses": 0}

    monkeypatch.setattr(simulation, "simulate", simulate)
    monkeypatch.setattr(demo, "build_map", build_map)
    monkeypatch.setattr(demo, "run_live", run_live)
    monkeypatch.setattr(demo, "model_of", lambda config: "sha")
    return done


def test_second_run_reuses_simulation_and_map(made, tmp_path):
    first = [("simulate", 1, 320.0), ("build",), ("live", "query")]
    assert demo.run_demo(tmp_path / "d", 1, 320.0) == {"losses": 0}
    assert made == first
    demo.run_demo(tmp_path / "d", 1, 320.0)
    assert made == [*first, ("live", "query")]


def test_other_parameters_are_made_anew(made, tmp_path, monkeypatch):
    demo.run_demo(tmp_path / "d", 1, 320.0)
    made.clear()
    demo.run_demo(tmp_path / "d", 2, 320.0)
    assert [what[0] for what in made] == ["simulate", "build", "live"]
    made.clear()
    monkeypatch.setattr(demo, "model_of", lambda config: "another network")
    demo.run_demo(tmp_path / "d", 2, 320.0)
    assert [what[0] for what in made] == ["build", "live"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("geometry/camera.py", ["simulate", "build", "live"]),
        ("localization/features.py", ["build", "live"]),
        ("localization/tracker.py", ["live"]),
    ],
)
def test_what_changed_code_has_made_is_made_anew(made, tmp_path, monkeypatch, changed, again):
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "code" / "demo.py"))
    for name in ("geometry/camera.py", "localization/features.py", "localization/tracker.py"):
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text("before")
    demo.run_demo(tmp_path / "d", 1, 320.0)
    made.clear()
    (tmp_path / "code" / changed).write_text("after")
    demo.run_demo(tmp_path / "d", 1, 320.0)
    assert [what[0] for what in made] == again


def test_a_demo_that_was_interrupted_while_it_built_goes_on(made, tmp_path, monkeypatch):
    demo.run_demo(tmp_path / "d", 1, 320.0)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(demo, "model_of", lambda config: "another network")
        patch.setattr(demo, "build_map", interrupted)
        demo.run_demo(tmp_path / "d", 1, 320.0)
    made.clear()
    demo.run_demo(tmp_path / "d", 1, 320.0)
    assert [what[0] for what in made] == ["build", "live"]


def test_foreign_folders_are_left_alone(made, tmp_path):
    (tmp_path / "d/simulation").mkdir(parents=True)
    (tmp_path / "d/simulation/precious").write_text("")
    with pytest.raises(InputError, match="not made by this demo"):
        demo.run_demo(tmp_path / "d", 1, 320.0)
    assert (tmp_path / "d/simulation/precious").exists()
    (tmp_path / "e").mkdir()
    (tmp_path / "e/campus.lhmap").write_text("a map of another campus")
    with pytest.raises(InputError, match="campus.lhmap: is there and was not made by this demo"):
        demo.run_demo(tmp_path / "e", 1, 320.0)
    assert (tmp_path / "e/campus.lhmap").read_text() == "a map of another campus"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        demo.run_demo(tmp_path / "file", 1, 320.0)


def test_plan_of_a_live_run(tmp_path):
    plan = live.make_plan(write_bag(tmp_path / "bag"), BagInputs())
    assert plan.first_ns == START
    assert plan.images == 12
    assert plan.seconds == pytest.approx(1.1)
    assert plan.topics == ("/camera/image_raw", "/camera/camera_info", "/tf_static", "/odom")
    blind = live.make_plan(write_bag(tmp_path / "blind", without=("/odom",)), BagInputs())
    assert blind.odometry == "" and "/odom" not in blind.topics and blind.fix == ""


def test_a_live_run_starts_where_the_first_image_was_taken(tmp_path):
    plan = live.make_plan(write_bag(tmp_path / "bag"), BagInputs(image_delay_s=0.5))
    assert plan.first_ns == START - SECOND // 2


def test_fixes_of_a_bag_are_played_to_the_node(tmp_path):
    plan = live.make_plan(write_bag(tmp_path / "bag", fix="/gps/fix"), BagInputs())
    assert plan.fix == "/gps/fix" and "/gps/fix" in plan.topics
    assert "fix:=/gps/fix" in live._ros_arguments(BagInputs(), plan, tmp_path / "p.yaml")


def test_live_run_refuses_before_it_starts(tmp_path):
    write_walls(tmp_path / "walls.lhmap")
    write_truth(tmp_path / "truth.tum")
    bag = write_bag(tmp_path / "bag", without=("/camera/camera_info",))
    with pytest.raises(BagError, match="camera_info"):
        live.run_live(bag, tmp_path / "walls.lhmap", tmp_path / "truth.tum", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    two = BagInputs(more_cameras=[{"image": "/rear/image_raw"}])
    with pytest.raises(InputError, match="more_cameras.*one camera"):
        live.make_plan(bag, two)


@pytest.fixture
def without_nodes(monkeypatch):
    """A live run without nodes that loses its track half way; the start poses it was given, None: none, in a list."""
    starts = []

    def play_to_node(bag, map_path, plan, start, *_):
        starts.append(None if start is None else start.T_map_base[:3, 3])
        return bag

    def read(recording):
        truth = read_tum(f"{recording}.tum")
        return record_of(truth).select(np.arange(len(truth)) < 6), ["TRACKING"] * 6 + ["LOST"] * (len(truth) - 6)

    monkeypatch.setattr(live, "play_to_node", play_to_node)
    monkeypatch.setattr(live, "read", read)
    return starts


@pytest.mark.parametrize("told", ["nothing", "pose", "file"])
def test_live_run_starts_where_it_is_told_and_writes_what_an_offline_run_writes(tmp_path, without_nodes, told):
    bag, truth, other, out = (str(tmp_path / name) for name in ("bag", "bag.tum", "other.tum", "out"))
    poses = read_tum(write_truth(truth))
    write_bag(Path(bag))
    write_walls(tmp_path / "walls.lhmap")
    beside = poses.poses @ make_pose(np.eye(3), [50, 0, 0])
    write_tum(other, Trajectory(poses.stamps_ns, beside))
    asked = {"nothing": [], "pose": ["--init", "1", "2", "3", "90"], "file": ["--init-tum", other]}[told]
    run = ["localize", bag, "--map", str(tmp_path / "walls.lhmap"), "--truth", truth, "--live", "--out", out, *asked]
    done = CliRunner().invoke(cli.app, run)
    assert done.exit_code == 0, done.output
    place, metres = {
        "nothing": (poses.poses[0, :3, 3], 1.0), "pose": ([1, 2, 3], 0.0), "file": (beside[0, :3, 3], 1.0)
    }[told]  # fmt: skip
    assert np.linalg.norm(without_nodes[0] - place) == pytest.approx(metres, abs=1e-6)
    assert load(LocalizeConfig, Path(out, "config.yaml")) == LocalizeConfig()
    assert Path(out, "poses.tum").exists() and Path(out, "poses.csv").exists()
    assert json.loads(Path(out, "metrics.json").read_text())["frames_without_pose"] == 6
    assert "6 frames count, 6 without a pose do not" in Path(out, "report.html").read_text()


@pytest.mark.parametrize(("section", "found"), [("coordinates", True), ("constraints", False)])
def test_live_run_starts_anywhere_where_the_map_has_what_finds_it(tmp_path, without_nodes, section, found):
    write_truth(tmp_path / "bag.tum")
    write_bag(tmp_path / "bag")
    with LHMap.open(write_walls(tmp_path / "plain.lhmap")) as plain:
        write_with_section(plain, tmp_path / "walls.lhmap", SectionData(section, 1, b""))
    run = ("localize", tmp_path / "bag", "--map", tmp_path / "walls.lhmap", "--truth", tmp_path / "bag.tum", "--live")
    done = CliRunner().invoke(cli.app, [str(part) for part in (*run, "--out", tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert (without_nodes[0] is None) == found


def test_node_gets_the_configuration_of_the_offline_run(tmp_path):
    """Every parameter written is one the node's model has, with the same value."""
    plan = live.Plan(0, 1, 1.0, ("/img",), "/wheels", "", False)
    config = LocalizeConfig.model_validate(
        {
            "inputs": {"image": "/img"}, "tracker": {"motion": {"rotation_per_radian_deg": 2}},
            "refiner": {"threads": 1}, "relocalizer": "places",
        }
    )  # fmt: skip
    values = yaml.safe_load(live._parameters(config, "m.lhmap", plan))["/**"]["ros__parameters"]
    localizer_config = pytest.importorskip("lhmap_loc_ros.nodes.localizer_config")
    node = localizer_config.LocalizerConfig.model_validate(values)
    assert node.tracker == config.tracker and node.refiner == config.refiner
    assert node.relocalizer == "places"
    arguments = live._ros_arguments(config.inputs, plan, tmp_path / "p.yaml")
    assert arguments[:3] == ["--ros-args", "--params-file", str(tmp_path / "p.yaml")]
    assert "image:=/img" in arguments and "odometry:=/wheels" in arguments
    assert "/tf_static:=/tf_static" not in arguments and not [part for part in arguments if part.startswith("fix:")]
