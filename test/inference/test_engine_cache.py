# SPDX-License-Identifier: Apache-2.0
"""Engines on disk: whole, of the right key, built once."""

import dataclasses
import errno
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.inference.engine_cache import MAGIC, EngineCache, EngineKey, default_folder

KEY = EngineKey("net", "ab" * 32, "tensorrt 11.0", "sm86", "fp32", (("image", (1, 3, 8, 8)), ("flow", (1, 2))))
ENGINE = bytes(range(256)) * 40


class Builder:
    """Counts how often it had to build."""

    def __init__(self, engine=ENGINE):
        self.calls, self.engine = 0, engine

    def __call__(self):
        self.calls += 1
        return self.engine


@pytest.fixture
def cache(tmp_path):
    return EngineCache(tmp_path / "engines")


def test_an_engine_is_built_once_and_found_again(cache):
    builder = Builder()
    assert cache.load(KEY) is None
    assert cache.obtain(KEY, builder) == cache.obtain(KEY, builder) == cache.load(KEY) == ENGINE
    assert builder.calls == 1


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "cd" * 32},
        {"package": "tensorrt 11.1"},
        {"package": "tensorrt_rtx 11.0"},
        {"target": "sm89"},
        {"precision": "fp16"},
        {"shapes": (("image", (1, 3, 8, 16)), ("flow", (1, 2)))},
    ],
)
def test_the_key_changes_with_each_of_its_parts(cache, change):
    other = dataclasses.replace(KEY, **change)
    assert other.digest != KEY.digest and other.file_name != KEY.file_name
    cache.obtain(KEY, Builder())
    assert cache.load(other) is None


def truncated(content: bytes) -> bytes:
    return content[:-1]


def cut_in_the_header(content: bytes) -> bytes:
    return content[: len(MAGIC) + 40]


def corrupted(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


def corrupted_header(content: bytes) -> bytes:
    at = len(MAGIC) + 4
    return content[:at] + b"\xff" + content[at + 1 :]


def foreign(content: bytes) -> bytes:
    return b"ftrt" + content


def empty(content: bytes) -> bytes:
    return b""


DAMAGES = [truncated, cut_in_the_header, corrupted, corrupted_header, foreign, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_engine_is_deleted_with_a_warning_and_built_again(cache, caplog, damage):
    cache.obtain(KEY, Builder())
    path = cache.folder / KEY.file_name
    path.write_bytes(damage(path.read_bytes()))
    assert cache.entries() == []
    with caplog.at_level(logging.WARNING):
        assert cache.load(KEY) is None
    assert not path.exists() and str(path) in caplog.text and "deleted" in caplog.text
    builder = Builder()
    assert cache.obtain(KEY, builder) == ENGINE and builder.calls == 1
    assert cache.load(KEY) == ENGINE


def test_the_engine_of_something_else_under_this_name_is_replaced(cache, caplog):
    other = dataclasses.replace(KEY, target="sm89")
    cache.obtain(other, Builder(b"for another GPU"))
    (cache.folder / other.file_name).rename(cache.folder / KEY.file_name)
    assert cache.obtain(KEY, Builder()) == ENGINE
    assert "engine of something else" in caplog.text


def test_a_build_that_fails_leaves_nothing(cache):
    def fail():
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        cache.obtain(KEY, fail)
    assert cache.load(KEY) is None and not list(cache.folder.glob("*.engine"))


WANTING = """
import sys, time
from pathlib import Path
from lhmap_loc_ros.inference.engine_cache import EngineCache, EngineKey
folder, note, shapes = Path(sys.argv[1]), Path(sys.argv[2]), (("image", (1, 3, 8, 8)), ("flow", (1, 2)))
def build():
    note.touch()
    time.sleep(0.5)
    return bytes(range(256)) * 40
key = EngineKey("net", "ab" * 32, "tensorrt 11.0", "sm86", "fp32", shapes)
sys.stdout.buffer.write(EngineCache(folder).obtain(key, build))
"""
"""A program that wants the engine, and leaves a note if it had to build it."""


def test_of_two_processes_that_want_one_engine_one_builds_it(cache, tmp_path):
    notes = [tmp_path / "note_a", tmp_path / "note_b"]
    command = [sys.executable, "-c", WANTING, str(cache.folder)]
    wanting = [subprocess.Popen([*command, str(note)], stdout=subprocess.PIPE) for note in notes]
    assert [process.communicate(timeout=60)[0] for process in wanting] == [ENGINE, ENGINE]
    assert sum(note.exists() for note in notes) == 1 and cache.load(KEY) == ENGINE


def test_an_engine_that_cannot_be_kept_is_used_with_a_warning(cache, caplog, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", lambda *_: (_ for _ in ()).throw(full))
    assert cache.obtain(KEY, Builder()) == ENGINE
    assert re.search(r"engine: cannot be written \(No space left on device\); the engine is used", caplog.text)
    assert cache.load(KEY) is None


def test_entries_tell_what_is_there_and_clean_removes_it(cache):
    other = dataclasses.replace(KEY, name="other", precision="fp16")
    for key in (KEY, other):
        cache.obtain(key, Builder())
    (cache.folder / "notes.txt").write_text("not ours")
    first, second = cache.entries()
    assert (first.name, first.precision, first.target, first.package) == ("net", "fp32", "sm86", "tensorrt 11.0")
    assert first.bytes == len(ENGINE) and abs(first.built - time.time()) < 60 and second.name == "other"
    assert cache.clean(["other"]) == 1 and [e.name for e in cache.entries()] == ["net"]
    assert cache.clean() == 1 and [p.name for p in cache.folder.iterdir()] == ["notes.txt"]


def test_an_empty_cache_lists_and_cleans_nothing(cache):
    assert cache.entries() == [] and cache.clean() == 0


def test_the_folder_is_the_users_choice_or_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("LHMAP_CACHE", str(tmp_path))
    assert default_folder() == tmp_path / "engines"
    monkeypatch.delenv("LHMAP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "lhmap_loc_ros" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "lhmap_loc_ros" / "engines"


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="engines cannot be kept here.*LHMAP_CACHE"):
        EngineCache(tmp_path / "engines").obtain(KEY, Builder())


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "engines").write_text("")
    with pytest.raises(InputError, match="engines cannot be kept here"):
        EngineCache(tmp_path / "engines").obtain(KEY, Builder())
