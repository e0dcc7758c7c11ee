# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines on disk, each in a file that tells what it is for and whether it is whole.

An engine fits one network, one TensorRT, one kind of GPU. The file's name ends with a hash of all of these; a header
repeats it, with a hash of the engine. What is truncated, corrupted or of something else is deleted and built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..lhmap.atomic import replacing
from .model import Network, Shape

MAGIC = b"LHMAPENGINE1"
_LENGTH = struct.Struct("<I")
_MAX_HEADER = 1 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on."""

    name: str
    """Of the network, for people."""
    onnx_sha256: str
    """Of the ONNX that TensorRT gets."""
    package: str
    """TensorRT's package and version."""
    target: str
    """The kind of GPU, e.g. sm86."""
    precision: str
    shapes: tuple[tuple[str, Shape], ...]
    """Of inputs and outputs."""

    @classmethod
    def of(cls, network: Network, onnx: bytes, package: str, target: str, precision: str) -> EngineKey:
        """The key of the engine of `network` that is built from `onnx`."""
        shapes = tuple({**network.inputs, **network.outputs}.items())
        return cls(network.path.stem, hashlib.sha256(onnx).hexdigest(), package, target, precision, shapes)

    @property
    def digest(self) -> str:
        """Hash of all but the name."""
        parts = {k: v for k, v in asdict(self).items() if k != "name"}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def file_name(self) -> str:
        return f"{self.name}-{self.precision}-{self.target}-{self.digest[:16]}.engine"


@dataclass(frozen=True)
class Entry:
    """An engine in the cache, as its header tells."""

    path: Path
    name: str
    precision: str
    target: str
    package: str
    bytes: int
    built: float
    """Seconds since 1970."""


def default_folder() -> Path:
    """LHMAP_CACHE/engines; without that variable in the user's cache (XDG)."""
    chosen = os.environ.get("LHMAP_CACHE")
    if chosen:
        return Path(chosen) / "engines"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lhmap_loc_ros" / "engines"


class EngineCache:
    """Engines of this and other processes, in one folder."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or default_folder()

    def load(self, key: EngineKey) -> bytes | None:
        """The engine; None if it is not there. A file that is not that engine is deleted."""
        path = self.folder / key.file_name
        if not path.exists():
            return None
        try:
            header, engine = _read(path)
            if header.get("key") != key.digest:
                raise ValueError(f"it is the engine of something else, key {str(header.get('key'))[:16]}")
            return engine
        except (OSError, ValueError) as error:
            self.discard(key, str(error))
            return None

    def obtain(self, key: EngineKey, build: Callable[[], bytes]) -> bytes:
        """The engine, built if it is not there; of two processes that want it one builds and the other waits.

        Raises InputError for a folder that cannot be written, before it builds, and what `build` raises.
        """
        engine = self.load(key)
        if engine is not None:
            return engine
        with self._lock(key):
            engine = self.load(key)
            if engine is None:
                engine = build()
                try:
                    self._write(key, engine)
                except InputError as error:  # minutes of work on a disk that is full
                    _log.warning("%s; the engine is used and will be built again next time", error)
            return engine

    def discard(self, key: EngineKey, reason: str) -> None:
        """Deletes an engine that cannot be used."""
        path = self.folder / key.file_name
        _log.warning("%s: %s; it is deleted and will be built again", path, reason)
        path.unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """What is there, by name; files that are no whole engines are not listed."""
        found = []
        for path in sorted(self.folder.glob("*.engine")):
            try:
                header, engine = _read(path)
                about = header["about"]
                described = {field: about[field] for field in ("name", "precision", "target", "package")}
                found.append(Entry(path, **described, bytes=len(engine), built=header["built"]))
            except (OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s: %s", path, error)
        return found

    def clean(self, names: list[str] | None = None) -> int:
        """Deletes the engines of these networks, or everything; returns how many engines that were."""
        paths = sorted(self.folder.glob("*.engine"))
        if names:
            wanted = {entry.path for entry in self.entries() if entry.name in names}
            paths = [path for path in paths if path in wanted]
        for path in paths:
            path.unlink(missing_ok=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
        return len(paths)

    def _write(self, key: EngineKey, engine: bytes) -> None:
        header = {
            "key": key.digest,
            "sha256": hashlib.sha256(engine).hexdigest(),
            "bytes": len(engine),
            "built": time.time(),
            "about": asdict(key),
        }
        head = json.dumps(header).encode()
        with replacing(self.folder / key.file_name) as file:
            for part in (MAGIC, _LENGTH.pack(len(head)), head, engine):
                file.write(part)

    @contextmanager
    def _lock(self, key: EngineKey) -> Iterator[None]:
        """Held by one process, and one thread of it, at a time; it ends with its holder."""
        path = (self.folder / key.file_name).with_suffix(".lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            reason = f"engines cannot be kept here ({error.strerror}): set LHMAP_CACHE"
            raise InputError(f"{self.folder}: {reason}") from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and engine of a file; raises ValueError where it is not whole."""
    content = path.read_bytes()
    start = len(MAGIC) + _LENGTH.size
    if not content.startswith(MAGIC) or len(content) < start:
        raise ValueError("it is not an engine of this program")
    (length,) = _LENGTH.unpack_from(content, len(MAGIC))
    if length > min(_MAX_HEADER, len(content) - start):
        raise ValueError("it is truncated")
    header = json.loads(content[start : start + length])
    engine = content[start + length :]
    if not isinstance(header, dict) or header.get("sha256") != hashlib.sha256(engine).hexdigest():
        raise ValueError("it is truncated or corrupted")
    return header, engine
