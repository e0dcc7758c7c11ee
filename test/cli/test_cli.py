# SPDX-License-Identifier: Apache-2.0
"""The command line: what works prints and writes, what is wrong is one line, exit code 2 and no file."""

import json
import os
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
from helpers.tiny_bag import HEIGHT, WIDTH, KnowingRefiner, write_bag, write_world
from typer.testing import CliRunner

from lhmap_loc_ros import __version__, cli
from lhmap_loc_ros.console import ProgressBars, cell
from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.evaluation.map_view import write_view
from lhmap_loc_ros.lhmap import LHMap, write_map
from lhmap_loc_ros.localization import localizer, offline
from lhmap_loc_ros.mapping import builder

COMMANDS = (
    "simulate", "import", "build", "info", "export", "view", "check", "calibrate", "localize", "play", "bench",
    "demo", "train",
)  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(localizer, "Refiner", KnowingRefiner)


def lhmap(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def fails(result, *words):
    """Exit code 2 and one line on stderr that holds the words."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in result.output


def start(world):
    return ("--init-tum", world / "bag.tum", "--map", world / "walls.lhmap")


def test_version_and_help():
    assert lhmap("--version").stdout.strip() == f"lhmap {__version__}"
    page = lhmap("--help").output
    for command in COMMANDS:
        assert command in page
        assert lhmap(command, "--help").exit_code == 0
    assert "[m]" in lhmap("simulate", "--help").output


@pytest.fixture(scope="module")
def localized(world, tmp_path_factory):
    """The result of one run with truth, and its folder."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(localizer, "Refiner", KnowingRefiner)
        run = ("localize", world / "bag", *start(world), "--out", out, "--truth", world / "bag.tum", "--seed", 1)
        return lhmap(*run), out


def test_localize_writes_everything(world, localized, tmp_path):
    result, out = localized
    assert result.exit_code == 0, result.output
    names = {"poses.tum", "poses.csv", "config.yaml", "metrics.json", "report.html"}
    assert {p.name for p in out.iterdir()} == names
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["frames"] == 12
    assert metrics["losses"] == 0
    assert metrics["translation_median_m"] < 0.3
    assert metrics["map_bytes"] == (world / "walls.lhmap").stat().st_size
    assert "odometry_translation_median_m" in metrics
    assert "median" in result.stdout and "12 poses" in result.stdout and "; TRACKING 10" in result.stdout
    again = tmp_path / "again"
    assert lhmap("localize", world / "bag", *start(world), "--out", again, "--seed", 1).exit_code == 0
    assert (again / "poses.tum").read_bytes() == (out / "poses.tum").read_bytes()


def test_report_is_one_file(localized):
    page = (localized[1] / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert page.count("data:image/jpeg") >= 3  # overlays
    assert page.count("data:image/png") == 4  # figures


def test_localize_from_a_given_pose(world, tmp_path):
    run = ("localize", world / "bag", "--map", world / "walls.lhmap", "--init", 1000.5, 2000.2, 5, 1.0, "--out")
    result = lhmap(*run, tmp_path / "o")
    assert result.exit_code == 0 and "never tracked" not in result.stderr, result.output
    (tmp_path / "never.yaml").write_text("tracker: {states: {tracking_sigma_m: 0.001}}")
    result = lhmap(*run, tmp_path / "n", "--config", tmp_path / "never.yaml")
    assert "INITIALIZING 12" in result.stdout and "it never tracked" in result.stderr


def test_info(world):
    assert "points" in lhmap("info", world / "walls.lhmap").stdout
    facts = json.loads(lhmap("info", world / "walls.lhmap", "--json").stdout)
    assert facts["points"] == 20000 == sum(facts["heat_histogram"])


def test_view_is_a_page_that_needs_no_network(world, tmp_path):
    result = lhmap("view", world / "walls.lhmap", "-o", tmp_path / "walls.html", "--points", 7000)
    assert result.exit_code == 0 and "6" in result.stdout
    page = (tmp_path / "walls.html").read_text()
    assert "20000 points" in page and not re.search(r"<(script|link)[^>]+(src|href)=", page)


@pytest.mark.parametrize("most", (1, 7, 1234, 20_000))
def test_view_shows_at_most_so_many_points(world, tmp_path, most):
    with LHMap.open(world / "walls.lhmap") as walls:
        assert most / 2 <= write_view(walls, tmp_path / "walls.html", most) <= most


def test_bench_of_maps_of_two_lengths(world):
    # the walls' map has no path; one of two poses is enough
    with LHMap.open(world / "walls.lhmap") as walls:
        path = np.array([(1000.0, 2000.0, 5.0, 0.0), (1050.0, 2000.0, 5.0, 0.0)])
        metadata = walls.metadata.model_copy(update={"path": path})
        write_map(world / "driven.lhmap", walls.all_points(), metadata)
    result = lhmap("bench", "map", world / "driven.lhmap", "--km", 0.06, "--km", 0.6, "--drive", 3, "--json")
    assert result.exit_code == 0, result.output
    short, long = json.loads(result.stdout)
    assert long["tiles"] == 10 * short["tiles"] and short["tiles_waited_for"] == 0
    assert all(row[name] > 0 for row in (short, long) for name in ("open_ms", "crop_ms_p99", "rss_mb", "bytes_per_km"))


def test_bench_of_a_map_without_a_path(world):
    fails(lhmap("bench", "map", world / "walls.lhmap"), "walls.lhmap", "expected a map of a drive")


def test_check_draws_the_map(world, tmp_path):
    result = lhmap("check", world / "bag", "--map", world / "walls.lhmap", "--frame", 3, "-o", tmp_path / "look.png")
    assert result.exit_code == 0, result.output
    assert cv2.imread(str(tmp_path / "look.png")).shape == (HEIGHT, WIDTH, 3)
    assert "camera at (1003." in result.stdout


def test_check_takes_poses_from_tf(world, tmp_path):
    """The same picture, whether the poses come from the file or from map -> odom -> base_link in the bag."""
    bag = write_bag(tmp_path / "moving", with_tf=True)
    for source, out in ((world / "bag", "file.png"), (bag, "tf.png")):
        result = lhmap("check", source, "--map", world / "walls.lhmap", "--frame", 3, "-o", tmp_path / out)
        assert result.exit_code == 0, result.output
    difference = cv2.absdiff(cv2.imread(str(tmp_path / "file.png")), cv2.imread(str(tmp_path / "tf.png")))
    assert difference.mean() < 1


def test_without_ros_what_needs_it_tells_so_before_it_works(world, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rclpy", None)
    live = ("localize", world / "bag", *start(world), "--truth", world / "bag.tum", "--live", "--out", tmp_path / "o")
    for command in (("demo", tmp_path / "demo"), live):
        fails(lhmap(*command), "rclpy of ROS 2 is not there", "make setup")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("topic", ["/camera/image_raw", "/camera/camera_info", "/tf_static"])
def test_bag_without_a_topic(world, tmp_path, topic):
    bag = write_bag(tmp_path / "bag", without=(topic,))
    fails(lhmap("localize", bag, *start(world), "--out", tmp_path / "o"), f"no topic {topic}", "/odom")
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_camera_without_calibration(world, tmp_path):
    bag = write_bag(tmp_path / "bag", fx=0.0)
    fails(lhmap("localize", bag, *start(world), "--out", tmp_path / "o"), "not calibrated", "camera_info")


def test_image_of_the_wrong_size(world, tmp_path):
    bag = write_bag(tmp_path / "bag", width=100)
    fails(lhmap("localize", bag, *start(world), "--out", tmp_path / "o"), "(48, 100, 3)", "(48, 160, 3)")
    assert not (tmp_path / "o").exists()


def test_odometry_that_is_not_a_number_is_left_out_and_told(world, tmp_path):
    bag = write_bag(tmp_path / "bag", nan_odometry_at=4)
    result = lhmap("localize", bag, *start(world), "--out", tmp_path / "o")
    assert result.exit_code == 0 and "left out: 1 of /odom: pose is not finite" in result.stderr


def test_pose_file_with_nan(world, tmp_path):
    (tmp_path / "bad.tum").write_text("1700000000.0 nan 0 0 0 0 0 1\n")
    where = ("--map", world / "walls.lhmap", "--out", tmp_path / "o")
    fails(lhmap("localize", world / "bag", *where, "--init-tum", tmp_path / "bad.tum"), "bad.tum:1", "not finite")


def test_truncated_bag(world, tmp_path):
    shutil.copytree(world / "bag", tmp_path / "bag")
    file = next((tmp_path / "bag").glob("*.mcap*"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    fails(lhmap("localize", tmp_path / "bag", *start(world), "--out", tmp_path / "o"), str(tmp_path / "bag"))
    fails(lhmap("localize", tmp_path / "none", *start(world), "--out", tmp_path / "o"), "no such bag")
    assert [p.name for p in tmp_path.iterdir()] == ["bag"]


def test_truncated_and_foreign_maps(world, tmp_path):
    whole = (world / "walls.lhmap").read_bytes()
    (tmp_path / "half.lhmap").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "foreign.lhmap").write_bytes(b"PK\x03\x04" + bytes(1000))
    for name in ("half.lhmap", "foreign.lhmap", "none.lhmap"):
        run = ("--map", tmp_path / name, "--out", tmp_path / "o", "--init-tum", world / "bag.tum")
        fails(lhmap("localize", world / "bag", *run), name)
        fails(lhmap("info", tmp_path / name), name)
        fails(lhmap("check", world / "bag", "--map", tmp_path / name, "-o", tmp_path / "o.png"), name)
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.png").exists()


def test_settings_that_are_impossible(world, tmp_path):
    (tmp_path / "c.yaml").write_text("tracker: {motion: {translation_per_metre: -5}}\n")
    run = (*start(world), "--out", tmp_path / "o", "--config", tmp_path / "c.yaml")
    fails(lhmap("localize", world / "bag", *run), "c.yaml", "tracker.motion.translation_per_metre", "-5")


def test_settings_that_yaml_takes_for_a_day_that_is_none(world, tmp_path):
    (tmp_path / "c.yaml").write_text("inputs: {image: 2024-02-30}\n")
    run = (*start(world), "--out", tmp_path / "o", "--config", tmp_path / "c.yaml")
    fails(lhmap("localize", world / "bag", *run), "c.yaml", "is not YAML")


def test_names_with_brackets_are_shown_as_they_are(world, tmp_path):
    folder = tmp_path / "a[/b] [north]"
    folder.mkdir(parents=True)
    shutil.copy(world / "walls.lhmap", folder / "m.lhmap")
    result = lhmap("info", folder / "m.lhmap")
    assert result.exit_code == 0 and "[north]" in result.stdout


def test_pictures_go_into_folders_that_are_made(world, tmp_path):
    assert lhmap("view", world / "walls.lhmap", "-o", tmp_path / "new" / "v.html").exit_code == 0
    latency = ("bench", "latency", "--map", world / "walls.lhmap", "--bag", world / "bag", "--plot")
    fails(lhmap(*latency, tmp_path / "p.webm"), "p.webm", "expected one of ")


def test_start_pose_must_be_told_once(world, tmp_path):
    run = ("localize", world / "bag", "--map", world / "walls.lhmap", "--out", tmp_path / "o")
    fails(lhmap(*run), "walls.lhmap: has no places", "expected a start pose")
    fails(lhmap(*run, "--init", 1, 2, 3, 4, "--init-tum", world / "bag.tum"), "--init")
    fails(lhmap(*run, "--live"), "--truth")


def test_check_says_what_is_missing(world, tmp_path):
    run = ("check", world / "bag", "--map", world / "walls.lhmap")
    fails(lhmap(*run, "-o", tmp_path / "o.tiff"), ".tiff", ".png")
    fails(lhmap(*run, "-o", tmp_path / "o.png", "--frame", 99), "no image 99", "has 12")
    fails(lhmap(*run, "-o", tmp_path / "nowhere" / "o.png"), "cannot be written")
    (tmp_path / "late.tum").write_text("1900000000.0 0 0 0 0 0 0 1\n1900000001.0 0 0 0 0 0 0 1\n")
    fails(lhmap(*run, "-o", tmp_path / "o.png", "--poses", tmp_path / "late.tum"), "no pose is known for image 0")
    alone = write_bag(tmp_path / "alone")
    fails(lhmap("check", alone, "--map", world / "walls.lhmap", "-o", tmp_path / "o.png"), "no poses", "alone.tum")


def test_simulate_and_import_refuse_nonsense(tmp_path):
    fails(lhmap("simulate", tmp_path / "s", "--length", 1), "length", "20")
    fails(lhmap("simulate", tmp_path / "s", "--camera", "gopro"), "gopro", "fisheye")
    fails(lhmap("simulate", tmp_path / "s", "--lidar", "9"), "lidar", "solid-state")
    fails(lhmap("simulate", tmp_path / "s", "--robot", "boat"), "boat", "dog")
    fails(lhmap("import", "kitti", tmp_path, "07", tmp_path / "k"), "no such sequence")
    assert list(tmp_path.iterdir()) == []


def test_poses_that_are_given_count_whatever_the_settings_say(tmp_path, monkeypatch):
    def stopped(bags, out, config, *_):
        raise InputError(f"poses: {config.poses}")

    monkeypatch.setattr(builder, "build_map", stopped)
    (tmp_path / "c.yaml").write_text("{poses: tf, budget_mb_per_km: 2}")
    run = ("build", tmp_path / "bag", "-o", tmp_path / "m.lhmap", "--config", tmp_path / "c.yaml")
    fails(lhmap(*run), "poses: tf")
    fails(lhmap(*run, "--poses", "a.tum"), "poses: a.tum")


def test_a_folder_that_cannot_be_written_is_told_before_the_work(world, tmp_path, monkeypatch):
    monkeypatch.setattr(offline, "localize_bag", None)
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "deep" / "out"):
        fails(lhmap("localize", world / "bag", *start(world), "--out", out), f"{tmp_path / 'file'}: is a file")
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    fails(lhmap("localize", world / "bag", *start(world), "--out", tmp_path / "deep" / "o"), "no permission", "deep/o")


def test_ctrl_c_ends_with_130(world, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(offline, "localize_bag", interrupted)
    result = lhmap("localize", world / "bag", *start(world), "--out", tmp_path / "o")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_progress_without_a_terminal_is_two_lines_a_stage(capsys):
    with ProgressBars() as report:
        for done in range(3):
            report("one", done, 2)
        report("one", 2, 2)
        report("two", 5, 10)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "one: 2 ..." and lines[1].startswith("one: done in") and lines[2:] == ["two: 10 ..."]


def test_progress_on_a_terminal_is_bars(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with ProgressBars() as report:
        report("one", 2, 2)
    assert "2/2" in capsys.readouterr().err


def test_coordinates_in_utm_are_told_in_full():
    assert cell((499_993.6, 5_399_987.2, 0.0)) == "499993.6, 5399987.2, 0"
    assert cell((-123_456.78949, 100_000.0, 99_999.55)) == "-123456.789, 100000, 99999.6"
    assert cell({"median": 0.123456789, "more": float("inf")}) == "median 0.123457, more inf"


def test_overlay_colours_follow_depth():
    from lhmap_loc_ros.evaluation.overlay import depth_colors

    near, far = depth_colors(np.array([3.0, 60.0]))
    assert near[0] > near[2] and far[2] > far[0]
