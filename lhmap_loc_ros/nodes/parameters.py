# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from a pydantic model and back: the model says names, defaults, types, ranges and descriptions.

A field `radius` of a part `tracker` is the parameter `tracker.radius`. What is unset has a value all the same, so that
`ros2 param dump` writes what can be read again: `[]` for an array, `nan` for a number, "" for a text.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from ..configuration import became, validate
from ..errors import ConfigError
from .parameter_files import check_files

_ROS_OWN = ("use_sim_time", "start_type_description_service", "qos_overrides.")
_LARGEST_INTEGER = 2**63 - 1

Model = TypeVar("Model", bound=BaseModel)


def declare(node: Node, model: type[Model], source: str) -> Model:
    """Declares a parameter for each field and returns the model filled from their values; none may change later.

    Raises ConfigError, naming `source` and the parameter, for a missing, impossible or unknown one.
    """
    parameters = Parameters(node, model, source)
    parameters.seal()
    return parameters.read()


class Parameters(Generic[Model]):
    """The parameters of a node, one for each field of a model, and only values that the model accepts."""

    def __init__(self, node: Node, model: type[Model], source: str):
        """Declares them; raises ConfigError for one out of range or unknown, and for a file for a node of another name.

        `source` is the node's usual name, for the messages.
        """
        self._node, self._model, self._source = node, model, source
        self._fields = dict(fields_of(model))
        self._live: tuple[str, ...] | None = None
        self._changed: Callable[[Model], None] = lambda config: None
        given = getattr(node, "_parameter_overrides", {})
        for name, field in self._fields.items():
            # ROS reads an empty array in a file as no value
            empty = name in given and given[name].value is None
            default = [] if empty and _takes_array(field) else _default(field)
            try:
                node.declare_parameter(name, default, _descriptor(field), ignore_override=empty)
            except InvalidParameterValueException as error:
                raise ConfigError(f"{source}: {name}: {error}") from None
        check_files(node, source, sys.argv)
        self._refuse_unknown()
        node.add_on_set_parameters_callback(self._on_set)

    def read(self) -> Model:
        """The model filled from the values; raises ConfigError for a missing or impossible one."""
        return self._validate({})

    def seal(self, live: tuple[str, ...] = (), changed: Callable[[Model], None] = lambda config: None) -> None:
        """From now on only parameters may change whose names begin with one of `live`; `changed` gets the new model."""
        self._live, self._changed = live, changed

    def unseal(self) -> None:
        """All may change again, to be read later."""
        self._live = None

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        # what stays as it is may be set at any time: `ros2 param load` sets all there is in a file
        own = {p.name: p.value for p in parameters if p.name in self._fields and not self._is_same(p.name, p.value)}
        if not own or self._live is None:
            return SetParametersResult(successful=True)
        fixed = [name for name in own if not name.startswith(self._live)]
        if fixed:
            reason = f"{', '.join(fixed)}: read when the node is configured, and fixed until it is cleaned up"
            return SetParametersResult(successful=False, reason=reason)
        try:
            self._changed(self._validate(own))
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _validate(self, changes: dict[str, Any]) -> Model:
        nested: dict[str, Any] = {}
        for name, field in self._fields.items():
            value = _meant(changes[name] if name in changes else self._node.get_parameter(name).value, field)
            if value is not _LEFT_OUT:
                *parts, last = name.split(".")
                place = nested
                for part in parts:
                    place = place.setdefault(part, {})
                place[last] = value
        return validate(self._model, nested, self._source)

    def _is_same(self, name: str, value: Any) -> bool:
        field = self._fields[name]
        before, now = _meant(self._node.get_parameter(name).value, field), _meant(value, field)
        return before == now and (isinstance(before, bool) is isinstance(now, bool))

    def _refuse_unknown(self) -> None:
        """ROS takes any name and ignores those that are not declared: a slip in a file would never show."""
        given = getattr(self._node, "_parameter_overrides", {})
        unknown = [n for n in given if not self._node.has_parameter(n) and not n.startswith(_ROS_OWN)]
        if unknown:
            never = [name for name in sorted(unknown) if became(self._model, name) is None]
            told = [str(became(self._model, name)) for name in sorted(unknown) if name not in never]
            if never:
                told.insert(0, f"no such parameter: {', '.join(never)}")
            raise ConfigError(f"{self._source}: {'; '.join(told)}")


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Parameter names and fields, those of parts included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _descriptor(field: FieldInfo) -> ParameterDescriptor:
    # any type, so that `1` will do for `1.0`; the model judges it
    description = " ".join((field.description or "").split())
    descriptor = ParameterDescriptor(description=description, dynamic_typing=True)
    low, high = _bounds(field)
    if (low is None and high is None) or _takes_none(field):  # no range of ROS has `nan` in it
        return descriptor
    kinds = getattr(field.annotation, "__args__", (field.annotation,))
    if int in kinds:
        low, high = -_LARGEST_INTEGER if low is None else low, _LARGEST_INTEGER if high is None else high
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    elif float in kinds:
        low, high = -math.inf if low is None else low, math.inf if high is None else high
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor


def _bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    """The least and the greatest value, None where there is none; of an open bound the next value beside it."""
    low: Any = None
    high: Any = None
    for limit in field.metadata:
        # annotated_types knows of bounds only that they can be compared
        value: Any
        if isinstance(limit, annotated_types.Ge):
            low = limit.ge
        elif isinstance(limit, annotated_types.Gt):
            value = limit.gt
            low = value + 1 if field.annotation is int else math.nextafter(value, math.inf)
        elif isinstance(limit, annotated_types.Le):
            high = limit.le
        elif isinstance(limit, annotated_types.Lt):
            value = limit.lt
            high = value - 1 if field.annotation is int else math.nextafter(value, -math.inf)
    return low, high


def _default(field: FieldInfo) -> Any:
    """A default as ROS parameters can hold it."""
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if value is None:
        if _takes_array(field):
            return []
        return math.nan if {int, float} & set(get_args(field.annotation)) else ""
    return list(value) if isinstance(value, tuple) else value


def _meant(value: Any, field: FieldInfo) -> Any:
    """What the value of a parameter says of its field; `_LEFT_OUT` where it says nothing."""
    array = _takes_array(field)
    if isinstance(value, str) and value in _UNSET_WORDS and (array or _takes_none(field)):
        value = None  # `null` in a file of parameters is this text
    elif value is None and not array:  # declared without a value elsewhere
        return _LEFT_OUT
    elif (value == "" or value != value) and _takes_none(field):
        return None
    elif value == "" and field.is_required():
        return _LEFT_OUT
    if array and (value is None or _is_array(value)):
        return list(value or ()) or (None if _takes_none(field) else [])
    return value


_LEFT_OUT = object()
_UNSET_WORDS = ("null", "nan", "none", "~")


def _takes_none(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def _takes_array(field: FieldInfo) -> bool:
    kinds = (field.annotation, *get_args(field.annotation))
    return any(get_origin(kind) is tuple for kind in kinds)


def _is_array(value: Any) -> bool:
    return not isinstance(value, (str, bytes, bool, int, float))
