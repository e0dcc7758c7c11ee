# SPDX-License-Identifier: Apache-2.0
"""ROS parameters and the configuration models they fill."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from lhmap_loc_ros.errors import ConfigError
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
from lhmap_loc_ros.nodes.map_builder_node import MapBuilderConfig
from lhmap_loc_ros.nodes.parameters import Parameters, declare

CONFIG = Path(__file__).parents[2] / "config"


@pytest.fixture
def read(ros):
    """Reads a model from a node that was given some parameters."""
    nodes = []

    def read(model, **values):
        overrides = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        nodes.append(Node(f"node_{len(nodes)}", context=ros.context, parameter_overrides=overrides))
        return declare(nodes[-1], model, "node")

    yield read
    for node in nodes:
        node.destroy_node()


def test_defaults_are_those_of_the_model(read):
    assert read(LocalizerConfig, map_path="m") == LocalizerConfig(map_path="m")


def test_values_reach_their_part(read):
    config = read(
        LocalizerConfig,
        map_path="m",
        initial_pose__x=12,
        tracker__crop_radius_m=40,
        tracker__states__confirmations=5,
        refiner__threads=1,
    )
    assert (config.initial_pose.x, config.initial_pose.z) == (12.0, None)
    assert (config.tracker.crop_radius_m, config.tracker.states.confirmations, config.refiner.threads) == (40.0, 5, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "map_path"),
        ({"map_path": "m", "tf_child": "sideways"}, "tf_child.*sideways"),
        ({"map_path": "m", "tracker__crop_radius_m": -1.0}, "tracker.crop_radius_m"),
        ({"map_path": "m", "camera_in_base": [1.0, 2.0]}, "camera_in_base"),
        ({"map_path": "m", "camera_in_base": [0.0] * 7}, "camera_in_base.*norm zero"),
        ({"map_path": "m", "refiner__settled_m": float("inf")}, "refiner.settled_m"),
        ({"map_path": "m", "tracker__crop_radius": 1.0}, "no such parameter: tracker.crop_radius"),
    ],
)
def test_what_is_missing_impossible_or_misspelt_is_named(read, values, words):
    with pytest.raises(ConfigError, match=words):
        read(LocalizerConfig, **values)


@pytest.mark.parametrize(
    ("file", "node", "model", "rest"),
    [
        ("localizer.param.yaml", "localizer_node", LocalizerConfig, {"map_path": "m"}),
        ("map_builder.param.yaml", "map_builder_node", MapBuilderConfig, {"bag_path": "b", "map_path": "m"}),
    ],
)
def test_the_parameter_files_fit_the_nodes(read, file, node, model, rest):
    values = yaml.safe_load((CONFIG / file).read_text())[node]["ros__parameters"]
    config = read(model, **rest, **values)
    # what the files say is what happens without them
    assert config == model(**rest)


@pytest.fixture
def sealed(ros):
    """A node whose tracking may be changed, its parameters, and the configurations that came of it."""
    node = Node("sealed", context=ros.context, parameter_overrides=[Parameter("map_path", value="m")])
    parameters, seen = Parameters(node, LocalizerConfig, "node"), []
    parameters.seal(("tracker.",), seen.append)
    yield node, parameters, seen
    node.destroy_node()


def test_a_live_parameter_changes_and_the_whole_configuration_comes(sealed):
    node, parameters, seen = sealed
    (result,) = node.set_parameters([Parameter("tracker.crop_radius_m", value=45)])
    assert result.successful and seen == [parameters.read()]
    assert seen[0].tracker.crop_radius_m == 45.0 and seen[0].map_path == "m"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("map_path", "other", "map_path: read when the node is configured"),
        ("tracker.crop_radius_m", "far", "crop_radius_m.*far"),
        ("tracker.crop_radius_m", 1e9, "range"),
        ("tracker.coarse", "sometimes", "coarse.*sometimes"),
    ],
)
def test_a_change_that_is_refused_says_why_and_changes_nothing(sealed, name, value, words):
    node, parameters, seen = sealed
    before = parameters.read()
    (result,) = node.set_parameters([Parameter(name, value=value)])
    assert not result.successful and re.search(words, result.reason)
    assert not seen and parameters.read() == before


def test_an_unsealed_parameter_changes_until_it_is_read(sealed):
    node, parameters, seen = sealed
    parameters.unseal()
    assert node.set_parameters([Parameter("map_path", value="other")])[0].successful
    assert parameters.read().map_path == "other" and not seen


def test_descriptors_tell_range_and_meaning(sealed):
    node, *_ = sealed
    radius = node.describe_parameter("tracker.crop_radius_m")
    assert "map" in radius.description and radius.floating_point_range[0].to_value == 1000.0
    assert radius.floating_point_range[0].from_value == pytest.approx(1.0)
    confirmations = node.describe_parameter("tracker.states.confirmations").integer_range[0]
    assert (confirmations.from_value, confirmations.to_value) == (1, 100)
    assert not node.describe_parameter("map_path").floating_point_range


def test_the_page_of_the_interface_lists_every_parameter():
    tool = Path(__file__).parents[2] / "tools" / "interface.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, cwd=tool.parents[1])
    assert (done.returncode, done.stderr) == (0, "")
