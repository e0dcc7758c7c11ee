# SPDX-License-Identifier: Apache-2.0
"""The commands `lhmap import ...`: data sets become bags, point clouds become maps."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from ..console import ConfigOption, ProgressBars, fails_in_one_line

if TYPE_CHECKING:
    from ..datasets.camera_lidar import CameraLidarDrive

importing = typer.Typer(no_args_is_help=True, help="Turn data sets into bags, and point clouds into maps.")


class Frames(str, Enum):
    """Which frames of a sequence."""

    all = "all"
    even = "even"
    odd = "odd"


BagOutArgument = Annotated[
    Path, typer.Argument(metavar="OUT", help="New bag; the true poses, if known, go to OUT.tum.")
]
FramesOption = Annotated[Frames, typer.Option(help="Even frames make a map, odd ones are queries.")]


def _import(drive: CameraLidarDrive, out: Path, frames: Frames) -> None:
    """Writes the bag of a drive."""
    from ..datasets.importing import import_drive

    with ProgressBars() as report:
        bag = import_drive(drive, out, frames.value, report=report)
    typer.echo(f"{bag}: written")


@importing.command("kitti")
@fails_in_one_line
def import_kitti(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Folder in the KITTI odometry layout: sequences/, poses/.")
    ],
    sequence: Annotated[str, typer.Argument(metavar="SEQUENCE", help="Name of the sequence, as in sequences/NAME.")],
    out: BagOutArgument,
    frames: FramesOption = Frames.all,
    deskew: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(help="Scans are distorted by motion, as those of raw drives are; found out if not set."),
    ] = None,
) -> None:
    """Turn a KITTI sequence into a bag."""
    from ..datasets.kitti import Sequence

    source = Sequence(root, sequence, deskew)
    _import(source, out, frames)
    if source.deskews:
        typer.echo("scans: freed of their distortion by motion")


@importing.command("kitti-raw")
@fails_in_one_line
def import_kitti_raw(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of KITTI raw data: DATE/DRIVE/, synchronized.")],
    drive: Annotated[str, typer.Argument(metavar="DRIVE", help="Name of the drive: 2011_09_26_drive_0005_sync.")],
    out: BagOutArgument,
    frames: FramesOption = Frames.all,
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM or KITTI file of the poses of the Velodyne, instead of the GPS/IMU."),
    ] = None,
) -> None:
    """Turn a KITTI raw drive into a bag."""
    from ..datasets.kitti_raw import RawDrive

    source = RawDrive(root, drive, poses)
    _import(source, out, frames)
    if source.left_out:
        typer.echo(f"{source.left_out} frames have no scan or no image and are left out")


@importing.command("argoverse2")
@fails_in_one_line
def import_argoverse2(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="Folder of a log of the Argoverse 2 Sensor dataset.")],
    out: BagOutArgument,
    frames: FramesOption = Frames.all,
    camera: Annotated[str, typer.Option(help="Camera, as in LOG/sensors/cameras/NAME.")] = "ring_front_center",
) -> None:
    """Turn an Argoverse 2 log into a bag (needs pyarrow: pip install 'lhmap_loc_ros[argoverse]')."""
    from ..datasets.argoverse2 import SensorLog

    _import(SensorLog(log, camera), out, frames)


@importing.command("cloud")
@fails_in_one_line
def import_cloud(
    cloud: Annotated[
        Path, typer.Argument(metavar="CLOUD", help="PLY, PCD, LAS or LAZ file, or a folder of tiles (Autoware).")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The map to write, e.g. campus.lhmap.")],
    path: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of poses of base_link where robots will drive: gives heat, budget and places."),
    ] = None,
    voxel: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Edge of a voxel [m]; 0.1 by default, 0.15 for a budget below 2."),
    ] = None,
    budget: Annotated[Optional[float], typer.Option(help="Size of the map [MB per km of path].")] = None,  # noqa: UP045
    config: ConfigOption = None,
) -> None:
    """Turn a point cloud map into an LHMap."""
    from ..configuration import read_yaml, validate
    from ..datasets.tum import read_tum
    from ..errors import InputError
    from ..mapping.config import BuildConfig
    from ..mapping.from_cloud import map_from_cloud
    from ..memory import give_back_large_arrays

    give_back_large_arrays()
    if budget is not None and path is None:
        raise InputError("--budget counts bytes per kilometre of path: it needs --path FILE")
    asked = {"voxel_m": voxel, "budget_mb_per_km": budget}
    values = {**(read_yaml(config) if config else {}), **{k: v for k, v in asked.items() if v is not None}}
    settings = validate(BuildConfig, values, str(config or "options"))
    with ProgressBars() as report:
        lhmap = map_from_cloud(cloud, out, settings, None if path is None else read_tum(path), report)
    facts = lhmap.info()
    typer.echo(f"{out}: {facts['points']} points, {facts['bytes'] / 1e6:.2f} MB")
