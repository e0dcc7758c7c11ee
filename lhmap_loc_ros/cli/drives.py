# SPDX-License-Identifier: Apache-2.0
"""The commands about drives to work with: `lhmap simulate` and `lhmap play`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..console import ProgressBars, fails_in_one_line


@fails_in_one_line
def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the two bags and the true poses.")],
    seed: Annotated[int, typer.Option(help="Number of the world; the same number gives the same bytes.")] = 0,
    length: Annotated[float, typer.Option(help="Distance driven in each run [m].")] = 300.0,
    camera: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            metavar="NAME|FILE",
            help="default, kitti, realsense, realsense-vga, action, fisheye, phone, or a YAML file of one; repeated "
            "for more cameras: two look ahead and back, others to all sides.",
        ),
    ] = None,
    lidar: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="default, 16, 32, 64, 128, solid-state, or a YAML file of one.")
    ] = "default",
    robot: Annotated[str, typer.Option(help="What carries them: car, cart or dog.")] = "car",
    light: Annotated[str, typer.Option(help="When the query run is: day, dusk or night.")] = "day",
    wet: Annotated[bool, typer.Option("--wet", help="The ground is wet in both runs.")] = False,
    world: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="What it is like: a street of an old town, suburb, campus, village or wooded, or the grounds of a "
            "campus (paths, squares, courtyards, car parks); if not set a street, drawn by the seed."
        ),
    ] = None,
    mapping_camera: Annotated[
        bool, typer.Option("--mapping-camera", help="The mapping run has images, too: what `lhmap learn` needs.")
    ] = False,
) -> None:
    """Simulate a street: a mapping run with a LiDAR, and another day a query run with a camera."""
    from ..datasets.synthetic.runs import Settings
    from ..datasets.synthetic.sensors import camera_named, lidar_named
    from ..datasets.synthetic.simulate import simulate as run

    first, *more = map(camera_named, camera or ["default"])
    settings = Settings(
        first,
        lidar_named(lidar),
        robot,
        light,
        wet,
        more_cameras=tuple(more),
        character=world,
        mapping_camera=mapping_camera,
    )
    with ProgressBars() as report:
        run(out, seed, length, report, settings)
    typer.echo(f"{out}: mapping/ and query/ are bags, query.tum holds the true poses of the query run")


@fails_in_one_line
def play(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="Bag: a rosbag2 folder or an .mcap file.")],
    rate: Annotated[float, typer.Option(help="Speed; 2 plays twice as fast.")] = 1.0,
    clock: Annotated[bool, typer.Option("--clock", help="Publish /clock too, for nodes with use_sim_time.")] = False,
    topic: Annotated[Optional[list[str]], typer.Option(help="Play only this topic; may be repeated.")] = None,  # noqa: UP045
    wait: Annotated[float, typer.Option(min=0, help="Begin after so many seconds even without subscribers.")] = 15.0,
) -> None:
    """Publish a bag over DDS, where `ros2 bag play` is not installed.

    Begins when the images have a subscriber, or after a while.
    """
    from ..nodes.player_node import play as run

    with ProgressBars() as report:
        played = run(bag, report=report, rate=rate, clock=clock, topics=tuple(topic or ()), wait_s=wait)
    typer.echo(f"played {played}")
    if played.unheard:
        typer.echo(f"no subscriber of {', '.join(played.unheard)}", err=True)
