# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny_bag import write_bag, write_truth, write_walls

from lhmap_loc_ros.errors import ConfigError, InputError, ModelError
from lhmap_loc_ros.evaluation.methods import make_method
from lhmap_loc_ros.geometry import pose_error
from lhmap_loc_ros.inference import Precision, load_model
from lhmap_loc_ros.localization.covariance import CovarianceModel
from lhmap_loc_ros.localization.features import GRIDS
from lhmap_loc_ros.localization.network_set import GridNetworks, NetworkSet
from lhmap_loc_ros.localization.refine import RefinerConfig
from lhmap_loc_ros.mapping.heat import FULL_SCALE, full_scale_of
from lhmap_loc_ros.networks.flow import FlowNet
from lhmap_loc_ros.networks.heat import FULL_SCALE_OF_MEAN, HeatNet
from lhmap_loc_ros.networks.place import PlaceNet
from lhmap_loc_ros.training import export, material
from lhmap_loc_ros.training.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from lhmap_loc_ros.training.drives import DatasetDrive, PairsOfImages
from lhmap_loc_ros.training.export import export_heat
from lhmap_loc_ros.training.flow import FlowTask, FlowTrainConfig
from lhmap_loc_ros.training.heat import HeatTask, HeatTrainConfig
from lhmap_loc_ros.training.quantize import MOST, Sampled
from lhmap_loc_ros.training.run import train
from lhmap_loc_ros.training.shards import Shard
from lhmap_loc_ros.training.trainer import fit
from lhmap_loc_ros.training.validate import TorchModelSet

CONFIGS = Path(__file__).parents[2] / "config" / "train"


def config(shard_path, **change):
    values = {
        "train": [str(shard_path)], "validation": {"wall": str(shard_path)}, "width": 160, "height": 48,
        "batch": 2, "steps": 2, "workers": 0, "validate_every": 2, "validation_frames": 2, "learning_rate": 1e-3,
    }  # fmt: skip
    return FlowTrainConfig(**(values | change))


def train_flow(settings, out):
    return fit(FlowTask(settings), settings, out)


def distance(a, b):
    return sum((p - q).abs().sum() for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_training_resumes_where_it_stopped(shard_path, tmp_path):
    train_flow(config(shard_path), tmp_path)
    last = tmp_path / "last.safetensors"
    before, step = load_checkpoint(last, FlowNet)
    assert step == 2
    train_flow(config(shard_path, steps=3), tmp_path)
    after, step = load_checkpoint(last, FlowNet)
    assert step == 3
    # near the weights it went on from; begun anew, it would be as far from them as any other initial weights
    assert 0 < distance(before, after) < 0.1 * distance(before, FlowNet())


def test_compiled_encoders_are_those_that_are_trained(shard_path, tmp_path, monkeypatch):
    compiled = []

    def record(function):
        compiled.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", record)
    train_flow(config(shard_path, compile=True), tmp_path)
    assert compiled == ["image", "map"]
    net, step = load_checkpoint(tmp_path / "last.safetensors", FlowNet)
    assert step == 2 and net.state_dict().keys() == FlowNet().state_dict().keys()


@pytest.mark.parametrize(
    "module, without",
    [
        # it has no wheel for 64-bit Arm
        ("run", "embreex"),
        ("bag_material", "plyfile"),
        ("scene", "plyfile"),
        ("scene_codes", "lightning_fabric"),
    ],
)
def test_what_is_trained_needs_no_package_of_other_work(module, without):
    program = f"import sys; sys.modules['{without}'] = None; import lhmap_loc_ros.training.{module}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_worlds_are_generated_by_seed_by_kind_of_town_and_for_the_footpath(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(
        material,
        "synthetic_shard",
        lambda seed, path, *_, character, width, footway: made.append((seed, path.name, character, footway)),
    )
    settings = tmp_path / "data.yaml"
    settings.write_text("synthetic_seeds: [7]\nseeds_of: {wooded: [3], old town: [4, 5]}\nfootway_seeds: [8]\n")
    train("data", settings, tmp_path)
    assert made == [
        (7, "synth_7.npz", None, False), (3, "synth_3.npz", "wooded", False), (4, "synth_4.npz", "old town", False),
        (5, "synth_5.npz", "old town", False), (8, "synth_footway_8.npz", None, True),
    ]  # fmt: skip
    settings.write_text("seeds_of: {jungle: [3]}")
    with pytest.raises(ConfigError, match="seeds_of.*jungle"):
        train("data", settings, tmp_path)


