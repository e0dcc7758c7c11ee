# SPDX-License-Identifier: Apache-2.0
"""Files of arrays: whole or not there, and named where they are damaged."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from lhmap_loc_ros.arrays import FeatureFile, read_arrays, write_arrays
from lhmap_loc_ros.errors import InputError

ARRAYS = {"a": np.arange(12.0).reshape(3, 4), "b": np.ones(2, np.uint8)}


def test_arrays_come_back_by_their_names_and_folders_are_made(tmp_path):
    path = tmp_path / "new" / "some.npz"
    write_arrays(path, ARRAYS)
    found = read_arrays(path, ARRAYS, "a file")
    assert all(np.array_equal(found[name], values) for name, values in ARRAYS.items())
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_was_there_stays_whole_where_writing_ends_early(tmp_path, monkeypatch):
    path = tmp_path / "some.npz"
    write_arrays(path, ARRAYS)
    before = path.read_bytes()

    def half(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", half)
    with pytest.raises(KeyboardInterrupt):
        write_arrays(path, {"a": np.zeros(9)})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "some.npz"
    write_arrays(path, ARRAYS)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-30], b"", b"PK", b"nothing"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="some.npz is not a file: "):
            read_arrays(path, ARRAYS, "a file")


def test_missing_arrays_are_named(tmp_path):
    write_arrays(tmp_path / "some.npz", ARRAYS)
    with pytest.raises(InputError, match=r"some.npz is not a file: \['c'\] missing"):
        read_arrays(tmp_path / "some.npz", ("a", "c"), "a file")


def test_threads_read_one_after_another(tmp_path, monkeypatch):
    """Two headers at a time fail now and then in some Pythons, and end a build."""
    write_arrays(tmp_path / "some.npz", ARRAYS)
    load, busy, met = np.load, threading.Lock(), []

    def slow(*given, **more):
        met.append(not busy.acquire(blocking=False))
        time.sleep(0.02)
        if not met[-1]:
            busy.release()
        return load(*given, **more)

    monkeypatch.setattr(np, "load", slow)
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(lambda _: read_arrays(tmp_path / "some.npz", None, "a file"), range(4)))) == 4
    assert met == [False] * 4


@dataclass(frozen=True)
class _Pair(FeatureFile):
    a: np.ndarray
    b: np.ndarray


def test_features_of_an_older_kind_are_named_and_what_to_do(tmp_path):
    _Pair(**ARRAYS).write(tmp_path / "f.npz")
    np.testing.assert_array_equal(_Pair.read(tmp_path / "f.npz").a, ARRAYS["a"])
    write_arrays(tmp_path / "f.npz", {"a": ARRAYS["a"]})
    with pytest.raises(InputError, match=r"f.npz is not a file of features.*computed anew.*\['b'\] missing"):
        _Pair.read(tmp_path / "f.npz")
