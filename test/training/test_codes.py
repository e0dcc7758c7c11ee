# SPDX-License-Identifier: Apache-2.0
"""Training the decoder of codes: features of shards, grid cells, the loss, a short run, and its files."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from lhmap_loc_ros.errors import InputError
from lhmap_loc_ros.geometry import Camera, make_pose
from lhmap_loc_ros.inference import load_model
from lhmap_loc_ros.networks.codes import CodesNet
from lhmap_loc_ros.scenes.codes import HALF_M, WEIGHTS_KEY
from lhmap_loc_ros.scenes.encoder import COARSE, cell_rays
from lhmap_loc_ros.training import codes_material, export
from lhmap_loc_ros.training.checkpoint import load_checkpoint, read_metadata, save_checkpoint, sha256_of
from lhmap_loc_ros.training.codes import codes_loss
from lhmap_loc_ros.training.codes_material import CodesFeatures, describe_shard
from lhmap_loc_ros.training.codes_worlds import grid_cells
from lhmap_loc_ros.training.export import export_codes
from lhmap_loc_ros.training.run import train
from lhmap_loc_ros.training.shards import write_shard

AHEAD = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]])
CAMERA = Camera(304, 88, 200.0, 200.0, 151.5, 43.5)
WALL_M = 20.0


class Encoder:
    """A cell's brightness, in place of the network."""

    coarse = COARSE

    def __init__(self, view, threads=0):
        pass

    def features(self, channels):
        return np.repeat(channels[0, 4::8, 4::8].ravel()[:, None], COARSE + 4, 1)


@pytest.fixture
def shard(tmp_path, monkeypatch):
    """Four images of a wall across the street, whose upper half has no depth."""
    monkeypatch.setattr(codes_material, "SceneEncoder", Encoder)
    rng, poses = np.random.default_rng(0), [make_pose(AHEAD, (x, 0, 1.6)) for x in (0.0, 1.0, 2.0, 3.0)]
    images = [rng.integers(0, 255, (88, 304, 3), np.uint8) for _ in poses]
    depths = [np.full((88, 304), WALL_M - pose[0, 3], np.float32) for pose in poses]
    for depth in depths:
        depth[:40] = np.nan
    points = np.column_stack([np.full(500, WALL_M), rng.uniform(-5, 5, 500), rng.uniform(0, 3, 500)])
    path = tmp_path / "wall.npz"
    write_shard(path, images, [CAMERA] * 4, poses, depths, points, rng.random(500))
    return path


def test_cells_of_a_shard_lie_where_its_depth_says_and_varied_images_only_ask(shard):
    features = describe_shard(shard)
    known = np.isfinite(features.depth)
    np.testing.assert_allclose(features.places()[known][:, 0], WALL_M, atol=0.05)
    assert features.cells.shape[1] == 2 * COARSE + 4 and 0.4 < known.mean() < 0.95
    # of each image one as it is, and one varied; of the former every fourth is held out
    assert features.asks.tolist() == [False, True] * 3 + [True, True]


def test_features_come_back_from_their_file(shard, tmp_path):
    features = describe_shard(shard)
    features.write(tmp_path / "f" / "wall.npz")
    again = CodesFeatures.read(tmp_path / "f" / "wall.npz")
    assert all(np.array_equal(value, getattr(again, name), equal_nan=True) for name, value in vars(features).items())


def test_what_lies_in_a_grid_cell_teaches_or_asks_and_the_rest_is_outside():
    places = np.array([[1, 1, 0], [24, 24, 0], [26, 1, 0], [np.nan] * 3, [3, 3, 4.0]])
    image = np.array([0, 0, 0, 1, 2])
    (cell,) = grid_cells(places, image, np.array([False, False, True]), min_pixels=2)
    np.testing.assert_allclose(cell.centre, (12.5, 12.5, 0))
    assert cell.teach.tolist() == [0, 1] and cell.ask.tolist() == [4]
    # the second image sees nothing of it
    assert cell.outside.tolist() == [2]


def test_images_of_no_known_depth_have_no_grid_cells():
    assert grid_cells(np.full((5, 3), np.nan), np.zeros(5, int), np.zeros(1, bool)) == []


