# SPDX-License-Identifier: Apache-2.0
"""The commands about places: what works prints, what is wrong is one line."""

import json

import numpy as np
import pytest
from helpers.known_places import (
    CAMERA,
    NOWHERE,
    T_BASE_CAMERA,
    KnowingDescriber,
    KnowingRefiner,
    image_at,
    on_path,
    write_street,
)
from typer.testing import CliRunner

from lhmap_loc_ros import cli
from lhmap_loc_ros.datasets.bag_writer import BagWriter
from lhmap_loc_ros.datasets.trajectory import Trajectory
from lhmap_loc_ros.datasets.tum import write_tum
from lhmap_loc_ros.geometry import inverse
from lhmap_loc_ros.lhmap import LHMap
from lhmap_loc_ros.localization import localizer, refine
from lhmap_loc_ros.places import (
    describe,
    verify,  # noqa: F401  with the Refiner that it knows by its class, before that is replaced
)
from lhmap_loc_ros.places.database import PlaceDatabase

SECOND = 1_000_000_000


class Refiner(KnowingRefiner):
    """That of a tracker, too."""

    def __init__(self, config):
        super().__init__()

    def refine(self, image, camera, submap, T_map_camera, mode=None):
        found = super().refine(image, camera, submap, T_map_camera)
        found.last_step, found.timings_ms, found.iterations = (0.01, 0.1), {}, 3
        return found


@pytest.fixture(autouse=True)
def no_networks(monkeypatch):
    monkeypatch.setattr(describe, "PlaceDescriber", KnowingDescriber)
    for module in (localizer, refine):
        monkeypatch.setattr(module, "Refiner", Refiner)


@pytest.fixture
def world(tmp_path):
    """A map without places, a run in it with its truth, and a run somewhere else."""
    write_street(tmp_path / "street.lhmap").close()
    stamps = SECOND + np.arange(20) * SECOND // 10
    truth = np.array([on_path(40.0 + k) for k in range(20)])
    write_tum(tmp_path / "run.tum", Trajectory(stamps, truth))
    for name in ("run", "elsewhere"):
        with BagWriter(tmp_path / name) as bag:
            matrix = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
            bag.tf_static(SECOND, {("base_link", "camera"): T_BASE_CAMERA})
            for stamp, pose in zip(stamps.tolist(), truth, strict=True):
                bag.odometry("/odom", stamp, "odom", "base_link", inverse(truth[0]) @ pose)
                bag.camera_info("/camera/camera_info", stamp, "camera", CAMERA.width, CAMERA.height, matrix)
                bag.image("/camera/image_raw", stamp, "camera", image_at(pose) if name == "run" else NOWHERE)
    return tmp_path


def lhmap(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


def test_places_are_added_to_a_map_and_tell_where_a_run_is(world):
    path = world / "street.lhmap"
    refused = lhmap("localize", world / "run", "--map", path, "--out", world / "out")
    assert refused.exit_code == 2 and "has no places" in refused.stderr and "lhmap places" in refused.stderr
    added = lhmap("places", path)
    assert added.exit_code == 0 and "places with 8 headings each" in added.stdout, added.output
    with LHMap.open(path) as street:
        assert PlaceDatabase.of(street, KnowingDescriber.sha256) is not None
    found = lhmap("localize", world / "run", "--map", path, "--out", world / "out")
    assert found.exit_code == 0 and "20 poses" in found.stdout and "TRACKING" in found.stdout, found.output


def test_finding_places_is_measured(world):
    lhmap("places", world / "street.lhmap")
    run = ("evaluate", "place", "--map", world / "street.lhmap", "--bag", world / "run", "--frames", "0-19/5")
    found = lhmap(*run, "--outside", world / "elsewhere", "--json")
    assert found.exit_code == 0, found.output
    figures = json.loads(found.stdout)
    assert figures["images"] == figures["images_outside"] == 4
    for key in ("recall_at_1_5m", "recall_at_5_5m", "recall_at_1_20m", "success_rate", "success_rate_5"):
        assert figures[key] == 1.0, figures
    assert figures["success_rate_10"] == 1.0 and figures["false_accept_rate"] == 0.0
    assert 0 < figures["seconds_p50"] <= figures["seconds_p99"]
    assert 0 < figures["chance"]["recall_at_1_5m"] < 0.1 and "recall_at_1_5m" in figures["baseline"]
    table = lhmap(*run)
    assert table.exit_code == 0 and "success rate 10" in table.stdout


def test_relocalizers_are_measured_side_by_side(world):
    lhmap("places", world / "street.lhmap")
    run = ("evaluate", "relocalizers", "--map", world / "street.lhmap", "--bag", world / "run", "--frames", "0-19/5")
    found = lhmap(*run, "--json")
    assert found.exit_code == 0, found.output
    figures = json.loads(found.stdout)
    (places,) = figures["methods"].values()
    assert figures["images"] == 4 and 0 < places["median_m"] < 3 and places["recall"][2] == 1.0
    assert places["verified_recall"] == [1.0] * 3 and places["believed"] == 1.0 and places["wrong"] == 0.0
    with LHMap.open(world / "street.lhmap") as street:
        stored = street.info()["section_bytes"]["places"]
    assert places["kb_per_km"] == pytest.approx(stored / 1000 / 0.2, rel=0.01) and places["ms"] > 0
    table = lhmap(*run)
    assert table.exit_code == 0 and "places" in table.stdout and "4 images" in table.stdout


def test_what_cannot_be_measured_or_learned_is_one_line(world):
    run = ("--map", world / "street.lhmap", "--bag", world / "run")
    for arguments, words in (
        (("evaluate", "nonsense", *run), "expected pose, place or relocalizers"),
        (("evaluate", "place", *run), "has no places"),
        (("evaluate", "place", *run, "--model", "m", "--no-grey"), "--model, --grey found, which evaluate place does"),
        (("evaluate", *run, "--mapping-bag", world / "run"), "--mapping-bag found, which evaluate pose does not use"),
        (("evaluate", "relocalizers", *run), "has neither places nor anything learned"),
        (("places", world / "none.lhmap"), "none.lhmap: cannot be opened"),
        (("learn", world / "run", "--map", world / "street.lhmap", "--method", "magic"), "expected one of coordinates"),
    ):
        failed = lhmap(*arguments)
        assert failed.exit_code == 2 and words in failed.stderr, failed.output