def test_the_shipped_configurations_find_their_shards(tmp_path, monkeypatch):
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in CONFIGS.glob("*.yaml")}
    monkeypatch.setattr(material, "synthetic_shard", lambda seed, path, *_, **__: path.touch())
    monkeypatch.setattr(DatasetDrive, "_writer", lambda *_: lambda path, width: path.touch())
    monkeypatch.setattr(PairsOfImages, "_write", lambda self, path, width: path.touch())
    learned, validated = [], []
    for stem, config in configs.items():
        if stem.startswith("data"):
            train("data", CONFIGS / f"{stem}.yaml", tmp_path)
        learned += config.get("train", [])
        validated += config.get("validation", {}).values()
    found = {glob: {path.name for path in tmp_path.glob(Path(glob).name)} for glob in (*learned, *validated)}
    assert learned and validated and all(found.values()), found
    for glob in validated:
        assert not found[glob] & set.union(*(found[g] for g in learned))
    worlds = [(path.stem, path.stem.split("_")[-1]) for path in tmp_path.glob("synth*")]
    assert len({seed for _, seed in worlds}) == len(worlds)


def test_the_best_validation_is_kept_and_a_worse_one_does_not_replace_it(shard_path, tmp_path):
    best = train_flow(config(shard_path), tmp_path)
    assert best == tmp_path / "best.safetensors"
    score = float(read_metadata(best)["score"])
    metadata = {"score": repr(-1e9)}
    net, _ = load_checkpoint(best, FlowNet)
    save_checkpoint(best, net, None, 1, metadata)
    train_flow(config(shard_path, steps=4), tmp_path)
    assert np.isfinite(score) and read_metadata(best)["step"] == "1"
    assert any((tmp_path / "tensorboard").iterdir())


def test_heat_is_trained_on_the_flow_networks_errors(shard_path, tmp_path):
    flow = train_flow(config(shard_path), tmp_path / "flow")
    settings = HeatTrainConfig(train=[str(shard_path)], flow=flow, width=160, height=48, batch=2, steps=2, workers=0)
    path = fit(HeatTask(settings), settings, tmp_path / "heat")
    net, step = load_checkpoint(path, HeatNet)
    assert step == 2
    view = torch.rand(1, 4, 48, 160)
    view[:, 1] = (view[:, 1] > 0.5).float()
    with torch.no_grad():
        heat = net.eval()(view)
    assert heat.shape == (1, 1, 48, 160)
    assert ((heat > 0) == (view[:, 1:2] > 0)).all() and heat.max() <= 1


def test_exported_networks_say_what_torch_says(tmp_path, untrained_flow):
    net, covariance, folder = untrained_flow
    grid = (160, 64)
    export_heat(HeatNet(), tmp_path / "heat.onnx", 160, 48, {})
    onnx, own = NetworkSet(RefinerConfig(model=str(folder / "flow"), threads=1)), TorchModelSet(net, [grid])
    assert full_scale_of(load_model(tmp_path / "heat.onnx")) == FULL_SCALE
    assert onnx.grids == GRIDS and onnx.covariance == covariance
    onnx = onnx.for_grid(grid)
    assert onnx.grid == grid
    rng = np.random.default_rng(0)
    image, view = rng.random((3, 64, 160), np.float32), rng.random((4, 64, 160), np.float32)
    for method in ("coarse", "fine"):
        cell = 0 if method == "coarse" else 1
        found = getattr(onnx, method)(onnx.map(view), onnx.image(image)[cell])
        expected = getattr(own, method)(own.map(view), own.image(image)[cell])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=5e-3)
    with pytest.raises(ModelError, match=r"\(1, 4, 10, 10\).*\(1, 4, 48, 160\)"):
        load_model(tmp_path / "heat.onnx").run({"map": np.zeros((1, 4, 10, 10), np.float32)})


