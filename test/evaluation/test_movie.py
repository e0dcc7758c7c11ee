# SPDX-License-Identifier: Apache-2.0
"""A moving picture of a run shows the map over its images and, from above, the way driven."""

import numpy as np
import pytest
from helpers.tiny_bag import START, truth_at, write_bag, write_truth, write_walls
from PIL import Image
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.evaluation.movie import BACKGROUND, WAY, draw_plan, durations_ms
from lhmap_loc_ros.geometry import inverse, transform
from lhmap_loc_ros.lhmap import MapPoints


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The arguments of the command for a run of 20 images at 10 Hz."""
    folder = tmp_path_factory.mktemp("run")
    write_bag(folder / "bag", frames=20)
    write_truth(folder / "poses.tum", frames=20)
    write_walls(folder / "walls.lhmap")
    return folder / "bag", "--map", folder / "walls.lhmap", "--poses", folder / "poses.tum"


def movie(*arguments):
    return CliRunner().invoke(cli.app, ["movie", *map(str, arguments)])


@pytest.mark.parametrize("suffix, rate, frames", [("webp", 1, 10), ("gif", 1, 10), ("webp", 2, 5)])
def test_a_movie_has_ten_frames_a_second_of_the_run_or_of_what_passes_faster(run, tmp_path, suffix, rate, frames):
    out = tmp_path / f"m.{suffix}"
    result = movie(*run, "-o", out, "--begin", 0.5, "--length", 1, "--rate", rate)
    assert result.exit_code == 0 and f"{frames} frames" in result.stdout, result.output
    with Image.open(out) as shown:
        assert shown.n_frames == frames and shown.size == (800 + 240, 240)
        first = np.asarray(shown.convert("RGB"), int)
        assert shown.info.get("duration", 100) == 100
        shown.seek(frames - 1)
        assert np.abs(np.asarray(shown.convert("RGB"), int) - first).mean() > 1


def test_a_movie_of_a_slow_camera_passes_as_fast_as_it_was_driven():
    slow = [k * 200_000_000 for k in range(5)]
    assert durations_ms(slow, 1.0) == [200] * 5 and durations_ms(slow, 2.0) == [100] * 5
    # a gap is not waited for
    assert durations_ms([*slow, 60_000_000_000], 1.0) == [200] * 4 + [1000, 200] and durations_ms([5], 1.0) == [100]


def test_the_plan_shows_what_is_ahead_above_and_the_way_behind(tmp_path):
    here = truth_at(START + 10**9)
    ahead_and_left = transform(here, np.array([[30.0, 12.0, 1.0]]))
    crop = MapPoints(ahead_and_left - here[:3, 3], np.ones(1), np.ones(1), here[:3, 3])
    way = np.array([truth_at(START + k * 10**8)[:3, 3] for k in range(11)])
    plan = draw_plan(crop, here, way, 240).astype(int)
    row, column = np.argwhere(np.abs(plan - BACKGROUND).sum(axis=2) > 100).min(axis=0)
    assert row < 100 and column < 110
    blue = np.argwhere(np.abs(plan - WAY).sum(axis=2) < 60)
    robot = transform(inverse(here), here[None, :3, 3])
    assert len(blue) > 20 and blue[:, 0].min() > 180 and abs(robot).max() < 1e-9


def test_the_plan_of_a_place_without_points_shows_the_way_alone():
    here, none = truth_at(START), np.zeros(0)
    crop = MapPoints(np.zeros((0, 3)), none, none, here[:3, 3])
    plan = draw_plan(crop, here, here[None, :3, 3], 240)
    assert plan.shape == (240, 240, 3) and (plan[0, 0] == BACKGROUND).all()


def test_what_makes_no_movie_is_one_line(run, tmp_path):
    for arguments, words in (
        (("-o", tmp_path / "m.mp4"), "expected one of .webp, .gif"),
        (("-o", tmp_path / "m.gif", "--begin", 100), "no pose is of an image"),
    ):
        result = movie(*run, *arguments)
        assert result.exit_code == 2 and words in result.stderr
        assert not list(tmp_path.iterdir())
