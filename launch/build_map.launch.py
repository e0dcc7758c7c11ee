# SPDX-License-Identifier: Apache-2.0
"""Builds a map from a bag: ros2 launch lhmap_loc_ros build_map.launch.py bag:=mapping map:=campus.lhmap"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    argument = LaunchConfiguration
    return LaunchDescription(
        [
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the node"),
            DeclareLaunchArgument("bag", description="bag of the mapping run"),
            DeclareLaunchArgument("map", description="path of the map to write"),
            DeclareLaunchArgument(
                "params",
                default_value=PathJoinSubstitution(
                    [FindPackageShare("lhmap_loc_ros"), "config", "map_builder.param.yaml"]
                ),
                description="parameter file",
            ),
            Node(
                package="lhmap_loc_ros",
                executable="map_builder_node",
                name="map_builder_node",
                namespace=argument("namespace"),
                output="screen",
                parameters=[
                    argument("params"),
                    {
                        "bag_path": ParameterValue(argument("bag"), value_type=str),
                        "map_path": ParameterValue(argument("map"), value_type=str),
                    },
                ],
            ),
        ]
    )
