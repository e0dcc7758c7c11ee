# SPDX-License-Identifier: Apache-2.0
"""Opening bags, also those of which a part is missing or of another middleware."""

from __future__ import annotations

import io
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import storage_mcap
from rosbags.typesys import Stores, get_typestore

from ..errors import BagError
from ..outputs import filling

# the library's own dependency, of Python itself from 3.14 on
zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
_STORAGES = (".mcap", ".db3")
_PACKED = ".zstd"
"""Of files that were compressed as a whole, which metadata.yaml tells the library."""
_ABOUT = "metadata.yaml"
_ZSTD = b"\x28\xb5\x2f\xfd"
"""How compressed bytes begin, and no serialized message does."""
_LARGEST_MESSAGE = 1 << 28
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


class _Reader(AnyReader):
    """Reads messages that were compressed one by one where no metadata.yaml tells of it, too."""

    def messages(self, *args: Any, **kwargs: Any) -> Iterator[tuple[Connection, int, bytes]]:
        for connection, stamp, data in super().messages(*args, **kwargs):
            yield connection, stamp, _unpacked(data) if bytes(data[:4]) == _ZSTD else data


def _unpacked(data: bytes) -> bytes:
    """The message in a compressed one; of a damaged one the same, which nothing can be made of."""
    try:
        return zstd.ZstdDecompressor().decompress(data, max_length=_LARGEST_MESSAGE)
    except zstd.ZstdError:
        return data


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


def fingerprint(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of change of a bag's files, and of none that somebody else left in its folder."""
    kinds = (*_STORAGES, _PACKED, ".bag")
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.is_file() and (f.suffix in kinds or f.name == _ABOUT))
    return [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def unpacked(path: Path, folder: Path) -> Path:
    """The bag, or where its files were compressed as a whole a copy in `folder` in which they are not.

    The library unpacks all of such a bag each time that it is opened. Raises BagError for a damaged one.
    """
    packed = sorted(path.glob("*" + _PACKED)) if path.is_dir() and (path / _ABOUT).exists() else []
    if not packed:
        return path
    try:
        about = yaml.safe_load((path / _ABOUT).read_text())
        told = about["rosbag2_bagfile_information"]
        names = told["relative_file_paths"]
        told["relative_file_paths"] = [name.removesuffix(_PACKED) for name in names]
        for file in told.get("files", ()):
            file["path"] = file["path"].removesuffix(_PACKED)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return path  # the library says what is wrong
    told["compression_format"] = told["compression_mode"] = ""
    copy = folder / path.resolve().name
    with filling(copy) as temporary:
        (temporary / _ABOUT).write_text(yaml.safe_dump(about, sort_keys=False))
        for name in names:
            if not name.endswith(_PACKED) and (path / name).exists():
                (temporary / Path(name).name).symlink_to((path / name).resolve())
        for file in packed:
            try:
                with zstd.open(file) as source, (temporary / file.stem).open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
            except (zstd.ZstdError, EOFError) as error:
                raise BagError(f"{file}: damaged: {error}") from error
    return copy


def _opened(files: list[Path]) -> AnyReader:
    reader = _Reader([_BagPath(file) for file in files], default_typestore=get_typestore(Stores.ROS2_JAZZY))
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


def no_such_bag(path: Path) -> BagError:
    """The error of a path where nothing is; it names the bags beside it, for names are mistyped."""
    beside = _bags_in(path.parent)
    bags = f"; bags in {path.resolve().parent}: {', '.join(beside)}" if beside else ""
    return BagError(f"{path}: no such bag{bags}")


def _bags_in(folder: Path) -> list[str]:
    """Names of the rosbag2 folders in a folder."""
    return sorted(found.parent.name for found in folder.glob("*/metadata.yaml"))


def _of_folder(file: Path) -> list[Path]:
    """A file of a bag, or its folder where that is what is meant or needed."""
    folder = file.parent
    if file.name == _ABOUT:
        return _files(folder)
    if file.suffix != _PACKED:
        return [file]
    if not (folder / _ABOUT).exists() or len(list(folder.glob("*" + _PACKED))) > 1:
        raise BagError(f"{file}: {_UNPACK}")
    return [folder]


_UNPACK = "compressed as a whole, expected its folder with metadata.yaml, or a file after unzstd"


def _files(path: Path) -> list[Path]:
    """What the library is to read: the folder, or its files where that would be refused."""
    if path.suffix == ".lhmap":
        raise BagError(f"{path}: an LHMap found, expected a bag")
    if not path.is_dir():
        return _of_folder(path)
    there = sorted(file for file in path.iterdir() if file.suffix in _STORAGES)
    if not (path / _ABOUT).exists():
        if there:
            _log.warning("%s: no metadata.yaml found; %s read", path, ", ".join(file.name for file in there))
            return there
        if packed := sorted(path.glob("*" + _PACKED)):
            raise BagError(f"{packed[0]}: {_UNPACK}")
        inside = _bags_in(path)
        bags = f"; bags in it: {', '.join(inside)}" if inside else ""
        raise BagError(f"{path}: a folder without metadata.yaml found, expected a rosbag2{bags}")
    try:
        about = yaml.safe_load((path / _ABOUT).read_text())["rosbag2_bagfile_information"]
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
