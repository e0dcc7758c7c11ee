# SPDX-License-Identifier: Apache-2.0
"""Runs a launch file as `ros2 launch` does: python THIS FILE [NAME:=VALUE ...]; what was started is printed.

Several times at once, each with its arguments, where a "+" stands between them.
"""

import sys

from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.launch_description_sources import PythonLaunchDescriptionSource

started = OnProcessStart(on_start=lambda event, context: print("started", event.process_name, *event.cmd, flush=True))
path, *arguments = sys.argv[1:]
includes = [
    IncludeLaunchDescription(
        PythonLaunchDescriptionSource(path), launch_arguments=[tuple(a.split(":=", 1)) for a in group.split()]
    )
    for group in " ".join(arguments).split("+")
]
service = LaunchService(argv=arguments)
service.include_launch_description(LaunchDescription([RegisterEventHandler(started), *includes]))
sys.exit(service.run())
