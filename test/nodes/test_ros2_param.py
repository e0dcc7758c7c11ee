# SPDX-License-Identifier: Apache-2.0
"""`ros2 param` on a localizer that runs, where ros2cli is: what it dumps starts the same node, and can be loaded."""

import signal

import pytest
import yaml
from helpers import FOLDER
from helpers.localizer_runs import LOCALIZER, TOPICS, localizer, near_start
from helpers.ros_side import Process

NODE = "/localizer_node"


@pytest.fixture
def ros2_param():
    """What `ros2 param VERB NODE ...` prints of the localizer."""
    pytest.importorskip("ros2param")

    def run(verb, *arguments):
        with Process(FOLDER / "ros2_param.py", verb, NODE, *arguments) as process:
            code, out, err = process.end(None, 120)
        assert code == 0, (out, err)
        return out

    return run


def test_what_it_dumps_starts_the_same_node_and_can_be_loaded(world, tmp_path, ros2_param):
    file = tmp_path / "dump.yaml"
    with localizer(world, **near_start(), **{"refiner.threads": 2}) as node:
        file.write_text(ros2_param("dump"))
        loaded = [line for line in ros2_param("load", file).splitlines() if "successful" not in line]
        assert node.end(signal.SIGINT, 30)[0] == 0
    assert "null" not in file.read_text()
    # this one is rclpy's own, of every node
    assert [line for line in loaded if "start_type_description_service" not in line] == []
    parameters = yaml.safe_load(file.read_text())[NODE]["ros__parameters"]
    assert parameters["refiner"]["threads"] == 2 and parameters["initial_pose"]["x"] == 1000.3
    with Process(LOCALIZER, world / "bag", "--ros-args", "--params-file", file, *TOPICS) as again:
        assert ros2_param("dump") == file.read_text()
        assert again.end(signal.SIGINT, 30)[0] == 0


def test_it_describes_every_parameter(world, ros2_param):
    with localizer(world) as node:
        names = list(_names(yaml.safe_load(ros2_param("dump"))[NODE]["ros__parameters"]))
        told = ros2_param("describe", *names).split("Parameter name: ")[1:]
        assert node.end(signal.SIGINT, 30)[0] == 0
    bare = {text.split()[0] for text in told if "  Description: " not in text}
    assert len(told) == len(names) > 50 and bare <= {"use_sim_time", "start_type_description_service"}


def _names(tree, above=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _names(value, f"{above}{name}.")
        else:
            yield above + name
