# SPDX-License-Identifier: Apache-2.0
"""The launch files, run by the real launch where ROS has it: what they start, and that nothing is left behind."""

import sys

import pytest
import yaml
from helpers import FOLDER
from helpers.ros_side import ROOT, Process

RUN = FOLDER / "launch_file.py"


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """Runs a launch file of the package in an installation of its own; its exit code and what it said."""
    pytest.importorskip("launch_ros")
    prefix = tmp_path / "install"
    (prefix / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (prefix / "share/ament_index/resource_index/packages/lhmap_loc_ros").touch()
    (prefix / "share/lhmap_loc_ros").mkdir()
    for folder in ("launch", "config"):
        (prefix / "share/lhmap_loc_ros" / folder).symlink_to(ROOT / folder)
    (prefix / "lib/lhmap_loc_ros").mkdir(parents=True)
    for name in ("localizer_node", "player_node", "map_builder_node"):
        script = prefix / "lib/lhmap_loc_ros" / name
        script.write_text(f"#!{sys.executable}\nfrom lhmap_loc_ros.nodes.start import {name}\n{name}()\n")
        script.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))

    def launch(name, *arguments, seconds=60):
        with Process(RUN, prefix / f"share/lhmap_loc_ros/launch/{name}.launch.py", *arguments) as process:
            return process.end(None, seconds)

    return launch


@pytest.mark.parametrize(("option", "package"), [("rviz", "rviz2"), ("lifecycle", "nav2_lifecycle_manager")])
def test_an_optional_part_that_is_not_installed_is_told_before_anything_starts(launched, option, package):
    code, out, err = launched("localize", "map:=nowhere.lhmap", f"{option}:=true")
    assert code == 1 and "started" not in out
    assert f"{option}:=true needs the package {package}" in out + err


def test_a_replay_ends_when_the_localizer_does(launched, world):
    code, out, err = launched("replay", f"bag:={world / 'bag'}", f"map:={world / 'nowhere.lhmap'}")
    assert "started localizer_node" in out and "started player_node" in out
    assert "nowhere.lhmap" in out + err


def test_the_localizer_of_a_namespace_has_its_topics_and_its_parameters(launched, world):
    code, out, err = launched("replay", f"bag:={world / 'bag'}", f"map:={world / 'nowhere.lhmap'}", "namespace:=robot1")
    (command,) = [line for line in out.splitlines() if line.startswith("started localizer_node")]
    assert "__ns:=/robot1" in command and "/tf:=tf" in command and "image:=camera/image_raw" in command
    assert "nowhere.lhmap" in out + err


def test_rviz_shows_the_robot_of_its_namespace():
    layout = yaml.safe_load((ROOT / "config/localize.rviz").read_text())["Visualization Manager"]
    topics = [part["Topic"]["Value"] for part in layout["Displays"] + layout["Tools"] if "Topic" in part]
    assert len(topics) == 5 and not [topic for topic in topics if topic.startswith("/")]
