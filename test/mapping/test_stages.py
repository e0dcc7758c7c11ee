# SPDX-License-Identifier: Apache-2.0
"""A build goes on where it was interrupted, does again only what changed, and comes out the same whoever does it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from helpers import box_world as world
from rosbags.rosbag2 import reader as rosbag2_reader
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.bag import BagReader
from lhmap_loc_ros.datasets.bag_files import zstd
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.messages import Scan
from lhmap_loc_ros.errors import ConfigError, InputError
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.lhmap.writer import SectionData, write_with_section
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.mapping.config import BuildConfig
from lhmap_loc_ros.mapping.intensity import ranks_of_bag
from lhmap_loc_ros.mapping.moving import RangeImage, observing_chunks
from lhmap_loc_ros.mapping.stages import accumulate, plan, select
from lhmap_loc_ros.mapping.stages.schedule import local_workers
from lhmap_loc_ros.mapping.stages.select import SelectJob
from lhmap_loc_ros.mapping.stages.store import key_of, load, save
from lhmap_loc_ros.mapping.stages.tiles import sampling_blocks

CONFIG = BuildConfig(heat="none", budget_mb_per_km=30.0, resolution_m=0.02, places=False)


@pytest.fixture(scope="module", autouse=True)
def short_chunks():
    """Of a short drive, several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "CHUNK_S", 0.5)
        yield


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return world.write_bag(tmp_path_factory.mktemp("bags") / "drive", 12)


@pytest.fixture(scope="module")
def expected(bag):
    return build_map(bag, bag.parent / "expected.lhmap", CONFIG).path.read_bytes()


class Steps:
    """A report that remembers how much of each stage was there already."""

    def __init__(self):
        self.first = {}

    def __call__(self, stage, done, total):
        self.first.setdefault(stage, (done, total))

    def repeated(self):
        """Stages with work to do."""
        return {stage for stage, (done, total) in self.first.items() if done < total}


def test_what_was_done_is_not_done_again(bag, expected, tmp_path):
    build_map(bag, tmp_path / "m", CONFIG, work=tmp_path / "work")
    steps = Steps()
    build_map(bag, tmp_path / "again", CONFIG, steps, work=tmp_path / "work")
    assert steps.repeated() == {"write"} and (tmp_path / "again").read_bytes() == expected
    # another budget: the scans are not read again
    smaller, steps = CONFIG.model_copy(update={"budget_mb_per_km": 5.0}), Steps()
    build_map(bag, tmp_path / "small", smaller, steps, work=tmp_path / "work")
    assert steps.repeated() == {"select", "pack", "write"}
    assert (tmp_path / "small").stat().st_size < len(expected) / 2
    # a bag that changed: all of it
    os.utime(next(bag.glob("*.mcap")))
    steps = Steps()
    build_map(bag, tmp_path / "touched", CONFIG, steps, work=tmp_path / "work")
    assert {"accumulate", "clean"} <= steps.repeated() and (tmp_path / "touched").read_bytes() == expected


def test_size_of_the_pieces_does_not_change_the_map(bag, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "CHUNK_S", 100.0)
    whole = build_map(bag, tmp_path / "m", CONFIG)
    with LHMap.open(bag.parent / "expected.lhmap") as pieces:
        a, b = (x.all_points() for x in (whole, pieces))
    assert abs(len(a) - len(b)) < 0.02 * len(a)
    rows_a, rows_b = (set(map(tuple, x.points.round(2).tolist())) for x in (a, b))
    # not all: other scans are compared with the map
    assert len(rows_a & rows_b) > 0.9 * len(a)


def tile_bytes(path):
    with LHMap.open(path) as lhmap:
        places = zip(lhmap.index["ix"].tolist(), lhmap.index["iy"].tolist(), strict=True)
        return {place: lhmap.tile_bytes(number) for number, place in enumerate(places)}


def test_another_bag_leaves_the_bytes_of_tiles_it_does_not_touch(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "CHUNK_S", 10.0)
    monkeypatch.setattr("lhmap_loc_ros.mapping.config.TILE_M", 5.0)
    monkeypatch.setattr("lhmap_loc_ros.mapping.moving.RADIUS_M", 8.0)
    monkeypatch.setattr("lhmap_loc_ros.mapping.stages.tiles.RADIUS_M", 8.0)
    monkeypatch.setattr("lhmap_loc_ros.mapping.moving.KEYFRAME_SPACING_S", 0.15)
    config = BuildConfig(heat="none", budget_mb_per_km=None, max_range_m=12.0)
    first = world.write_bag(tmp_path / "first", 5, with_car=False)
    second = world.write_bag(tmp_path / "second", 5, with_car=False, first=45)
    build_map(first, tmp_path / "a", config, work=tmp_path / "work")
    steps = Steps()
    build_map([first, second], tmp_path / "b", config, steps, work=tmp_path / "work")
    assert steps.first["accumulate"] == (1, 2)
    before, after = tile_bytes(tmp_path / "a"), tile_bytes(tmp_path / "b")
    same = [place for place in before if after.get(place) == before[place]]
    assert len(same) >= 5 and len(after) > len(before)


