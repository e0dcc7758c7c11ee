# SPDX-License-Identifier: Apache-2.0
"""The stages of `lhmap train`: data, flow, heat, regress, reference_heat, export."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..datasets.synthetic.layout import CHARACTERS
from ..errors import ConfigError, InputError
from .drives import AnyDrive

Character = Literal[tuple(CHARACTERS)]
"""Kinds of town."""


class DataConfig(BaseModel):
    """Settings of `lhmap train data`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    synthetic_seeds: list[int] = Field(default_factory=list, description="worlds to generate")
    seeds_of: dict[Character, list[int]] = Field(
        default_factory=dict, description="worlds to generate, by the kind of town instead of one that the seed draws"
    )
    synthetic_name: str = "synth"
    images: int = Field(160, ge=2, description="images per world")
    length: float = Field(240.0, gt=50, description="length of a world [m]")
    drives: list[AnyDrive] = Field(default_factory=list, description="drives of any kind, named by `kind`")

    @model_validator(mode="after")
    def _names_differ(self):
        """Of two shards with one name the second would be taken as done."""
        names = [name for drive in self.drives for name in drive.shards()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two drives give the shard {', '.join(twice)}; expected different names")
        return self


class CalibrationRun(BaseModel):
    """A bag with known poses, of a day other than those its map is from, as `lhmap evaluate` takes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    map: Path
    bag: Path
    frames: str = Field("all", description="which images: all, even, odd, 0-99, 0-99/5")
    truth: Path | None = Field(None, description="TUM file of base_link in the map; if left out, BAG.tum or TF")


class ExportConfig(BaseModel):
    """Settings of `lhmap train export`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow: Path | None = Field(None, description="checkpoint of the flow network")
    heat: Path | None = Field(None, description="checkpoint of the heat network")
    reference_heat: Path | None = Field(None, description="checkpoint of the reference method's heat network")
    regress: list[Path] = Field(default_factory=list, max_length=3, description="checkpoints of stages 1, 2 and 3")
    name: str = Field("flow", description="prefix of the flow network's files")
    width: int = Field(320, multiple_of=16)
    height: int = Field(96, multiple_of=16)
    calibration: list[CalibrationRun] = Field(default_factory=list, description="what calibrates the covariance")


def make_data(config: DataConfig, out: Path) -> None:
    """Write the shards that do not exist yet."""
    from .material import synthetic_shard

    worlds = [(seed, None) for seed in config.synthetic_seeds]
    worlds += [(seed, character) for character, seeds in config.seeds_of.items() for seed in seeds]
    for seed, character in worlds:
        path = out / f"{config.synthetic_name}_{seed}.npz"
        if not path.exists():
            logging.info("world %d", seed)
            synthetic_shard(seed, path, config.length, config.images, character=character)
    for drive in config.drives:
        for name, write in drive.shards().items():
            path = out / f"{name}.npz"
            if not path.exists():
                logging.info("%s", name)
                write(path)


def export(config: ExportConfig, out: Path) -> None:
    """Write ONNX files, the covariance calibrated on the shards named."""
    from ..localization.covariance import METADATA_KEY
    from ..networks.flow import FlowNet
    from ..networks.heat import HeatNet
    from ..networks.reference_heat import ReferenceHeatNet
    from ..networks.regress import RegressNet
    from .checkpoint import load_checkpoint
    from .export import export_flow, export_heat, export_regress

    if config.flow:
        net, step = load_checkpoint(config.flow, FlowNet)
        metadata = {"step": step}
        if config.calibration:
            model = _calibrate(net, config)
            metadata[METADATA_KEY] = asdict(model)
            logging.info("covariance %s", model)
        export_flow(net, out, config.name, config.width, config.height, metadata)
    if config.heat:
        net, step = load_checkpoint(config.heat, HeatNet)
        export_heat(net, out / "heat.onnx", config.width, config.height, {"step": step})
    if config.reference_heat:
        net, step = load_checkpoint(config.reference_heat, ReferenceHeatNet)
        path = out / "reference_heat.onnx"
        export_heat(net, path, config.width, config.height, {"step": step}, method="of_view")
    for stage, path in enumerate(config.regress, 1):
        net, step = load_checkpoint(path, RegressNet)
        export_regress(net, out / f"regress_{stage}.onnx", config.width, config.height, {"step": step})


def _calibrate(net, config: ExportConfig):
    """The covariance models of a flow network; raises InputError for what `lhmap evaluate` would refuse."""
    from ..evaluation.bag_queries import BagQueries
    from ..lhmap import LHMap
    from ..localization.refine import Refiner, RefinerConfig
    from .calibrate import Trials, fit_covariances, trials
    from .validate import TorchModelSet

    refiner = Refiner(RefinerConfig(), TorchModelSet(net, config.width, config.height))
    found = []
    for run in config.calibration:
        with LHMap.open(run.map) as lhmap, BagQueries(run.bag, lhmap, run.truth, run.frames) as queries:
            logging.info("calibrate on %s, %d images", run.bag, len(queries))
            found.append(trials(refiner, queries))
    return fit_covariances(Trials.joined(found))


def train(stage: str, config_path: Path, out: Path, resume: bool = True) -> None:
    """Run one stage with the settings of a YAML file; raises ConfigError or InputError."""
    from .flow import FlowTask, FlowTrainConfig
    from .heat import HeatTask, HeatTrainConfig
    from .reference import ReferenceHeatTask, ReferenceHeatTrainConfig, RegressTask, RegressTrainConfig
    from .trainer import fit

    def fitting(task):
        return lambda settings, folder: fit(task(settings), settings, folder, resume)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = {
        "data": (DataConfig, make_data),
        "flow": (FlowTrainConfig, fitting(FlowTask)),
        "heat": (HeatTrainConfig, fitting(HeatTask)),
        "regress": (RegressTrainConfig, fitting(RegressTask)),
        "reference_heat": (ReferenceHeatTrainConfig, fitting(ReferenceHeatTask)),
        "export": (ExportConfig, export),
    }
    if stage not in stages:
        raise InputError(f"stage {stage!r} is unknown, expected one of {', '.join(stages)}")
    model, run = stages[stage]
    try:
        config = model(**(yaml.safe_load(Path(config_path).read_text()) or {}))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{config_path}: {field}: {first['msg']}, found {first['input']!r}") from error
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{config_path}: {error}") from error
    run(config, Path(out))
