# SPDX-License-Identifier: Apache-2.0
"""ROS parameters and the configuration models they fill."""

import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import pytest
import rclpy
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_dict_from_yaml_file, parameter_value_to_python

from lhmap_loc_ros import live
from lhmap_loc_ros.configuration import validate
from lhmap_loc_ros.errors import ConfigError
from lhmap_loc_ros.live import Plan
from lhmap_loc_ros.localization.inputs import BagInputs
from lhmap_loc_ros.localization.offline import LocalizeConfig
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.nodes.localizer_config import LocalizerConfig
from lhmap_loc_ros.nodes.map_builder_node import MapBuilderConfig
from lhmap_loc_ros.nodes.parameter_files import check_files
from lhmap_loc_ros.nodes.parameters import Parameters, declare, fields_of
from lhmap_loc_ros.removed_settings import about

CONFIG = Path(__file__).parents[2] / "config"
WITHOUT_UNIT = {"tracker.measurement.gate_probability", "tracker.measurement.min_inlier_ratio"}
"""Shares."""


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


def test_frames_with_a_slash_and_paths_from_home_are_understood(read, monkeypatch):
    monkeypatch.setenv("HOME", "/home/robot")
    config = read(LocalizerConfig, map_path="~/campus.lhmap", base_frame_id="/base_link", odom_frame_id="/odom")
    assert (config.map_path, config.base_frame_id, config.odom_frame_id) == (
        "/home/robot/campus.lhmap", "base_link", "odom",
    )  # fmt: skip
    assert read(MapBuilderConfig, bag_path="~/bag", map_path="m").bag_path == "/home/robot/bag"


def test_values_reach_their_part(read):
    config = read(
        LocalizerConfig,
        map_path="m",
        initial_pose__x=12,
        tracker__motion__translation_per_metre=0.2,
        tracker__states__lost_after_s=5,
        refiner__threads=1,
    )
    assert (config.initial_pose.x, config.initial_pose.z) == (12.0, None)
    tracker = config.tracker
    assert (tracker.motion.translation_per_metre, tracker.states.lost_after_s, config.refiner.threads) == (0.2, 5.0, 1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "map_path"),
        ({"map_path": "m", "tf_child": "sideways"}, "tf_child.*sideways"),
        ({"map_path": "m", "tracker__motion__translation_per_metre": -1.0}, "tracker.motion.translation_per_metre"),
        ({"map_path": "m", "camera_in_base": [1.0, 2.0]}, "camera_in_base"),
        ({"map_path": "m", "camera_in_base": [0.0] * 7}, "camera_in_base.*norm zero"),
        ({"map_path": "m", "initial_sigma_m": float("inf")}, "initial_sigma_m"),
        ({"map_path": "m", "tracker__motion__noise": 1.0}, "no such parameter: tracker.motion.noise"),
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
    values = yaml.safe_load((CONFIG / file).read_text())[f"/**/{node}"]["ros__parameters"]
    config = read(model, **rest, **values)
    # what the files say is what happens without them
    assert config == model(**rest)


@pytest.fixture
def sealed(ros):
    """A node whose tracking may be changed, its parameters, and the configurations that came of it."""
    node = Node("sealed", context=ros.context, parameter_overrides=[Parameter("map_path", value="m")])
    parameters, seen = Parameters(node, LocalizerConfig, "node"), []
    parameters.seal(("tracker.", "initial_sigma"), seen.append)
    yield node, parameters, seen
    node.destroy_node()


def test_a_live_parameter_changes_and_the_whole_configuration_comes(sealed):
    node, parameters, seen = sealed
    (result,) = node.set_parameters([Parameter("initial_sigma_m", value=4)])
    assert result.successful and seen == [parameters.read()]
    assert seen[0].initial_sigma_m == 4.0 and seen[0].map_path == "m"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("map_path", "other", "map_path: read when the node is configured"),
        ("initial_sigma_m", "far", "initial_sigma_m.*far"),
        ("tracker.motion.translation_per_metre", 1e9, "range"),
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


@pytest.fixture
def started(tmp_path):
    """Starts a node with some ROS arguments, in a context of its own; gives its parameters."""
    contexts = []

    def start(*arguments, model=LocalizerConfig):
        context = rclpy.Context()
        rclpy.init(args=["--ros-args", *map(str, arguments)], context=context)
        node = Node("localizer_node", context=context)
        contexts.append((context, node))
        return node, Parameters(node, model, "node")

    yield start
    for context, node in contexts:
        node.destroy_node()
        context.try_shutdown()