def _pieces(work):
    """How many results of jobs there are; a build that ends takes its folder away while they are counted."""
    try:
        return len(list(work.rglob("*.npz")))
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("share", (0.3, 0.6, 0.9))
def test_killed_build_is_finished_by_the_next(bag, expected, tmp_path, share):
    """SIGKILL at some moment; there is no map then, and the next run makes the very same bytes."""
    (tmp_path / "c.yaml").write_text(CONFIG.model_dump_json())
    out = tmp_path / "m.lhmap"
    build = ("build", bag, "-o", out, "-c", tmp_path / "c.yaml")
    short = (
        "from lhmap_loc_ros.mapping.stages import plan; plan.CHUNK_S = 0.5; from lhmap_loc_ros.cli import main; main()"
    )
    command = [sys.executable, "-c", short, *map(str, build)]
    work, jobs = tmp_path / "m.lhmap.work", 34
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.time() + 120
        while process.poll() is None and time.time() < deadline and _pieces(work) < share * jobs:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert out.exists() == (process.returncode == 0)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert out.read_bytes() == expected and not work.exists()


def test_of_a_long_stand_some_chunks_are_compared_with_the_map():
    rng = np.random.default_rng(0)

    def standing(x, pieces, images=10):
        return [rng.normal((x, 0), 0.1, (images, 2)) for _ in range(pieces)]

    moving = [np.column_stack([np.arange(k, k + 10, 1.5), np.zeros(7)]) for k in range(0, 100, 10)]
    # a stop of five minutes is all there, pieces without images count for nothing
    assert observing_chunks([*moving, *standing(110, 30)]) == list(range(40))
    assert observing_chunks([np.zeros((0, 2)), *moving[:2], np.zeros((0, 2))]) == [1, 2]
    # of an hour as much, evenly; then the drive goes on
    chosen = observing_chunks([*moving, *standing(110, 360), *moving])
    hour = [number for number in chosen if 10 <= number < 370]
    assert chosen[:10] == list(range(10)) and chosen[-10:] == list(range(370, 380)) and len(hour) == 30
    assert hour[0] == 10 and hour[-1] == 369 and 11 <= np.diff(hour).min() <= np.diff(hour).max() <= 13


def test_a_tile_holds_the_range_images_of_one_piece_at_a_time(bag, tmp_path, monkeypatch):
    alive, most = weakref.WeakSet(), []

    class Counted(RangeImage):
        def __init__(self, *fields):
            super().__init__(*fields)
            alive.add(self)
            most.append(len(alive))

        __hash__ = object.__hash__

    monkeypatch.setattr(accumulate, "RangeImage", Counted)
    monkeypatch.setattr("lhmap_loc_ros.mapping.builder._workers", lambda _: local_workers(1))
    # pieces of one scan each
    monkeypatch.setattr("lhmap_loc_ros.mapping.moving.KEYFRAME_SPACING_S", 0.05)
    monkeypatch.setattr(plan, "CHUNK_S", 0.1)
    build_map(bag, tmp_path / "m", CONFIG)
    assert len(most) > 50 and max(most) <= 3


def test_half_written_results_are_not_taken_for_results(tmp_path):
    save(tmp_path / "a.npz", x=np.arange(1000))
    assert load(tmp_path / "a.npz")["x"].sum() == 499500
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="a.npz is not what a build left.*delete it"):
        load(tmp_path / "a.npz")


def test_a_clock_that_is_set_while_recording_makes_no_chunks_of_years(tmp_path):
    """A computer without a battery begins in 1970."""
    bag = tmp_path / "b"
    with BagReader(world.write_bag(tmp_path / "whole", 12)) as reader, BagWriter(bag) as writer:
        writer.tf_static(5 * 10**9, {("base_link", "lidar"): world.T_BASE_LIDAR})
        for message in reader.messages(["/points", "/tf"]):
            if isinstance(message, Scan):
                time = message.offsets_ns / 1e9
                writer.points("/points", message.stamp_ns, "lidar", message.points, message.intensity, time=time)
            else:
                writer.tf(message.stamp_ns, {("map", "base_link"): message.pose})
    with BagReader(bag) as reader:
        starts = plan.chunk_starts(reader, "/points")
        assert len(starts) <= 4 and 0 <= world.START - starts[0] < 10**9
        ranks = ranks_of_bag(reader, "/points", starts)
    steps = Steps()
    with build_map(bag, tmp_path / "m", CONFIG, steps) as lhmap:
        assert steps.first["accumulate"] == (0, len(starts)) and len(lhmap.all_points().points) > 1000
    assert len(ranks.values) > 5


