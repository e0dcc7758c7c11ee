# SPDX-License-Identifier: Apache-2.0
"""The stages of `lhmap train`: data, flow, heat, export."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ConfigError, InputError


class KittiDrive(BaseModel):
    """A drive in the KITTI odometry layout, and which of its frames may be learned from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    sequence: str
    frames: str = Field("all", description="'all' or a range such as 0-109")
    queries: list[str] = Field(["odd", "even"], description="odd: map of even frames, images of odd ones")
    name: str = Field(description="name of the shards")


class DataConfig(BaseModel):
    """Settings of `lhmap train data`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    synthetic_seeds: list[int] = Field(default_factory=list, description="worlds to generate")
    synthetic_name: str = "synth"
    images: int = Field(160, ge=2, description="images per world")
    length: float = Field(240.0, gt=50, description="length of a world [m]")
    kitti: list[KittiDrive] = Field(default_factory=list)


class ExportConfig(BaseModel):
    """Settings of `lhmap train export`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow: Path | None = Field(None, description="checkpoint of the flow network")
    heat: Path | None = Field(None, description="checkpoint of the heat network")
    name: str = Field("flow", description="prefix of the flow network's files")
    width: int = Field(320, multiple_of=16)
    height: int = Field(96, multiple_of=16)
    calibration: list[str] = Field(
        default_factory=list, description="glob patterns of shards that calibrate the covariance"
    )


def make_data(config: DataConfig, out: Path) -> None:
    """Write the shards that do not exist yet."""
    from .material import kitti_shard, synthetic_shard

    for seed in config.synthetic_seeds:
        path = out / f"{config.synthetic_name}_{seed}.npz"
        if not path.exists():
            logging.info("world %d", seed)
            synthetic_shard(seed, path, config.length, config.images)
    for drive in config.kitti:
        for queries in drive.queries:
            path = out / f"{drive.name}_{queries}.npz"
            if not path.exists():
                logging.info("%s, %s frames", drive.sequence, queries)
                kitti_shard(drive.root, drive.sequence, path, drive.frames, queries)


def export(config: ExportConfig, out: Path) -> None:
    """Write ONNX files, the covariance calibrated on the shards named."""
    from ..networks.flow import FlowNet
    from ..networks.heat import HeatNet
    from .checkpoint import load_checkpoint
    from .data import find_shards
    from .export import export_flow, export_heat
    from .shards import Shard
    from .validate import covariance_scale

    if config.flow:
        net, step = load_checkpoint(config.flow, FlowNet)
        metadata = {"step": step}
        if config.calibration:
            shards = [Shard(p) for p in find_shards(config.calibration)]
            scale = covariance_scale(net, shards, config.width, config.height)
            metadata["covariance_scale"] = [round(float(s), 3) for s in scale]
            logging.info("covariance scale %s", metadata["covariance_scale"])
        export_flow(net, out, config.name, config.width, config.height, metadata)
    if config.heat:
        net, step = load_checkpoint(config.heat, HeatNet)
        export_heat(net, out, config.width, config.height, {"step": step})


def train(stage: str, config_path: Path, out: Path, resume: bool = True) -> None:
    """Run one stage with the settings of a YAML file; raises ConfigError or InputError."""
    from .flow import FlowTask, FlowTrainConfig
    from .heat import HeatTask, HeatTrainConfig
    from .trainer import fit

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = {
        "data": (DataConfig, make_data),
        "flow": (FlowTrainConfig, lambda c, o: fit(FlowTask(c), c, o, resume)),
        "heat": (HeatTrainConfig, lambda c, o: fit(HeatTask(c), c, o, resume)),
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
