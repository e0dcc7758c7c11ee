# SPDX-License-Identifier: Apache-2.0
"""`ros2 param` on a localizer that runs, where ros2cli is: what it dumps starts the same node, and can be loaded."""

import signal

import pytest
import yaml
from helpers import FOLDER
from helpers.localizer_runs import LOCALIZER, TOPICS, localizer, near_start
from helpers.ros_side import Process

NODE = "/localizer_node"


@pytest.fixture(scope="module")
def asked(world, tmp_path_factory):
    """What `ros2 param` dumps of a localizer, and says of loading that and of each parameter; and the file."""
    pytest.importorskip("ros2param")
    file = tmp_path_factory.mktemp("dump") / "dump.yaml"
    with localizer(world, **near_start(), **{"refiner.threads": 2}) as node:
        file.write_text(ros2_param("dump"))
        parameters = yaml.safe_load(file.read_text())[NODE]["ros__parameters"]
        said = ros2_param("load", file), ros2_param("describe", *names_in(parameters))
        assert node.end(signal.SIGINT, 30)[0] == 0
    return file, parameters, *said


def ros2_param(verb, *arguments):
    """What `ros2 param VERB NODE ...` prints of the localizer."""
    with Process(FOLDER / "ros2_param.py", verb, NODE, *arguments) as process:
        code, out, err = process.end(None, 120)
    assert code == 0, (out, err)
    return out


def names_in(tree, above=""):
    """The names of the parameters in parts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from names_in(value, f"{above}{name}.")
        else:
            yield above + name


def test_what_it_dumps_starts_the_same_node(world, asked):
    file, parameters, *_ = asked
    assert parameters["refiner"]["threads"] == 2 and parameters["initial_pose"]["x"] == 1000.3
    assert "null" not in file.read_text()
    with Process(LOCALIZER, world / "bag", "--ros-args", "--params-file", file, *TOPICS) as again:
        assert ros2_param("dump") == file.read_text()
        assert again.end(signal.SIGINT, 30)[0] == 0


def test_what_it_dumps_can_be_loaded(asked):
    # the last is rclpy's own, of every node
    refused = [line for line in asked[2].splitlines() if "successful" not in line]
    assert len(refused) < 2 and all("start_type_description_service" in line for line in refused)


def test_it_describes_every_parameter(asked):
    _, parameters, _, described = asked
    told = described.split("Parameter name: ")[1:]
    bare = {text.split()[0] for text in told if "  Description: " not in text}
    assert len(told) == len(list(names_in(parameters))) > 40
    assert bare <= {"use_sim_time", "start_type_description_service"}