def test_a_bag_that_was_compressed_as_a_whole_is_unpacked_once(bag, expected, tmp_path, monkeypatch):
    packed = tmp_path / "drive"
    packed.mkdir()
    about = yaml.safe_load((bag / "metadata.yaml").read_text())
    told = about["rosbag2_bagfile_information"]
    for file in bag.glob("*.mcap"):
        with zstd.open(packed / (file.name + ".zstd"), "wb") as out:
            out.write(file.read_bytes())
    told["relative_file_paths"] = [name + ".zstd" for name in told["relative_file_paths"]]
    told["compression_format"], told["compression_mode"] = "zstd", "file"
    (packed / "metadata.yaml").write_text(yaml.safe_dump(about))
    opened = []
    monkeypatch.setattr(rosbag2_reader, "shutil", SimpleNamespace(copyfileobj=lambda *_: opened.append(1)))
    work = tmp_path / "work"
    build_map(packed, tmp_path / "m", CONFIG, work=work)
    assert not opened and (tmp_path / "m").read_bytes() == expected and not (work / "unpacked").exists()
    # the bag is the same as before, so nothing is done again
    steps = Steps()
    build_map(packed, tmp_path / "again", CONFIG, steps, work=work)
    assert steps.repeated() == {"write"}


def test_what_lies_beside_a_bag_does_not_change_it(bag, tmp_path):
    drive = shutil.copytree(bag, tmp_path / "drive")
    for steps in (Steps(), Steps()):
        build_map(drive, drive / "street.lhmap", CONFIG, steps, work=drive / "work")
    assert steps.repeated() == {"write"}


def test_poses_by_icp_are_found_anew_where_times_of_points_are_read_otherwise(tmp_path):
    pytest.importorskip("kiss_icp")
    bag, steps = world.write_bag(tmp_path / "b", 12, with_car=False, tf=False), Steps()
    for times in ("auto", "ignore"):
        steps = Steps()
        config = CONFIG.model_copy(update={"poses": "icp", "point_times": times})
        build_map(bag, tmp_path / "m", config, steps, work=tmp_path / "work")
        assert "poses" in steps.first


def test_a_build_over_a_map_that_has_learned_says_what_is_gone(bag, tmp_path, caplog):
    with build_map(bag, tmp_path / "m", CONFIG) as lhmap:
        write_with_section(lhmap, tmp_path / "learned", SectionData("coordinates", 1, b"heads"))
    build_map(bag, tmp_path / "learned", CONFIG)
    assert "learned coordinates" in caplog.text and "lhmap learn" in caplog.text


def test_names_tell_inputs_apart():
    names = [key_of("stage", x) for x in (1, 1.5, "1", [1], np.zeros(3), np.ones(3), np.ones(3, np.float32))]
    assert len(set(names)) == len(names) and key_of("stage", np.ones(3)) == names[5]


def test_dask_workers_make_the_same_map(bag, expected, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        build_map(bag, tmp_path / "m", CONFIG, scheduler=cluster.scheduler_address)
    assert (tmp_path / "m").read_bytes() == expected


def test_scheduler_that_does_not_answer(bag, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(ConfigError, match="no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        build_map(bag, tmp_path / "m", CONFIG, scheduler="tcp://127.0.0.1:1")
    assert not (tmp_path / "m").exists()


def test_bench_drives_on_where_the_drive_ended(bag, tmp_path):
    (tmp_path / "c.yaml").write_text("{heat: none}")
    command = ("bench", "build", bag, "--times", 1, "--times", 3, "-c", tmp_path / "c.yaml", "--json")
    result = CliRunner().invoke(cli.app, [str(word) for word in command])
    assert result.exit_code == 0, result.output
    once, thrice = json.loads(result.stdout)
    assert (once["scans"], thrice["scans"]) == (12, 36) and once["peak_mb"] > 50 < thrice["peak_mb"]
    assert 2.7 < thrice["km"] / once["km"] < 3.6


def test_among_equally_hot_points_those_on_surfaces_are_kept_first(tmp_path, monkeypatch):
    monkeypatch.setattr(select, "ANGULAR_UNIFORM_FRACTION", 0.0)
    rng = np.random.default_rng(0)
    plane = np.column_stack([*(n.ravel() for n in np.meshgrid(np.arange(64), np.arange(64))), np.zeros(4096)])
    grid = np.concatenate([plane, rng.integers((0, 0, 10), (250, 250, 50), (4096, 3))]).astype(np.int64)
    points = (0.1 * grid + 0.05).astype(np.float32)
    blocks, dark = sampling_blocks({"grid": grid}), np.zeros(len(points), np.float32)
    save(tmp_path / "tile", points=points, intensity=dark, **blocks)
    save(tmp_path / "heat", heat=np.ones(len(points), np.float32))

    def share_of_plane():
        middle, tiles = np.array([[12.0, 12.0, 0.0]]), (((0, 0), tmp_path / "tile"),)
        config = BuildConfig(voxel_m=0.1)
        SelectJob(middle, np.array([2000]), 50.0, tiles, (tmp_path / "heat",), config, tmp_path / "kept").run()
        return np.mean(load(tmp_path / "kept")["index"] < len(plane))

    assert share_of_plane() > 0.7
    monkeypatch.setattr(select, "occupancy_density", lambda blocks: np.ones(len(blocks)))
    assert share_of_plane() == pytest.approx(0.5, abs=0.1)