def dumped(node, path):
    """What `ros2 param dump` writes: every parameter, by parts, in YAML."""
    tree = {}
    for name in sorted(node.list_parameters([], 0).names):
        *parts, last = name.split(".")
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = parameter_value_to_python(node.get_parameter(name).get_parameter_value())
    path.write_text(yaml.dump({node.get_fully_qualified_name(): {"ros__parameters": tree}}))
    return path


@pytest.mark.parametrize(
    "given",
    [
        ["map_path:=m"],
        ["map_path:=m", "initial_pose.z:=2.5", "refiner.threads:=2", "cameras:=['a','b']"],
        ["map_path:=m", "camera_in_base:=[1.0,0.0,1.5,0.0,0.0,0.0,1.0]"],
    ],
)
def test_what_param_dump_writes_starts_the_same_node_and_can_be_loaded(started, tmp_path, given):
    node, parameters = started(*(word for value in given for word in ("-p", value)))
    file = dumped(node, tmp_path / "dump.yaml")
    assert "null" not in file.read_text()
    _, again = started("--params-file", file)
    assert again.read() == parameters.read()
    parameters.seal(("tracker.",))
    loaded = [Parameter.from_parameter_msg(m) for m in parameter_dict_from_yaml_file(str(file)).values()]
    results = {p.name: node.set_parameters([p])[0] for p in loaded if not p.name.startswith(("qos_", "start_type"))}
    assert {name: r.reason for name, r in results.items() if not r.successful} == {}
    assert again.read() == parameters.read()


def test_a_builders_dump_starts_the_same_builder(started, tmp_path):
    given = ("-p", "bag_path:=b", "-p", "map_path:=m", "-p", "build.budget_mb_per_km:=nan")
    node, parameters = started(*given, model=MapBuilderConfig)
    assert parameters.read().build.budget_mb_per_km is None
    _, again = started("--params-file", dumped(node, tmp_path / "dump.yaml"), model=MapBuilderConfig)
    assert again.read() == parameters.read()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("refiner.near_passes", "refiner.near_passes is now refiner.max_iterations$"),
        ("tracker.crop_radius_m", "tracker.crop_radius_m is no setting any more, measurement decided it: 60 m"),
        ("path_poses", "path_poses is no setting any more"),
        ("tracker.measurement.bias_m", "tracker.measurement.bias_m is no setting any more, measurement decided it"),
        ("tracker.states.degraded_sigma_m", "tracker.states.degraded_sigma_m is 1.6 times tracker.states.tracking_s"),
        ("tracker.states.lost_rejections", "lost_rejections is no setting any more, measurement decided it: 12 images"),
        ("tracker.states.tracking_sigma_deg", "is 4 degrees for each metre of tracker.states.tracking_sigma_m$"),
        ("odometry_wait_s", "odometry_wait_s is no setting any more, measurement decided it: 0.1 s"),
        ("map_cloud_points", "map_cloud_points is no setting any more, measurement decided it: at most 300000 points"),
        ("diagnostics.min_rate_hz", "follows from tracker.states.lost_after_s: two images in a fifth of it$"),
        ("diagnostics.max_age_s", "diagnostics.max_age_s is a fifth of tracker.states.lost_after_s$"),
    ],
)
def test_a_parameter_of_an_earlier_version_is_refused_with_what_became_of_it(read, name, words):
    with pytest.raises(ConfigError, match=words) as refused:
        read(LocalizerConfig, map_path="m", **{name.replace(".", "__"): 1})
    assert "\n" not in str(refused.value) and "no such" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("build.chunk_s", "build.chunk_s: no longer a setting: measurement decided it"),
        ("build.poses_file", "build.poses_file: no longer a setting: `poses` is the path of the file"),
        ("map_cloud_points", "map_cloud_points is no setting any more, measurement decided it: at most 300000 points"),
    ],
)
def test_a_parameter_of_an_earlier_builder_is_refused_alike(read, name, words):
    with pytest.raises(ConfigError, match=words) as refused:
        read(MapBuilderConfig, bag_path="b", map_path="m", **{name.replace(".", "__"): 1})
    assert "no such" not in str(refused.value)


def test_a_setting_of_an_earlier_version_in_a_file_of_settings_is_refused_alike():
    with pytest.raises(ConfigError, match="mine.yaml: refiner.near_passes: is now refiner.max_iterations$"):
        validate(LocalizeConfig, {"refiner": {"near_passes": 3}}, "mine.yaml")


def test_no_name_that_is_gone_is_a_parameter():
    names = {name for model in (LocalizerConfig, MapBuilderConfig) for name, _ in fields_of(model)}
    assert {name for name in names if about(name) is not None} == set()
    assert not set(BuildConfig.removed) & set(BuildConfig.model_fields)


