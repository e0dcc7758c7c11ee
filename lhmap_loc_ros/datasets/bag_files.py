# SPDX-License-Identifier: Apache-2.0
"""Opening bags, also those of which a part is missing or of another middleware."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path

import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import storage_mcap
from rosbags.typesys import Stores, get_typestore

from ..errors import BagError

_STORAGES = (".mcap", ".db3")
_log = logging.getLogger(__name__)
_msgdef_of_ros = storage_mcap.get_msgdef


def _msgdef(schema) -> MessageDefinition:
    """rosbags refuses a whole file for one channel whose schema is none of ROS; such a channel has no definition."""
    try:
        return _msgdef_of_ros(schema)
    except KeyError:
        return MessageDefinition(MessageDefinitionFormat.NONE, "")


storage_mcap.get_msgdef = _msgdef


class _Bounded(io.BufferedReader):
    """A file that is asked for no more than it holds: for a damaged length the library would take gigabytes."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self._end = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1) -> bytes:
        whole = size is None or size < 0
        return super().read(-1 if whole else min(size, max(self._end - self.tell(), 0)))


class _BagPath(type(Path())):
    """A path that the library opens so."""

    def open(self, mode: str = "r", *args, **kwargs):
        return _Bounded(self) if mode == "rb" else super().open(mode, *args, **kwargs)


def open_bag(path: Path) -> tuple[AnyReader, dict[str, str]]:
    """An open reader of a rosbag2 folder, an .mcap, .db3 or .bag file, and why topics of it cannot be read, by name.

    Of a recording in several files those that are there and sound are read. Raises BagError for what is easily taken
    for a bag; a damaged file makes the library raise in many ways.
    """
    files = _files(path)
    try:
        reader = _opened(files)
    except Exception:
        sound = _sound(path)
        if not sound:
            raise
        reader = _opened(sound)
    foreign = {}
    for connection in reader.connections:
        encoding = getattr(connection.ext, "serialization_format", "cdr")
        if encoding not in ("cdr", "ros1"):
            foreign[connection.topic] = f"{connection.msgtype} in {encoding}, expected cdr"
        elif connection.msgtype not in reader.typestore.fielddefs:
            foreign[connection.topic] = f"{connection.msgtype} without a definition of ROS"
    return reader, foreign


def _opened(files: list[Path]) -> AnyReader:
    reader = AnyReader([_BagPath(file) for file in files], default_typestore=get_typestore(Stores.ROS2_JAZZY))
    reader.open()
    return reader


def _sound(path: Path) -> list[Path]:
    """The files of a folder that can be opened, each by itself: the last of a recording that broke off cannot."""
    sound, broken = [], []
    for file in sorted(file for file in path.iterdir() if file.suffix in _STORAGES) if path.is_dir() else ():
        try:
            _opened([file]).close()
        except Exception as error:
            broken.append(f"{file.name} ({' '.join(str(error).split())[:100]})")
        else:
            sound.append(file)
    if sound:
        without = f"; without {', '.join(broken)}" if broken else ""
        _log.warning("%s: damaged; %s read%s", path, ", ".join(file.name for file in sound), without)
    return sound


def _files(path: Path) -> list[Path]:
    """What the library is to read: the folder, or its files where that would be refused."""
    if path.suffix == ".lhmap":
        raise BagError(f"{path}: an LHMap found, expected a bag")
    if not path.is_dir():
        return [path]
    there = sorted(file for file in path.iterdir() if file.suffix in _STORAGES)
    if not (path / "metadata.yaml").exists():
        if there:
            _log.warning("%s: no metadata.yaml found; %s read", path, ", ".join(file.name for file in there))
            return there
        inside = sorted(found.parent.name for found in path.glob("*/metadata.yaml"))
        bags = f"; bags in it: {', '.join(inside)}" if inside else ""
        raise BagError(f"{path}: a folder without metadata.yaml found, expected a rosbag2{bags}")
    try:
        about = yaml.safe_load((path / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        named = [Path(name).name for name in about["relative_file_paths"]]
        formats = {t["topic_metadata"]["serialization_format"] for t in about["topics_with_message_count"]}
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return [path]  # the library says what is wrong
    missing = [name for name in named if not (path / name).exists()]
    left = [path / name for name in named if name not in missing and Path(name).suffix in _STORAGES]
    if not left or not (missing or formats - {"cdr"}):
        return [path]
    if missing:
        _log.warning(
            "%s: %d of %d files are missing, as %s; the rest is read", path, len(missing), len(named), missing[0]
        )
    return left
