# SPDX-License-Identifier: Apache-2.0
"""The examples run, and do what their first line says."""

import importlib.util
import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt

TEST = Path(__file__).parent
from helpers import box_world
from helpers.tiny_bag import (
    HEIGHT,
    START,
    T_BASE_CAMERA,
    WIDTH,
    K,
    KnowingRefiner,
    NearRefiner,
    truth_at,
    write_bag,
    write_world,
)

from lhmap_loc_ros.geometry import Rig
from lhmap_loc_ros.localization import localizer
from lhmap_loc_ros.localization.relocalize import PlaceSearch, PoseHypothesis
from lhmap_loc_ros.places.start_search import StartSearch

EXAMPLES = TEST.parent / "examples"
X, Y, Z = truth_at(START)[:3, 3]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"))


def run(name, *arguments):
    """Calls the example as its command line would."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(*map(str, arguments))


def test_localize_a_bag(world, monkeypatch, capsys):
    monkeypatch.setattr(localizer, "Refiner", KnowingRefiner)
    run("localize_a_bag", world / "walls.lhmap", world / "bag", X + 1, Y, Z, 0)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12 and "TRACKING" in lines[-1]
    stamp, state, *place = lines[-1].split()
    position = [float(value) for value in place[1::2]]
    np.testing.assert_allclose(position, truth_at(int(stamp))[:3, 3], atol=0.15)


def test_localize_a_bag_of_a_fisheye_sees_by_virtual_views(world, monkeypatch, tmp_path):
    seen = []

    class WhatItSees(KnowingRefiner):
        def refine(self, image, camera, *others, **named):
            seen.append(camera)
            return super().refine(image, camera, *others, **named)

    monkeypatch.setattr(localizer, "Refiner", WhatItSees)
    bag = write_bag(tmp_path / "bag", frames=2, fx=60.0, lens="equidistant")
    run("localize_a_bag", world / "walls.lhmap", bag, X, Y, Z, 0)
    assert len(seen) == 2 and all(isinstance(camera, Rig) and len(camera.cameras) > 1 for camera in seen)


def test_own_relocalizer(world, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(localizer, "Refiner", NearRefiner)
    bag = write_bag(tmp_path / "bag", frames=115)
    docks = [(*truth_at(START + k * 10**9)[:3, 3], 0.0) for k in range(12)]
    np.savetxt(tmp_path / "docks.csv", docks, delimiter=",")
    run("own_relocalizer", world / "walls.lhmap", bag, tmp_path / "docks.csv", X - 20, Y, Z, 0)
    states = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert states == ["INITIALIZING", "LOST", "INITIALIZING", "TRACKING"]


def test_read_a_map(world, capsys):
    run("read_a_map", world / "walls.lhmap")
    words = capsys.readouterr().out
    assert "20000 points in frame 'map'" in words
    assert re.search(r"^\d+ points within 20 m of", words, re.MULTILINE)


def test_build_a_map(tmp_path, capsys):
    run("build_a_map", box_world.write_bag(tmp_path / "drive", scans=3, rings=12), tmp_path / "street.lhmap")
    assert re.search(r"street.lhmap: \d{3,} points along \d", capsys.readouterr().out)


class KnowsThePlace(PlaceSearch):
    """In place of the search in the whole map: it knows after two images."""

    def __init__(self):
        self.images = 0

    def find(self, stamp_ns, image, camera, T_odom_base, should_continue, region=None):
        self.images += 1
        return PoseHypothesis(truth_at(stamp_ns), np.eye(6)) if self.images > 2 else None

    def restart(self):
        self.images = 0


def test_localize_a_bag_from_anywhere(world, monkeypatch, capsys):
    monkeypatch.setattr(localizer, "Refiner", KnowingRefiner)
    monkeypatch.setattr(StartSearch, "in_map", lambda *_: KnowsThePlace())
    run("localize_a_bag", world / "walls.lhmap", world / "bag")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and "TRACKING" in lines[-1]


def test_the_notebook_goes_from_a_map_to_a_pose(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("campus.lhmap").symlink_to(world / "walls.lhmap")
    Path("street").mkdir()
    Path("street/query").symlink_to(world / "bag")
    monkeypatch.setattr(localizer, "Refiner", KnowingRefiner)
    monkeypatch.setattr(StartSearch, "in_map", lambda *_: KnowsThePlace())
    names = {}
    for cell in json.loads((EXAMPLES / "from_a_map_to_a_pose.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    plt.close("all")
    assert len(names["estimates"]) == 10 and names["last"].state.value == "TRACKING"
    # the refiner that knows tells of the first image when first asked, which is about the third
    expected = truth_at(names["stamp_ns"] - 2 * 10**8)[:3, 3]
    np.testing.assert_allclose(names["last"].T_map_base[:3, 3], expected, atol=0.15)


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_ten_lines(world, page, monkeypatch, capsys):
    monkeypatch.chdir(world)
    Path("campus.lhmap").unlink(missing_ok=True)
    Path("campus.lhmap").symlink_to("walls.lhmap")
    monkeypatch.setattr(localizer, "Refiner", KnowingRefiner)
    monkeypatch.setattr(StartSearch, "in_map", lambda *_: KnowsThePlace())
    text = (EXAMPLES.parent / page).read_text()
    program = re.search(r"```python\n(from lhmap_loc_ros import .+?)```", text, re.DOTALL).group(1)
    # the page has a camera of its own, the bag another
    lines = program.replace("1280, 384", "width, height")
    stamps = [START + k * 10**8 for k in range(12)]
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    exec(lines, {
        "width": WIDTH, "height": HEIGHT, "fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2],
        "T_base_camera": T_BASE_CAMERA, "T_map_base": truth_at(START), "odometry": truth_at,
        "frames": [(stamp, image) for stamp in stamps],
    })  # fmt: skip
    words = capsys.readouterr().out
    poses = 12 if "localizer.start(T_map_base)" in program else 10
    assert words.count("INITIALIZING") + words.count("TRACKING") == poses and "TRACKING" in words


def test_every_example_has_a_test():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested
