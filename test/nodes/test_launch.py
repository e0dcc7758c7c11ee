# SPDX-License-Identifier: Apache-2.0
"""The launch files, run by the real launch where ROS has it: what they start, and that nothing is left behind."""

import sys

import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from helpers import FOLDER
from helpers.localizer_runs import LOCALIZER as TRUTH
from helpers.ros_side import ROOT, Process, wait_until

RUN = FOLDER / "launch_file.py"


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    """An installation of the package of its own."""
    pytest.importorskip("launch_ros")
    prefix = tmp_path / "install"
    (prefix / "share/lhmap_loc_ros").mkdir(parents=True)
    for folder in ("launch", "config"):
        (prefix / "share/lhmap_loc_ros" / folder).symlink_to(ROOT / folder)
    for name in ("localizer_node", "player_node", "map_builder_node"):
        install(prefix, "lhmap_loc_ros", name, f"from lhmap_loc_ros.nodes.start import {name}\n{name}()\n")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(prefix))
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    return prefix


def install(prefix, package, name, code):
    """An executable of a package, in Python."""
    index, folder = prefix / "share/ament_index/resource_index/packages", prefix / "lib" / package
    index.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (index / package).touch()
    (folder / name).write_text(f"#!{sys.executable}\n{code}")
    (folder / name).chmod(0o755)


def include(prefix, name, *arguments):
    """Runs a launch file of that installation, several times where a "+" is between arguments."""
    return Process(RUN, prefix / f"share/lhmap_loc_ros/launch/{name}.launch.py", *arguments)


@pytest.fixture
def launched(prefix):
    """Runs a launch file to its end; its exit code and what it said."""

    def launch(name, *arguments, seconds=60):
        with include(prefix, name, *arguments) as process:
            return process.end(None, seconds)

    return launch


def started(out, name):
    """The command lines of the processes of a name that were started."""
    return [line for line in out.splitlines() if line.startswith(f"started {name}")]


@pytest.mark.parametrize(("option", "package"), [("rviz", "rviz2"), ("lifecycle", "nav2_lifecycle_manager")])
def test_an_optional_part_that_is_not_installed_is_told_before_anything_starts(launched, option, package):
    code, out, err = launched("localize", "map:=nowhere.lhmap", f"{option}:=true")
    assert code == 1 and "started" not in out
    assert f"{option}:=true needs the package {package}" in out + err


def test_a_replay_ends_when_the_localizer_does(launched, world):
    code, out, err = launched("replay", f"bag:={world / 'bag'}", f"map:={world / 'nowhere.lhmap'}")
    assert "started localizer_node" in out and "started player_node" in out
    assert "nowhere.lhmap" in out + err


def test_a_replay_has_the_topics_that_it_is_told(launched, prefix):
    for name in ("localizer_node", "player_node"):
        install(prefix, "lhmap_loc_ros", name, SHOW)
    told = {"image": "/front/image_raw", "camera_info": "/front/info", "odometry": "/wheels"}
    topics = [f"{name}:={topic}" for name, topic in told.items()]
    code, out, err = launched("replay", "bag:=drive", "map:=m.lhmap", *topics)
    assert code == 0, err
    (command,) = started(out, "localizer_node")
    assert all(topic in command.split() for topic in [*topics, "image/compressed:=/front/image_raw/compressed"])


OWN = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import SetRemap

def generate_launch_description():
    localize = IncludeLaunchDescription(
        PythonLaunchDescriptionSource("{}"), launch_arguments=[("map", "m.lhmap"), ("namespace", "robot1")]
    )
    return LaunchDescription([SetRemap("rear/image", "/rear/image_raw"), SetRemap("fix", "gps/fix"), localize])
"""
"""A user's launch file, which includes ours."""


def test_a_launch_file_around_it_renames_the_topics_of_several_cameras(prefix, tmp_path):
    install(prefix, "lhmap_loc_ros", "localizer_node", SHOW)
    (tmp_path / "own.launch.py").write_text(OWN.format(prefix / "share/lhmap_loc_ros/launch/localize.launch.py"))
    with Process(RUN, tmp_path / "own.launch.py") as process:
        code, out, err = process.end(None, 60)
    assert code == 0, err
    command = started(out, "localizer_node")[0].split()
    assert {"rear/image:=/rear/image_raw", "fix:=gps/fix", "image:=camera/image_raw"} <= set(command)