def test_an_export_that_says_something_else_than_torch_leaves_no_file(tmp_path, monkeypatch):
    class Shifted:
        def run(self, inputs):
            return {"y": inputs["x"] + 1.0}

    monkeypatch.setattr(export, "load_model", lambda *_, **__: Shifted())
    with pytest.raises(ModelError, match="same.onnx: output 'y' differs from torch by"):
        export.export_part(
            torch.nn.Hardtanh(-9, 9), "forward", {"x": torch.ones(1, 3)}, ["y"], tmp_path / "same.onnx", {}
        )
    assert not list(tmp_path.iterdir())


def test_networks_of_one_checkpoint_are_all_exported_or_none(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "place.safetensors", PlaceNet(), None, 7)
    settings, out, written = tmp_path / "export.yaml", tmp_path / "out", []
    settings.write_text(f"place: {tmp_path / 'place.safetensors'}\n")

    def write_some(net, method, inputs, outputs, path, metadata):
        if written:
            raise ModelError("the second")
        path.write_bytes(b"of step 7")
        written.append(path.name)

    monkeypatch.setattr(export, "export_part", write_some)
    with pytest.raises(ModelError, match="the second"):
        train("export", settings, out)
    assert written == ["place_image.onnx"] and not list(out.iterdir())


def test_file_that_is_no_network_is_refused(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="not a usable ONNX network"):
        load_model(tmp_path / "a.onnx")


def test_file_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path / "a.safetensors", FlowNet)


