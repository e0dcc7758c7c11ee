# SPDX-License-Identifier: Apache-2.0
"""Entry points of the nodes, as `ros2 run` and launch files start them: Ctrl-C ends them from the first moment on.

What a node needs takes a second to import, in which Python would answer a signal with a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module

from ..extras import missing


def _start(module: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # at once: there is nothing to clean up until the node handles signals itself
        signal.signal(number, lambda *_: os._exit(0))
    try:
        main = import_module(f".{module}", __package__).main
    except ModuleNotFoundError as error:
        if not (line := missing(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(2)
    main()


def localizer_node() -> None:
    """`ros2 run lhmap_loc_ros localizer_node`."""
    _start("localizer_node")


def map_builder_node() -> None:
    """`ros2 run lhmap_loc_ros map_builder_node`."""
    _start("map_builder_node")


def player_node() -> None:
    """`ros2 run lhmap_loc_ros player_node BAG`."""
    _start("player_node")


def recorder_node() -> None:
    """`ros2 run lhmap_loc_ros recorder_node FILE`."""
    _start("recorder")
