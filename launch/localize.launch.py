# SPDX-License-Identifier: Apache-2.0
"""Localizes a camera: ros2 launch lhmap_loc_ros localize.launch.py map:=campus.lhmap image:=/camera/image_raw ...

The node starts by itself; with lifecycle:=true nav2's lifecycle manager brings it up and down. With namespace:=robot1
topics, services and TF are those of that robot, as nav2 has it.
"""

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, NotSubstitution, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from lhmap_loc_ros.processes import PROFILES, image_profiles

OPTIONAL = {"rviz": "rviz2", "lifecycle": "nav2_lifecycle_manager"}
"""Arguments that need a package which may not be installed."""
TF = [("/tf", "tf"), ("/tf_static", "tf_static")]


def resolve_optional(context):
    """Before anything starts: what is missing then would leave the localizer behind, alone."""
    for name, package in OPTIONAL.items():
        if IfCondition(LaunchConfiguration(name)).evaluate(context):
            try:
                get_package_prefix(package)
            except PackageNotFoundError:
                apt = f"ros-$ROS_DISTRO-{package.replace('_', '-')}"
                raise RuntimeError(f"{name}:=true needs the package {package}: sudo apt install {apt}") from None


def generate_launch_description():
    share = FindPackageShare("lhmap_loc_ros")
    argument = LaunchConfiguration
    return LaunchDescription(
        [
            DeclareLaunchArgument("map", description="path of the map, from `lhmap build`"),
            DeclareLaunchArgument(
                "params",
                default_value=PathJoinSubstitution([share, "config", "localizer.param.yaml"]),
                description="parameter file",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the robot"),
            DeclareLaunchArgument("image", default_value="camera/image_raw", description="topic of the images"),
            DeclareLaunchArgument(
                "camera_info", default_value="camera/camera_info", description="topic of the calibration"
            ),
            DeclareLaunchArgument("odometry", default_value="odom", description="topic of the odometry"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="true while a bag is played"),
            DeclareLaunchArgument(
                "lifecycle", default_value="false", description="true: a lifecycle manager of nav2 starts the node"
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="true opens RViz"),
            DeclareLaunchArgument(
                "dds_profiles",
                default_value=EnvironmentVariable(PROFILES, default_value=image_profiles()),
                description="Fast DDS profiles; the camera driver should have the same, see docs/tuning.md",
            ),
            OpaqueFunction(function=resolve_optional),
            SetEnvironmentVariable(PROFILES, argument("dds_profiles")),
            Node(
                package="lhmap_loc_ros",
                executable="localizer_node",
                name="localizer_node",
                namespace=argument("namespace"),
                output="screen",
                parameters=[
                    argument("params"),
                    {
                        "map_path": ParameterValue(argument("map"), value_type=str),
                        "use_sim_time": ParameterValue(argument("use_sim_time"), value_type=bool),
                        "autostart": ParameterValue(NotSubstitution(argument("lifecycle")), value_type=bool),
                    },
                ],
                remappings=[
                    *TF,
                    ("image", argument("image")),
                    ("image/compressed", [argument("image"), "/compressed"]),
                    ("camera_info", argument("camera_info")),
                    ("odometry", argument("odometry")),
                ],
            ),
            Node(
                package="nav2_lifecycle_manager",
                executable="lifecycle_manager",
                name="lifecycle_manager_localization",
                namespace=argument("namespace"),
                output="screen",
                # no bond: there is none for nodes in Python
                parameters=[{"autostart": True, "bond_timeout": 0.0, "node_names": ["localizer_node"]}],
                condition=IfCondition(argument("lifecycle")),
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=argument("namespace"),
                remappings=TF,
                arguments=["-d", PathJoinSubstitution([share, "config", "localize.rviz"])],
                parameters=[{"use_sim_time": ParameterValue(argument("use_sim_time"), value_type=bool)}],
                condition=IfCondition(argument("rviz")),
            ),
        ]
    )
