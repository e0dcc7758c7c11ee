# SPDX-License-Identifier: Apache-2.0
"""Localizes a camera: ros2 launch lhmap_loc_ros localize.launch.py map:=campus.lhmap image:=/camera/image_raw ...

The node starts by itself; with lifecycle:=true nav2's lifecycle manager brings it up and down.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration, NotSubstitution, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from lhmap_loc_ros.processes import PROFILES, image_profiles


def generate_launch_description():
    share = FindPackageShare("lhmap_loc_ros")
    argument = LaunchConfiguration
    return LaunchDescription(
        [
            DeclareLaunchArgument("map", description="LHMap file, from `lhmap build`"),
            DeclareLaunchArgument(
                "params",
                default_value=PathJoinSubstitution([share, "config", "localizer.param.yaml"]),
                description="parameter file",
            ),
            DeclareLaunchArgument("image", default_value="/camera/image_raw", description="topic of the images"),
            DeclareLaunchArgument("camera_info", default_value="/camera/camera_info", description="their calibration"),
            DeclareLaunchArgument("odometry", default_value="/odom", description="topic of the odometry"),
            DeclareLaunchArgument("use_sim_time", default_value="false", description="true while a bag is played"),
            DeclareLaunchArgument(
                "lifecycle", default_value="false", description="true: nav2 starts it"
            ),
            DeclareLaunchArgument("rviz", default_value="false", description="true opens RViz"),
            DeclareLaunchArgument(
                "dds_profiles",
                default_value=EnvironmentVariable(PROFILES, default_value=image_profiles()),
                description="Fast DDS profiles; the camera driver should have the same, see docs/tuning.md",
            ),
            SetEnvironmentVariable(PROFILES, argument("dds_profiles")),
            Node(
                package="lhmap_loc_ros",
                executable="localizer_node",
                name="localizer_node",
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
                output="screen",
                # no bond: there is none for nodes in Python
                parameters=[{"autostart": True, "bond_timeout": 0.0, "node_names": ["localizer_node"]}],
                condition=IfCondition(argument("lifecycle")),
            ),
            Node(
                package="rviz2",
                executable="rviz2",
                arguments=["-d", PathJoinSubstitution([share, "config", "localize.rviz"])],
                parameters=[{"use_sim_time": ParameterValue(argument("use_sim_time"), value_type=bool)}],
                condition=IfCondition(argument("rviz")),
            ),
        ]
    )
