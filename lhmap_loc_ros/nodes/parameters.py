# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from a pydantic model and back: the model says names, defaults, types and descriptions.

A field `radius` of a part `tracker` is the parameter `tracker.radius`.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from ..configuration import validate
from ..errors import ConfigError

_ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")

Model = TypeVar("Model", bound=BaseModel)


def declare(node: Node, model: type[Model], source: str) -> Model:
    """Declares a parameter for each field and returns the model filled from their values.

    Raises ConfigError, naming `source` and the parameter, for a missing, impossible or unknown one.
    """
    values = _values(node, model, "")
    _refuse_unknown(node, source)
    return validate(model, values, source)


def _values(node: Node, model: type[BaseModel], prefix: str) -> dict[str, Any]:
    values = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            values[name] = _values(node, field.annotation, f"{prefix}{name}.")
            continue
        default = None if field.is_required() else _plain(field.default)
        # any type, so that `1` will do for `1.0`; the model judges it
        descriptor = ParameterDescriptor(description=field.description or "", dynamic_typing=True, read_only=True)
        value = node.declare_parameter(f"{prefix}{name}", default, descriptor).value
        if value is not None:
            values[name] = list(value) if _is_array(value) else value
    return values


def _refuse_unknown(node: Node, source: str) -> None:
    """ROS takes any name and ignores those nobody declares: a slip in a file would never show."""
    given = getattr(node, "_parameter_overrides", {})
    unknown = [name for name in given if not node.has_parameter(name) and not name.startswith(_ROS_OWN)]
    if unknown:
        raise ConfigError(f"{source}: no such parameter: {', '.join(sorted(unknown))}")


def _plain(value: Any) -> Any:
    """A default as ROS parameters can hold it."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        # an empty tuple has no type a parameter could have
        return list(value) or None
    return value


def _is_array(value: Any) -> bool:
    return not isinstance(value, (str, bytes, bool, int, float))
