# SPDX-License-Identifier: Apache-2.0
"""Whether the files of parameters that a process was started with are meant for its node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rclpy.node import Node

from ..configuration import parse_yaml, read_text
from ..errors import ConfigError

_FLAG = "--params-file"


def check_files(node: Node, kind: str, arguments: Sequence[str]) -> None:
    """Raises ConfigError for a file for a node of this `kind` (its usual name) of another name or namespace.

    ROS would leave such a file out without a word. `arguments` are those of the process. A file that is for other nodes
    alone is logged.
    """
    name = node.get_fully_qualified_name()
    for file in [after for flag, after in zip(arguments, arguments[1:], strict=False) if flag == _FLAG]:
        keys = list(_nodes_in(parse_yaml(read_text(file), file, of_ros=True)))
        if not keys or any(_is_for(key, name) for key in keys):
            continue
        found = f"{file}: is for {', '.join(keys)}, but this node is {name}"
        if any(key.rpartition("/")[2] in (kind, node.get_name()) for key in keys):
            raise ConfigError(f"{found}; /**/{node.get_name()} is for it in any namespace")
        node.get_logger().warning(f"{found}: nothing of it is used")


def _nodes_in(values: dict, above: str = "") -> Iterator[str]:
    """The names of nodes in a file, each with its namespace."""
    for key, value in values.items():
        if key == "ros__parameters":
            yield above
        elif isinstance(value, dict):
            yield from _nodes_in(value, f"{above}/{str(key).strip('/')}")


def _is_for(key: str, name: str) -> bool:
    parts = ({"**": r"(/\w+)*", "*": r"/\w+"}.get(part, f"/{re.escape(part)}") for part in key.strip("/").split("/"))
    return re.fullmatch("".join(parts), name) is not None