def test_the_localizer_of_a_namespace_has_its_topics_and_its_parameters(launched, world):
    code, out, err = launched("replay", f"bag:={world / 'bag'}", f"map:={world / 'nowhere.lhmap'}", "namespace:=robot1")
    (command,) = started(out, "localizer_node")
    assert "__ns:=/robot1" in command and "/tf:=tf" in command and "image:=camera/image_raw" in command
    assert "nowhere.lhmap" in out + err


SHOW = """
import pathlib, sys, yaml
files = [after for flag, after in zip(sys.argv, sys.argv[1:]) if flag == "--params-file"]
given = {}
for file in files:
    for node in yaml.unsafe_load(pathlib.Path(file).read_text()).values():
        given.update(node["ros__parameters"])
print("given", pathlib.Path(sys.argv[0]).name, given.get("autostart"), *given.get("node_names", ()), flush=True)
"""
"""Prints parameters that it was started with, in which launch writes tuples of Python, and ends."""


def test_with_nav2_and_rviz_installed_they_are_started_in_the_namespace(launched, prefix):
    for package, name in [
        ("lhmap_loc_ros", "localizer_node"), ("rviz2", "rviz2"), ("nav2_lifecycle_manager", "lifecycle_manager")
    ]:  # fmt: skip
        install(prefix, package, name, SHOW)
    arguments = "map:=m.lhmap", "rviz:=true", "lifecycle:=true", "namespace:=robot1"
    code, out, err = launched("localize", *arguments)
    assert code == 0, err
    for name in ("localizer_node", "rviz2", "lifecycle_manager"):
        (command,) = started(out, name)
        assert "__ns:=/robot1" in command
    assert "/tf:=tf" in started(out, "rviz2")[0] and "/tf_static:=tf_static" in started(out, "rviz2")[0]
    # nav2 starts the node, which waits for it
    assert "given localizer_node False" in out and "given lifecycle_manager True localizer_node" in out


def test_two_robots_in_one_launch_file_are_told_apart(prefix, world, ros):
    known = f"import runpy, sys\nsys.argv.insert(1, {str(world / 'bag')!r})\nrunpy.run_path({str(TRUTH)!r})\n"
    install(prefix, "lhmap_loc_ros", "localizer_node", known)
    diagnostics, robots = ros.collect(DiagnosticArray, "/diagnostics"), ("robot1", "robot2")
    arguments = [[f"map:={world / 'walls.lhmap'}", f"namespace:={name}", f"image:=front/{name}"] for name in robots]
    with include(prefix, "localize", *arguments[0], "+", *arguments[1]) as process:

        def told():
            return {status.hardware_id for message in diagnostics for status in message.status}

        expected = {f"/{name}/localizer_node" for name in robots}
        assert wait_until(lambda: told() == expected, 90)
        topics = {f"/{name}/{topic}" for name in robots for topic in ("pose", "tf", f"front/{name}", "initialpose")}
        assert wait_until(lambda: topics <= set(dict(ros.node.get_topic_names_and_types())))
        assert ros.node.count_publishers("/tf") == 0 and ros.node.count_publishers("/robot1/tf") == 1
        assert ros.node.count_subscribers("/robot2/tf_static") and not ros.node.count_subscribers("/tf_static")
        process.interrupt()
        code, out, err = process.end(None, 60)
    # on a busy machine launch has no patience, and kills
    assert code == 0 and "Traceback" not in out + err
    assert (out + err).count("process has finished cleanly") + (out + err).count("process has died") == 2


def test_the_builder_of_a_namespace_has_its_parameters(launched, world, tmp_path):
    arguments = f"bag:={world / 'nowhere'}", f"map:={tmp_path / 'a.lhmap'}", "namespace:=robot1"
    code, out, err = launched("build_map", *arguments)
    (command,) = started(out, "map_builder_node")
    assert "__ns:=/robot1" in command and "nowhere: no such bag" in out + err


def test_rviz_shows_the_robot_of_its_namespace():
    layout = yaml.safe_load((ROOT / "config/localize.rviz").read_text())["Visualization Manager"]
    topics = [part["Topic"]["Value"] for part in layout["Displays"] + layout["Tools"] if "Topic" in part]
    assert len(topics) == 5 and not [topic for topic in topics if topic.startswith("/")]