def test_impossible_setting_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("train: [a]\nvalidation: {}\nbatch: 0\n")
    with pytest.raises(ConfigError, match="batch.*0"):
        train("flow", path, tmp_path)
    path.write_text("train: [a]\nprecision: 16-mixed\n")
    with pytest.raises(ConfigError, match="precision.*16-mixed"):
        train("flow", path, tmp_path)
    with pytest.raises(InputError, match="expected one of"):
        train("dance", path, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"[1, 2]", "list"), (b"train: [\xff]", "no text in UTF-8"), (b"train: [", "not YAML"), (b"tran: [a]", "tran")],
)
def test_settings_that_are_none_are_refused(tmp_path, content, said):
    (tmp_path / "c.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=f"c.yaml.*{said}"):
        train("flow", tmp_path / "c.yaml", tmp_path)
    with pytest.raises(ConfigError, match="none.yaml.*cannot be read"):
        train("flow", tmp_path / "none.yaml", tmp_path)


def test_shards_that_are_missing_or_damaged_are_named_before_the_first_step(shard_path, tmp_path):
    with pytest.raises(InputError, match="no training shard matches.*wal.npz"):
        train_flow(config(shard_path, train=[str(shard_path.with_name("wal.npz"))], workers=1), tmp_path)
    whole, damaged = shard_path.read_bytes(), tmp_path / "damaged.npz"
    for content in (whole[: len(whole) // 2], b"", b"nothing", whole[:60] + bytes(60) + whole[120:]):
        damaged.write_bytes(content)
        with pytest.raises(InputError, match="damaged.npz is not a training shard"):
            Shard(damaged)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(InputError, match="array.npy is not a training shard"):
        Shard(tmp_path / "array.npy")


def nothing_moves(cell):
    """What a head says that leaves the start where it is; an untrained one may lead out of the map."""

    def head(self, encoded, image):
        width, height = self.grid
        flow = np.zeros((2, height // cell, width // cell), np.float32)
        return flow, np.zeros_like(flow)

    return head


@pytest.mark.parametrize("given", [5, MOST, MOST + 1, 500])
def test_ranges_of_int8_come_from_few_inputs_of_all_that_there_were(given):
    sampled = Sampled()
    for number in range(given):
        sampled.add({"number": number})
    kept = [inputs["number"] for inputs in sampled.kept]
    assert min(given, MOST // 2) <= len(kept) <= MOST
    assert len(set(np.diff(kept))) == 1 and given - kept[-1] <= kept[1] - kept[0]


def test_exported_networks_are_calibrated_on_bags_as_they_are_evaluated(tmp_path, monkeypatch, untrained_flow):
    monkeypatch.setattr(
        export, "export_flow", lambda net, out, *_: copytree(untrained_flow[-1], out, dirs_exist_ok=True)
    )
    monkeypatch.setattr(GridNetworks, "coarse", nothing_moves(8))
    monkeypatch.setattr(GridNetworks, "fine", nothing_moves(4))
    bag, truth = write_bag(tmp_path / "bag", frames=4), tmp_path / "bag.tum"
    write_truth(truth, frames=4)
    write_walls(tmp_path / "walls.lhmap")
    save_checkpoint(tmp_path / "flow.safetensors", FlowNet(), None, 1, {})
    run = {"map": str(tmp_path / "walls.lhmap"), "bag": str(bag), "frames": "0-3/3"}
    runs = [run, {**run, "frames": "0", "field_deg": 50, "intensity": False}]
    config = {"flow": str(tmp_path / "flow.safetensors"), "width": 160, "height": 64, "calibration": runs}
    (tmp_path / "export.yaml").write_text(json.dumps(config))
    train("export", tmp_path / "export.yaml", tmp_path / "models")
    exported = RefinerConfig(model=str(tmp_path / "models" / "flow"), threads=1)
    networks = NetworkSet(exported)
    assert {network.precision for network in networks.networks} == {"int8"}
    for model in (networks.covariance.rough, networks.covariance.near):
        assert model not in (CovarianceModel(), untrained_flow[1].near) and np.isfinite(model.factors(0.5, 0.1)).all()
    single = exported.model_copy(update={"precision": Precision.FP32})
    assert NetworkSet(single).covariance == networks.covariance
    # without bags there are no ranges of values: no int8 files, those of the network before are gone
    (tmp_path / "export.yaml").write_text(json.dumps({**config, "calibration": []}))
    train("export", tmp_path / "export.yaml", tmp_path / "models")
    assert {network.precision for network in NetworkSet(exported).networks} == {"fp32"}
    assert sorted(p.name for p in (tmp_path / "models").rglob("*") if p.is_file()) == [
        f"flow_{part}.onnx" for part in ("coarse", "fine", "image", "map")
    ]


def test_reference_networks_are_trained_and_exported_by_the_same_commands(shard_path, tmp_path):
    def write(name, **values):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(values))
        return tmp_path / f"{name}.yaml"

    common = {"train": [str(shard_path)], "width": 64, "height": 48, "batch": 2, "steps": 1, "workers": 0}
    checked = {"validation": {"wall": str(shard_path)}, "validation_frames": 1, "levels": [1]}
    train("regress", write("regress", **common, **checked), tmp_path / "regress")
    train("reference_heat", write("heat", **common, kept=40), tmp_path / "heat")
    stages = [str(tmp_path / "regress" / "best.safetensors")] * 2
    exported = {"regress": stages, "reference_heat": str(tmp_path / "heat" / "last.safetensors")}
    train("export", write("export", **exported, width=64, height=48), tmp_path / "models")
    method = make_method("regress", str(tmp_path / "models" / "regress"))
    assert method.iterations == 2
    frame = Shard(shard_path).frame(0)
    estimate = method.localize(np.ascontiguousarray(frame.image), frame.camera, frame.crop, frame.T_map_camera)
    # an untrained network says that nothing has to move
    assert pose_error(estimate.poses[-1], frame.T_map_camera)[0] < 1.0
    heat = load_model(tmp_path / "models" / "reference_heat.onnx").run({"map": np.ones((1, 4, 48, 64), np.float32)})
    assert (heat["heat"] > 0).all()
    # which its maps have at few points: the mean is one
    assert full_scale_of(load_model(tmp_path / "models" / "reference_heat.onnx")) == FULL_SCALE_OF_MEAN


def test_heat_is_learned_through_the_solver_by_a_setting(shard_path, tmp_path):
    flow = train_flow(config(shard_path), tmp_path / "flow")
    settings = HeatTrainConfig(
        train=[str(shard_path)], flow=flow, width=160, height=48, batch=2, steps=2, workers=0, objective="pose"
    )
    net, step = load_checkpoint(fit(HeatTask(settings), settings, tmp_path / "heat"), HeatNet)
    assert step == 2
    # the mean that it is trained to have fills less than half of the heat of maps
    export_heat(net, tmp_path / "heat.onnx", 160, 48, {})
    assert full_scale_of(load_model(tmp_path / "heat.onnx")) == pytest.approx(FULL_SCALE_OF_MEAN * settings.share)