def test_shards_of_no_known_depth_are_refused(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(codes_material, "FAR_M", 0.0)
    config = tmp_path / "codes.yaml"
    config.write_text(f"train: ['{shard}']\nsteps: 1\n")
    with pytest.raises(InputError, match="no grid cell of 25 m with 150 cells of images of known depth found"):
        train("codes", config, tmp_path / "run")


def test_shards_of_one_name_are_refused_before_features_are_kept_by_it(tmp_path):
    shards = [tmp_path / folder / "wall.npz" for folder in ("a", "b")]
    with pytest.raises(InputError, match="a/wall.npz and .*b/wall.npz have one name, expected different ones"):
        codes_material.write_features(shards, tmp_path / "features")


def batch_of(inside):
    """Two cells of an image that looks ahead from the grid cell's centre."""
    rays = torch.tensor(cell_rays(Camera(608, 176, 300.0, 300.0, 303.5, 87.5))[[800, 801]], dtype=torch.float32)
    pose = torch.eye(4).expand(1, 2, 4, 4)
    return {
        "rays": rays[None], "depth": torch.full((1, 2), 10.0), "pose": pose, "focal": torch.full((1, 2), 300.0),
        "coordinates": rays[None] * 10 / HALF_M, "inside": torch.tensor([inside]),
    }  # fmt: skip


@pytest.mark.parametrize("progress", [0.0, 0.9])
def test_what_lies_outside_learns_to_be_unsure_and_nothing_of_its_place(progress):
    batch = batch_of([True, False])
    out = torch.cat([batch["coordinates"] + 0.1, torch.zeros(1, 2, 1)], 2).requires_grad_()
    codes_loss(out, batch, progress)[0].backward()
    gradient = out.grad[0]
    assert gradient[0, :3].abs().max() > 0 and gradient[1, :3].abs().max() == 0
    assert gradient[1, 3] < 0


def test_right_places_cost_less():
    batch = batch_of([True, True])
    losses = [codes_loss(torch.cat([batch["coordinates"] + e, torch.zeros(1, 2, 1)], 2), batch, 0.9) for e in (0, 0.1)]
    assert losses[0][0] < losses[1][0] and losses[0][1] < 1e-4 < losses[1][1]


def test_pruned_codes_are_not_looked_at():
    torch.manual_seed(0)
    net = CodesNet(cells=(8,), whole=(8,), width=(16,), layers=(2,), heads=(2,), code=(8,))
    x, codes = torch.randn(1, 5, 16), torch.randn(1, 6, 8)
    kept = torch.tensor([[1.0, 0, 1, 0, 1, 1]])
    out, attention = net.attend(x, codes, kept)
    alone, _ = net.attend(x, codes[:, kept[0] > 0], torch.ones(1, 4))
    torch.testing.assert_close(out, alone)
    assert len(attention) == 2 and attention[0][..., 1].abs().max() == 0


def test_a_run_learns_and_goes_on_where_it_was(shard, tmp_path):
    config = tmp_path / "codes.yaml"
    text = f"train: ['{shard}']\ncells: 2\npixels: 64\ncodes: 16\nwidth: 16\nlayers: 1\nvalues: 8\n"
    config.write_text(text + "steps: 4\nsave_every: 2\n")
    train("codes", config, tmp_path / "run")
    last, codes = tmp_path / "run" / "last.safetensors", tmp_path / "run" / "codes.safetensors"
    assert (tmp_path / "run" / "features" / "wall.npz").exists() and codes.exists()
    net, _ = load_checkpoint(last, CodesNet)
    # what is usual among the worlds is the decoder's
    assert net.mean.abs().max() > 0 and net.basis.abs().max() > 0
    config.write_text(text + "steps: 6\nsave_every: 2\n")
    train("codes", config, tmp_path / "run")
    assert read_metadata(last)["step"] == read_metadata(codes)["step"] == "6"


def test_the_command_exports_the_files_and_the_weights_they_are_of(tmp_path, monkeypatch):
    net = CodesNet(cells=(20,), whole=(32,), place=(8,), width=(16,), layers=(1,), heads=(2,), code=(8,))
    save_checkpoint(tmp_path / "last.safetensors", net, None, 3)
    monkeypatch.setattr(export, "export_part", lambda net, method, inputs, outputs, path, *_: path.write_bytes(b"onnx"))
    (tmp_path / "export.yaml").write_text(f"codes: {tmp_path / 'last.safetensors'}\n")
    train("export", tmp_path / "export.yaml", tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"codes_image.onnx", "codes_decoder.onnx", "checkpoints/codes.safetensors"}


def test_its_files_decode_as_it_does_and_name_the_weights_they_are_of(tmp_path):
    torch.manual_seed(0)
    net = CodesNet(cells=(20,), whole=(32,), place=(8,), width=(16,), layers=(1,), heads=(2,), code=(8,))
    torch.nn.init.normal_(net.basis)
    paths = export_codes(net, tmp_path, {"step": 3})
    assert [path.name for path in paths] == ["codes_image.onnx", "codes_decoder.onnx"]
    weights = tmp_path / "checkpoints" / "codes.safetensors"
    image, decoder = (load_model(path, "onnxruntime", grid=(240, 432)) for path in paths)
    assert image.metadata[WEIGHTS_KEY] == decoder.metadata[WEIGHTS_KEY] == sha256_of(weights)
    rng, net = np.random.default_rng(0), load_checkpoint(weights, CodesNet)[0]
    # on another grid than it was compared on
    cells, whole = (rng.normal(size=s).astype(np.float32) for s in ((1, 20, 54, 30), (1, 32)))
    seen = image.run({"cells": cells, "whole": whole})
    codes, kept = rng.normal(size=(1, 96, 8)).astype(np.float32), (np.arange(96) < 5)[None].astype(np.float32)
    found = decoder.run({"embedded": seen["embedded"], "codes": codes, "kept": kept})["outputs"]
    with torch.no_grad():
        embedded, place = net.image(torch.from_numpy(cells), torch.from_numpy(whole))
        expected = net.decode(embedded, torch.from_numpy(codes[:, :5]), torch.ones(1, 5))
    np.testing.assert_allclose(seen["place"], place.numpy(), atol=1e-3)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)
