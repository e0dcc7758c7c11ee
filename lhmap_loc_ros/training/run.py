# SPDX-License-Identifier: Apache-2.0
"""The stages of `lhmap train`: data, flow, heat, place, codes, regress, reference_heat, export."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ..configuration import Config, load
from ..datasets.synthetic.grounds import CHARACTERS
from ..errors import InputError
from .drives import AnyDrive

if TYPE_CHECKING:
    from ..evaluation.protocol import Query

Character = Literal[CHARACTERS]
"""Kinds of town."""
_QUANTIZED_BY = 6
"""At most so many images of each bag give the ranges of the values in int8 files."""


class DataConfig(Config):
    """Settings of `lhmap train data`."""

    synthetic_seeds: list[int] = Field(default_factory=list, description="worlds to generate")
    seeds_of: dict[Character, list[int]] = Field(
        default_factory=dict, description="worlds to generate, by the kind of town instead of one that the seed draws"
    )
    footway_seeds: list[int] = Field(
        default_factory=list, description="worlds to generate that low robots map and see from the footpath"
    )
    synthetic_name: str = "synth"
    images: int = Field(160, ge=2, description="images per world")
    length: float = Field(240.0, gt=50, description="length of a world [m]")
    image_width: int = Field(1280, ge=64, description="wider images are shrunk to so many pixels")
    synthetic_width: int = Field(640, ge=64, description="worlds are rendered so wide [pixels]")
    drives: list[AnyDrive] = Field(default_factory=list, description="drives of any kind, named by `kind`")

    @model_validator(mode="after")
    def _names_differ(self):
        """Of two shards with one name the second would be taken as done."""
        names = [name for drive in self.drives for name in drive.shards()]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two drives give the shard {', '.join(twice)}; expected different names")
        return self


class CalibrationRun(Config):
    """A bag with known poses, of a day other than those its map is from, as `lhmap evaluate` takes it."""

    map: Path
    bag: Path
    frames: str = Field("all", description="which images: all, 60-71, or every fifth, 0-99/5")
    truth: Path | None = Field(None, description="TUM file of base_link in the map; if left out, BAG.tum or TF")
    field_deg: float | None = Field(
        None, gt=0, lt=180, description="the middle of the images alone, so wide [deg]; if left out, all of them"
    )
    intensity: bool = Field(True, description="whether the map has intensities; false: as if it had none")

    def varied(self, query: Query) -> Query:
        """A query of the bag as these settings have it."""
        from ..evaluation.protocol import narrowed, without_intensity

        if self.field_deg is not None:
            query = narrowed(query, self.field_deg)
        return query if self.intensity else without_intensity(query)


class ExportConfig(Config):
    """Settings of `lhmap train export`."""

    flow: Path | None = Field(None, description="checkpoint of the flow network")
    heat: Path | None = Field(None, description="checkpoint of the heat network")
    place: Path | None = Field(None, description="checkpoint of the place network")
    codes: Path | None = Field(None, description="checkpoint of the decoder of codes")
    reference_heat: Path | None = Field(None, description="checkpoint of the reference method's heat network")
    regress: list[Path] = Field(default_factory=list, max_length=3, description="checkpoints of stages 1, 2 and 3")
    name: str = Field("flow", description="prefix of the flow network's files")
    width: int = Field(320, multiple_of=16)
    height: int = Field(96, multiple_of=16)
    calibration: list[CalibrationRun] = Field(
        default_factory=list, description="what the covariance is calibrated on, and the ranges of int8"
    )


def make_data(config: DataConfig, out: Path) -> None:
    """Write the shards that do not exist yet."""
    from .material import synthetic_shard

    worlds = [(seed, None, False) for seed in config.synthetic_seeds]
    worlds += [(seed, character, False) for character, seeds in config.seeds_of.items() for seed in seeds]
    worlds += [(seed, None, True) for seed in config.footway_seeds]
    for seed, character, footway in worlds:
        path = out / f"{config.synthetic_name}{'_footway' if footway else ''}_{seed}.npz"
        if not path.exists():
            logging.info("world %d", seed)
            synthetic_shard(
                seed, path, config.length, config.images,
                character=character, width=config.synthetic_width, footway=footway,
            )  # fmt: skip
    for drive in config.drives:
        for name, write in drive.shards().items():
            path = out / f"{name}.npz"
            if not path.exists():
                logging.info("%s", name)
                write(path, config.image_width)


def export(config: ExportConfig, out: Path) -> None:
    """Write ONNX files, the covariance calibrated on the bags named."""
    from ..networks.codes import CodesNet
    from ..networks.heat import HeatNet
    from ..networks.place import PlaceNet
    from ..networks.reference_heat import ReferenceHeatNet
    from ..networks.regress import RegressNet
    from .checkpoint import load_checkpoint
    from .export import export_codes, export_heat, export_place, export_regress

    if config.flow:
        _export_flow(config, out)
    if config.heat:
        net, step = load_checkpoint(config.heat, HeatNet)
        export_heat(net, out / "heat.onnx", config.width, config.height, {"step": step})
    if config.place:
        net, step = load_checkpoint(config.place, PlaceNet)
        with _all_or_none(out) as folder:
            export_place(net, folder, {"step": step})
    if config.codes:
        net, step = load_checkpoint(config.codes, CodesNet)
        with _all_or_none(out) as folder:
            export_codes(net, folder, {"step": step})
    if config.reference_heat:
        net, step = load_checkpoint(config.reference_heat, ReferenceHeatNet)
        path = out / "reference_heat.onnx"
        export_heat(net, path, config.width, config.height, {"step": step}, method="of_view")
    for stage, path in enumerate(config.regress, 1):
        net, step = load_checkpoint(path, RegressNet)
        export_regress(net, out / f"regress_{stage}.onnx", config.width, config.height, {"step": step})


@contextmanager
def _all_or_none(out: Path) -> Iterator[Path]:
    """A folder whose files come to `out` when the block ends well: networks of one checkpoint fit no others."""
    from .quantize import move_networks

    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=out) as folder:
        yield Path(folder)
        move_networks(Path(folder), out)


def _export_flow(config: ExportConfig, out: Path) -> None:
    """The files of the flow network; with bags to calibrate on, those for int8 and a covariance, too.

    Raises InputError for what `lhmap evaluate` would refuse.
    """
    from ..networks.flow import FlowNet
    from .checkpoint import load_checkpoint
    from .export import export_flow

    net, step = load_checkpoint(config.flow, FlowNet)
    with _all_or_none(out) as folder:
        export_flow(net, folder, config.name, config.width, config.height, {"step": step})
        if config.calibration:
            _fit_to_bags(str(folder / config.name), config.calibration)


def _fit_to_bags(prefix: str, runs: list[CalibrationRun]) -> None:
    """Makes the int8 files of exported networks, and fits the covariance of what those say."""
    from ..evaluation.bag_queries import BagQueries
    from ..inference import Backend
    from ..lhmap import LHMap
    from ..localization.covariance import METADATA_KEY
    from ..localization.refine import Refiner, RefinerConfig
    from .calibrate import Trials, fit_covariances, trials
    from .quantize import add_metadata, quantize_flow

    with ExitStack() as stack:
        sets = []
        for run in runs:
            lhmap = stack.enter_context(LHMap.open(run.map))
            sets.append(stack.enter_context(BagQueries(run.bag, lhmap, run.truth, run.frames)))
        few = (islice(q, 0, None, -(-len(q) // _QUANTIZED_BY)) for q in sets)
        quantize_flow(prefix, chain(*(map(run.varied, queries) for run, queries in zip(runs, few, strict=True))))
        refiner = Refiner(RefinerConfig(model=prefix, backend=Backend.ONNXRUNTIME))
        found = []
        for run, queries in zip(runs, sets, strict=True):
            logging.info("calibrate on %s, %d images", run.bag, len(queries))
            found.append(trials(refiner, map(run.varied, queries)))
    model = fit_covariances(Trials.joined(found))
    logging.info("covariance %s", model)
    add_metadata(prefix, {METADATA_KEY: asdict(model)})


def train(stage: str, config_path: Path, out: Path, resume: bool = True) -> None:
    """Run one stage with the settings of a YAML file; raises ConfigError or InputError."""
    from .codes import CodesTrainConfig, train_codes
    from .flow import FlowTask, FlowTrainConfig
    from .heat import HeatTask, HeatTrainConfig
    from .place import PlaceTrainConfig, train_place
    from .reference import ReferenceHeatTask, ReferenceHeatTrainConfig, RegressTask, RegressTrainConfig
    from .trainer import fit

    def fitting(task):
        return lambda settings, folder: fit(task(settings), settings, folder, resume)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    stages = {
        "data": (DataConfig, make_data),
        "flow": (FlowTrainConfig, fitting(FlowTask)),
        "heat": (HeatTrainConfig, fitting(HeatTask)),
        "place": (PlaceTrainConfig, lambda settings, folder: train_place(settings, folder, resume)),
        "codes": (CodesTrainConfig, lambda settings, folder: train_codes(settings, folder, resume)),
        "regress": (RegressTrainConfig, fitting(RegressTask)),
        "reference_heat": (ReferenceHeatTrainConfig, fitting(ReferenceHeatTask)),
        "export": (ExportConfig, export),
    }
    if stage not in stages:
        raise InputError(f"stage {stage!r} is unknown, expected one of {', '.join(stages)}")
    model, run = stages[stage]
    run(load(model, config_path), Path(out))
