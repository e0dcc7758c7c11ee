# SPDX-License-Identifier: Apache-2.0
"""Typed configuration from YAML: one frozen pydantic model per part, and errors that name the field."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from .errors import ConfigError
from .removed_settings import about


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown field is an error rather than ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    removed: ClassVar[dict[str, str]] = {}
    """Fields of earlier versions, and what to do about each: the message for a file that still has one."""

    @model_validator(mode="before")
    @classmethod
    def _as_people_write_it(cls, values: Any) -> Any:
        """Frames lose the leading slash, which tf2 does not know, and paths the `~` of the home folder."""
        if not isinstance(values, dict):
            return values
        return {name: _plain(name, value) for name, value in values.items()}


_TOLD = 3
"""So many wrong fields are told."""
Model = TypeVar("Model", bound=BaseModel)
Pose = tuple[float, float, float, float, float, float, float]
"""A pose in settings: x y z [m] and the quaternion qx qy qz qw."""


def _plain(name: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if re.search(r"(^|_)frame(_id)?$", str(name)):
        return value.lstrip("/")
    # a topic may begin with ~, which is the node's name there
    if re.search(r"(^|_)(path|file|folder|model|models)$", str(name)) and value.startswith("~"):
        return os.path.expanduser(value)
    return value


def check_pose(value: Pose | None) -> Pose | None:
    """For validators of fields of type `Pose`; raises ValueError for a quaternion of norm zero."""
    if value is not None and not any(value[3:]):
        raise ValueError("quaternion of norm zero found, expected x y z qx qy qz qw")
    return value


def validate(model: type[Model], values: dict[str, Any] | None, source: str = "configuration") -> Model:
    """The configuration `model` filled from `values`; raises ConfigError naming `source` and each wrong field."""
    try:
        return model.model_validate(values or {})
    except ValidationError as error:
        issues = error.errors()
        problems = [f"{_field(issue['loc'])}: {_wrong(model, issue)}" for issue in issues[:_TOLD]]
        if len(issues) > _TOLD:
            problems.append(f"{len(issues) - _TOLD} more")
        raise ConfigError(f"{source}: " + "; ".join(problems)) from None


class _OfLaunch(yaml.SafeLoader):
    """Reads the files that launch writes, too: lists are tuples of Python there."""


_OfLaunch.add_constructor("tag:yaml.org,2002:python/tuple", yaml.SafeLoader.construct_yaml_seq)


class _Loader(yaml.SafeLoader):
    """Refuses a name that comes twice: the later would take the place of the earlier without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = [name for k, name in enumerate(names) if name in names[:k]]
        if twice:
            line = node.start_mark.line + 1
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} found twice in the part at line {line}")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, path: Path | str, of_ros: bool = False) -> dict[str, Any]:
    """The mapping in YAML text (empty for an empty one) of a file; raises ConfigError if it holds anything else.

    In a file of ROS parameters (`of_ros`) names may come twice.
    """
    try:
        values = yaml.load(text, _OfLaunch if of_ros else _Loader)
    except (yaml.YAMLError, ValueError) as error:  # the latter for a day that is none, as 2024-02-30
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected fields and values")
    return values


def read_yaml(path: Path | str) -> dict[str, Any]:
    """The mapping in a YAML file (empty for an empty file); raises ConfigError if it holds anything else."""
    return parse_yaml(read_text(path), path)


def read_text(path: Path | str) -> str:
    """The text of a file; raises ConfigError if it cannot be read, or is none."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is no text in UTF-8: {error}") from None


def load(model: type[Model], path: Path | str | None, section: str | None = None) -> Model:
    """The configuration `model` from a YAML file, or from its `section`; the defaults if `path` is None.

    Raises ConfigError for an unreadable file, an unknown field or an impossible value.
    """
    if path is None:
        return validate(model, {})
    values = read_yaml(path)
    if section is None:
        return validate(model, values, str(path))
    part = values.get(section, {})
    if not isinstance(part, dict):
        raise ConfigError(f"{path}: {section} is {part!r}, expected fields and values")
    return validate(model, part, f"{path}: {section}")


def dump(config: BaseModel) -> str:
    """The configuration as YAML text, every field written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _field(location: tuple) -> str:
    return ".".join(str(part) for part in location) or "value"


def became(model: type[BaseModel], name: str) -> str | None:
    """A sentence about a field of an earlier version, by its full name, and what to do; None for one that never was."""
    sentence = about(name)
    if sentence is not None:
        return f"{name} {sentence}"
    *parents, last = name.split(".")
    advice = getattr(_part(model, parents), "removed", {}).get(last)
    return None if advice is None else f"{name}: {advice}"


def _part(model: Any, parents: Sequence[Any]) -> Any:
    """The part of a configuration that names of fields lead to; None if they do not lead to one."""
    for part in parents:
        field = getattr(model, "model_fields", {}).get(part)
        model = None if field is None else field.annotation
    return model


def _not_a_field(model: type[BaseModel], parents: list, name: Any) -> str:
    """What is wrong with a field `name` of the part that `parents` lead to, where these are names of configurations."""
    part = _part(model, parents)
    if name in getattr(part, "removed", {}):
        return part.removed[name]
    hint = "a file of ROS parameters is for nodes; " if str(name).endswith("_node") else ""
    fields = getattr(part, "model_fields", {})
    return f"{hint}no such field" + (f", expected {', '.join(fields)}" if fields else "")


def _wrong(model: type[BaseModel], issue: dict) -> str:
    """What was found and what was expected."""
    if issue["type"] == "extra_forbidden":
        removed = about(_field(issue["loc"]))
        if removed is not None:
            return removed
        *parents, name = issue["loc"]
        return _not_a_field(model, parents, name)
    value = issue.get("input")
    found = f"found {value!r}, " if isinstance(value, (int, float, str, bool)) else ""
    return found + issue["msg"]