@pytest.mark.parametrize(
    ("model", "unit"), [(LocalizerConfig, r" \[\S.*\]$"), (MapBuilderConfig, r"\b(metres|megabytes per kilometre)\b")]
)
def test_every_description_stands_by_itself(model, unit):
    """Not empty, no reference to the one before it, of a quantity the unit, and of words those to choose from."""
    texts = {name: field.description or "" for name, field in fields_of(model)}
    assert len(set(texts.values())) == len(texts)
    for name, field in fields_of(model):
        text = texts[name]
        assert len(text) > 20, name
        assert not re.match(r"(and|as|the same|further)\b", text), (name, text)
        kinds = {field.annotation, *get_args(field.annotation)}
        if float in kinds and name not in WITHOUT_UNIT:
            assert re.search(unit, text), (name, text)
        choices = {word for word in get_args(field.annotation) if isinstance(word, str)}
        assert choices <= set(re.findall(r"\w+", text)), (name, text)


def test_the_parameter_file_shows_parameters_that_exist():
    """Those in comments too."""
    known = {name for name, _ in fields_of(LocalizerConfig)}
    parts = {name.split(".")[0] for name in known}
    lines = (CONFIG / "localizer.param.yaml").read_text().split("ros__parameters:")[1].splitlines()
    shown = {m[1] for line in lines if (m := re.match(r" {4}(?:# )?([a-z][\w.]*): ", line))}
    assert shown - known <= {"initial_pose"} & parts and len(shown) > 25


def test_descriptors_tell_range_and_meaning(sealed):
    node, *_ = sealed
    noise = node.describe_parameter("tracker.motion.translation_per_metre")
    assert "odometry" in noise.description and noise.floating_point_range[0].to_value == 1.0
    assert 0 < noise.floating_point_range[0].from_value < 1e-300
    iterations = node.describe_parameter("refiner.max_iterations").integer_range[0]
    assert (iterations.from_value, iterations.to_value) == (1, 8)
    assert not node.describe_parameter("map_path").floating_point_range


def test_a_description_is_one_line_however_long(started):
    node, _ = started("-p", "bag_path:=b", "-p", "map_path:=m", model=MapBuilderConfig)
    assert "0.1, or 0.15 for a budget below 2 MB/km." in node.describe_parameter("build.voxel_m").description


def test_a_live_run_hands_the_settings_of_the_camera_over(started, tmp_path):
    mount = (1.0, 0.0, 1.5, 0.0, 0.0, 0.0, 1.0)
    told = BagInputs(rectified=True, image_delay_s=0.03, camera_in_base=mount, camera_info="c.yaml")
    for inputs in (told, BagInputs()):
        file = tmp_path / "live.yaml"
        plan = Plan(0, 1, 1.0, (), "/odom", "", False)
        file.write_text(live._parameters(LocalizeConfig(inputs=inputs), "m", plan))
        config = started("--params-file", file)[1].read()
        assert (config.rectified, config.image_delay_s, config.camera_in_base) == (
            inputs.rectified, inputs.image_delay_s, inputs.camera_in_base,
        )  # fmt: skip
        assert config.camera_info_url == (inputs.camera_info if inputs.camera_info.endswith(".yaml") else "")


def test_the_page_of_the_interface_lists_every_parameter():
    tool = Path(__file__).parents[2] / "tools" / "interface.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, cwd=tool.parents[1])
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("localizer_node: {ros__parameters: {}}", "/robot1/localizer_node; /\\*\\*/localizer_node"),
        ("/robot2/localizer_node: {ros__parameters: {}}", "robot2.*/robot1/localizer_node"),
        ("robot2: {localizer_node: {ros__parameters: {}}}", "is for /robot2/localizer_node"),
        ("/**: {ros__parameters: {}}", None),
        ("/**/localizer_node: {ros__parameters: {}}", None),
        # as launch writes a list; and what comes twice is merged by ROS
        ("/**: {ros__parameters: {cameras: !!python/tuple [left, right]}}\n/**: {ros__parameters: {a: 1}}", None),
        ("/*/localizer_node: {ros__parameters: {}}", None),
        ("robot1: {localizer_node: {ros__parameters: {}}}", None),
        ("planner: {ros__parameters: {}}", None),
    ],
)
def test_a_file_for_a_node_of_another_name_is_told(ros, tmp_path, text, words):
    node = Node("localizer_node", namespace="/robot1", context=ros.context)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=words) if words else nullcontext():
        check_files(node, "localizer_node", ["node", "--ros-args", "--params-file", str(file)])
    node.destroy_node()
