# SPDX-License-Identifier: Apache-2.0
"""Plays a bag to a localizer: ros2 launch lhmap_loc_ros replay.launch.py bag:=query map:=campus.lhmap

The player waits for the localizer; where one of them ends, everything does. In a map with places or learned
coordinates the start is found; else tell it by a parameter file (initial_pose) or RViz's 2D Pose Estimate. Topics of
the bag with other names are told as in localize.launch.py: image:=/front/image_raw ...
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def is_localizer(action):
    """Whether a process is the localizer, which localize.launch.py starts."""
    return isinstance(action, Node) and action.node_executable == "localizer_node"


def end_with(process):
    """Ends everything when a process does."""
    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=[EmitEvent(event=Shutdown())]))


def generate_launch_description():
    share = FindPackageShare("lhmap_loc_ros")
    argument = LaunchConfiguration
    player = Node(
        package="lhmap_loc_ros",
        executable="player_node",
        output="screen",
        arguments=[argument("bag"), "--rate", argument("rate"), "--wait", argument("wait")],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("bag", description="rosbag2 bag with images, calibration and odometry"),
            DeclareLaunchArgument("map", description="path of the map"),
            DeclareLaunchArgument("rate", default_value="1.0", description="times the speed of the recording"),
            DeclareLaunchArgument("wait", default_value="60.0", description="begin after this time at the latest [s]"),
            DeclareLaunchArgument(
                "params",
                default_value=PathJoinSubstitution([share, "config", "localizer.param.yaml"]),
                description="parameter file of the localizer",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="namespace of the robot, as in the bag"),
            DeclareLaunchArgument("rviz", default_value="false", description="true opens RViz"),
            # before either runs: one that cannot start ends at once
            end_with(is_localizer),
            end_with(player),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(PathJoinSubstitution([share, "launch", "localize.launch.py"])),
                launch_arguments={
                    "map": argument("map"),
                    "params": argument("params"),
                    "namespace": argument("namespace"),
                    "use_sim_time": "true",
                    "rviz": argument("rviz"),
                }.items(),
            ),
            player,
        ]
    )
