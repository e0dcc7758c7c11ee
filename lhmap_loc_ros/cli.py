# SPDX-License-Identifier: Apache-2.0
"""The command `lhmap`: one thin function a command; what a command needs is imported inside it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Optional

import typer

from . import __version__
from .cli_bench import benching
from .cli_engine import engine
from .cli_import import importing
from .cli_learn import learn
from .cli_movie import movie
from .cli_places import places
from .console import (
    BagArgument,
    ConfigOption,
    ProgressBars,
    cell,
    fails_in_one_line,
    print_table,
    show_logs,
    tell_left_out,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build compact LiDAR heat maps and localize a camera in them.\n\n"
    "A first tour: `lhmap demo OUT` simulates a street, maps it and localizes a camera in it over ROS 2.",
)
app.add_typer(importing, name="import")
app.add_typer(engine, name="engine")
app.add_typer(benching, name="bench")
app.command("places")(places)
app.command("learn")(learn)
app.command("movie")(movie)

MapOption = Annotated[Path, typer.Option("--map", "-m", help="The map, an .lhmap file.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lhmap {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]
    = False,
) -> None:  # fmt: skip
    """Options before the command."""


@app.command()
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
    from .datasets.synthetic.runs import Settings
    from .datasets.synthetic.sensors import camera_named, lidar_named
    from .datasets.synthetic.simulate import simulate as run

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


@app.command()
@fails_in_one_line
def build(
    bags: Annotated[
        list[Path], typer.Argument(metavar="BAG...", help="Bags with scans; several need poses in one map frame.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The map to write, e.g. campus.lhmap.")],
    config: ConfigOption = None,
    poses: Annotated[Optional[Path], typer.Option(help="TUM or KITTI file of the poses of base_link.")] = None,  # noqa: UP045
    voxel: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Edge of a voxel [m]; 0.1 by default, 0.15 for a budget below 2."),
    ] = None,
    budget: Annotated[Optional[float], typer.Option(help="Size of the map [MB per km driven].")] = None,  # noqa: UP045
    work: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder to keep the results of stages in: another bag then costs only the tiles it touches."),
    ] = None,
    scheduler: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="ADDRESS", help="A Dask scheduler, e.g. tcp://host:8786, whose workers see this disk."),
    ] = None,
    places: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option("--places/--no-places", help="Store descriptors of places, to localize without a start pose."),
    ] = None,
) -> None:
    """Build a map from LiDAR scans: accumulate, remove moving objects, score points, select the best under a budget.

    Poses come from --poses, else from the TF or odometry in the bag, else kiss-icp computes them. An interrupted build
    is resumed when it is run again. The settings of --config are listed in docs/map-format.md.
    """
    from .configuration import read_yaml, validate
    from .mapping.builder import build_map
    from .mapping.config import BuildConfig
    from .memory import give_back_large_arrays

    give_back_large_arrays()
    source = None if poses is None else "file"  # whatever the settings say of poses
    asked = {"poses": source, "poses_file": poses, "voxel_m": voxel, "budget_mb_per_km": budget, "places": places}
    values = {**(read_yaml(config) if config else {}), **{k: v for k, v in asked.items() if v is not None}}
    with ProgressBars() as report:
        lhmap = build_map(bags, out, validate(BuildConfig, values, str(config or "options")), report, work, scheduler)
    facts = lhmap.info()
    size = f"{facts['points']} points, {facts['bytes'] / 1e6:.2f} MB, {facts['path_length_m']:.0f} m driven"
    typer.echo(f"{out}: {size}, poses by {facts['build']['poses']}")


@app.command()
@fails_in_one_line
def info(
    path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe a map: frame, extent, size, how it was built."""
    import json

    from .lhmap import LHMap

    with LHMap.open(path) as lhmap:
        facts = lhmap.info()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    print_table(
        "", ["", ""], [(name.replace("_", " "), cell(value)) for name, value in facts.items() if name != "build"]
    )
    typer.echo("--json tells how it was built, too; lhmap view shows the map")


@app.command("export")
@fails_in_one_line
def export_map(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="NAME.ply, .pcd, .las or .laz; without suffix a folder of PCD tiles.")
    ],
    around_origin: Annotated[
        bool, typer.Option("--around-origin", help="Coordinates relative to the map's origin, for float32 formats.")
    ] = False,
) -> None:
    """Write the points of a map for CloudCompare, QGIS or Autoware, with intensity and heat."""
    from .lhmap import LHMap
    from .mapping.from_cloud import cloud_from_map

    with LHMap.open(map_path) as lhmap:
        cloud_from_map(lhmap, out, around_origin)
        around = f", around {cell(lhmap.metadata.origin)}" if around_origin else ""
        typer.echo(f"{out}: {lhmap.metadata.points} points{around}")


@app.command()
@fails_in_one_line
def view(
    map_path: Annotated[Path, typer.Argument(metavar="MAP", help="The map, an .lhmap file.")],
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="The HTML page to write; if not set, MAP.html is written and opened."),
    ] = None,
    points: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(min=1, help="At most so many points, evenly thinned; 150000 in a browser, 5000000 in a window."),
    ] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window of Open3D instead.")] = False,
) -> None:
    """Look at a map, coloured by heat, in a browser or a window."""
    import webbrowser

    from .evaluation.map_view import write_view
    from .evaluation.map_window import show_window
    from .lhmap import LHMap

    if window:
        from .errors import InputError

        if out is not None:
            raise InputError("--window and --out found, expected one: a window writes no page")
        with LHMap.open(map_path) as lhmap:
            typer.echo(f"{map_path}: {show_window(lhmap, points or 5_000_000)} points")
        return
    page = out or map_path.with_suffix(".html")
    with LHMap.open(map_path) as lhmap:
        shown = write_view(lhmap, page, points or 150_000)
    typer.echo(f"{page}: {shown} points")
    if out is None:
        webbrowser.open(page.resolve().as_uri())


@app.command()
@fails_in_one_line
def check(
    bag: BagArgument,
    map_path: MapOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, .png or .jpg.")],
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the poses of base_link in the map; else BAG.tum, else the TF in the bag."),
    ] = None,
    frame: Annotated[int, typer.Option(help="Number of the image in the bag, from 0.")] = 0,
    config: ConfigOption = None,
) -> None:
    """Draw the map over a camera image at its known pose: tells at once if calibration, poses and map agree."""
    from .configuration import load
    from .evaluation.check import check as run
    from .lhmap import LHMap
    from .localization.offline import LocalizeConfig

    with LHMap.open(map_path) as lhmap:
        seen = run(bag, lhmap, out, frame, poses, load(LocalizeConfig, config).inputs)
    where = f"({seen['x']:.1f}, {seen['y']:.1f}, {seen['z']:.1f}) m"
    typer.echo(f"{out}: image {frame}, camera at {where}, {seen['points']} map points around")
    tell_left_out(seen["left_out"])


@app.command()
@fails_in_one_line
def calibrate(
    bag: BagArgument,
    map_path: MapOption,
    poses: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the poses of base_link in the map; else BAG.tum, else the TF in the bag."),
    ] = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Folder for calibration.json and pictures of before and after."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Tell over a drive with known poses how the camera is really turned on the robot, and whether stamps are off.

    It looks in two ways that know nothing of each other: by the networks' matches, and by the mutual information of
    LiDAR intensity and image brightness. It changes nothing: it prints the transform to use.
    """
    from .configuration import load
    from .evaluation.calibration.calibrate import calibrate as run
    from .evaluation.calibration.calibrate import write
    from .evaluation.calibration.told import HEADER, lines, rows
    from .lhmap import LHMap
    from .localization.offline import LocalizeConfig
    from .outputs import check_folder

    if out is not None:
        check_folder(out)
    settings = load(LocalizeConfig, config)
    with LHMap.open(map_path) as lhmap:
        with ProgressBars() as report:
            found = run(bag, lhmap, poses, settings.inputs, settings.refiner, report)
        if out is not None:
            write(found, lhmap, out)
    print_table("turn the camera about its own axes by (degrees, ± standard deviation):", HEADER, rows(found))
    for line in lines(found):
        typer.echo(line)


@app.command()
@fails_in_one_line
def localize(
    bag: BagArgument,
    map_path: MapOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    init: Annotated[
        Optional[tuple[float, float, float, float]],  # noqa: UP045
        typer.Option(help="Start pose of base_link: x y z [m] and yaw [deg] in the map.", metavar="X Y Z YAW"),
    ] = None,
    init_tum: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Start near the pose that this TUM file has for the first image: 1 m and 3° beside it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Direction of the start error beside a TUM file.")] = 0,
    truth: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the true poses: adds metrics.json and report.html."),
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Run the ROS 2 node on the played bag instead.")] = False,
    config: ConfigOption = None,
) -> None:
    """Localize the images of a bag in a map; writes poses.tum, poses.csv and config.yaml.

    Without a start pose the place is recognised in the whole map, and believed once image and map agree; images before
    that have no pose. After it there is one for every image, also where the track was lost: poses.csv has the states.

    Without --live there is no ROS involved and the same bag gives the same poses. With --live the bag is played
    over DDS at its own speed to a localizer_node, and what it publishes is recorded (needs --truth, near which it
    starts in a map without places, unless told where).
    """
    from .configuration import load
    from .datasets.tum import read_tum
    from .lhmap import LHMap
    from .localization.offline import LocalizeConfig, localize_bag, write_run
    from .outputs import check_folder

    check_folder(out)
    settings, true_poses = load(LocalizeConfig, config), None if truth is None else read_tum(truth)
    if live:
        _localize_live(bag, map_path, out, init, init_tum, truth, seed, settings)
        return
    with LHMap.open(map_path) as lhmap:
        with ProgressBars() as report:
            start = None if init is None and init_tum is None else _start(init, init_tum, seed)
            record = localize_bag(bag, lhmap, start, settings, report)
        write_run(out, record, settings)
        if true_poses is not None:
            from .evaluation.results import evaluate

            _print_summary(evaluate(record, true_poses, bag, lhmap, out, "Localization", settings.inputs), out)
    states = ", ".join(f"{state} {count}" for state, count in Counter(record.states.tolist()).most_common())
    typer.echo(f"{out}: {len(record)} poses, {record.accepted.mean():.0%} of the images used; {states}")
    tell_left_out(record.left_out)
    if "TRACKING" not in record.states:
        typer.echo("it never tracked: is it the map of this place, and the right start?", err=True)


def _start(init, init_tum, seed: int):
    """What `localize_bag` takes as start."""
    from .datasets.tum import read_tum
    from .errors import InputError
    from .localization.start import given, near_truth

    if (init is None) == (init_tum is None):
        raise InputError("two start poses found, expected one of --init X Y Z YAW and --init-tum FILE")
    if init is not None:
        return given(init)
    trajectory = read_tum(init_tum)
    return lambda stamp_ns: near_truth(trajectory, stamp_ns, seed)


def _localize_live(bag, map_path, out, init, init_tum, truth, seed: int, settings) -> None:
    from .errors import InputError

    if truth is None:
        raise InputError("--live needs --truth FILE, which the result is compared with")
    told = init is not None or init_tum is not None
    start = _start(init, init_tum, seed) if told else None
    from .lhmap import LHMap
    from .live import run_live
    from .places.database import has_places

    with LHMap.open(map_path) as lhmap:
        anywhere = not told and has_places(lhmap)
    with ProgressBars() as report:
        summary = run_live(bag, map_path, truth, out, start, seed, settings, report, anywhere=anywhere)
    _print_summary(summary, out)


def _print_summary(summary, out) -> None:
    from .evaluation.report import rows

    print_table("", ["", "localized in the map", "odometry alone"], rows(summary))
    typer.echo(f"report: {out / 'report.html'}")


@app.command()
@fails_in_one_line
def evaluate(
    bag: Annotated[Path, typer.Option("--bag", "-b", help="Bag of a run that the map was not built from.")],
    map_path: MapOption,
    what: Annotated[
        str,
        typer.Argument(
            metavar="[WHAT]",
            help="pose: from rough start poses; place: in the whole map, from none; relocalizers: one image, none.",
        ),
    ] = "pose",
    level: Annotated[
        int, typer.Option(help="Start error on each axis: 1: 2 m and 10°, 2: 1 m and 2°, 3: 0.6 m and 2°.")
    ] = 1,
    method: Annotated[str, typer.Option(help="start (no correction), flow, or regress.")] = "flow",
    model: Annotated[Optional[str], typer.Option(help="Networks to use: a name or a path prefix.")] = None,  # noqa: UP045
    truth: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="TUM file of the true poses of base_link; else BAG.tum, else the TF in the bag."),
    ] = None,
    frames: Annotated[str, typer.Option(help="Images by number: all, 60-71, or 0-300/10 for every tenth.")] = "all",
    disturb: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(metavar="NAME=STRENGTH", help="Disturb image, map or calibration; may be repeated."),
    ] = None,
    grey: Annotated[bool, typer.Option(help="Repeat with a grey image: shows what the input gives away.")] = True,
    outside: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(metavar="BAG", help="place: a bag recorded where the map is not; may be repeated."),
    ] = None,
    mapping_bag: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(metavar="BAG", help="relocalizers: compare with local features of its images, too."),
    ] = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure single images against the truth: start poses wrong by a fixed list, every frame counted.

    No odometry, no filter; the start errors are the same for every method. docs/accuracy.md has the results.
    `lhmap evaluate place` measures finding the place without a start, `lhmap evaluate relocalizers` compares what the
    map has for it: docs/relocalization.md.
    """
    import json

    if what not in ("pose", "place", "relocalizers"):
        from .errors import InputError

        raise InputError(f"evaluate {what!r} found, expected pose, place or relocalizers")
    if what == "relocalizers":
        from .cli_places import evaluate_relocalizers

        evaluate_relocalizers(bag, map_path, truth, frames, mapping_bag, config, as_json)
        return
    if what == "place":
        from .cli_places import evaluate_place

        evaluate_place(bag, map_path, truth, frames, outside or [], config, as_json)
        return

    from .configuration import load
    from .evaluation.disturb import Disturbance
    from .evaluation.evaluate import evaluate_bag, rows
    from .evaluation.methods import EvaluateConfig, make_method
    from .lhmap import LHMap

    settings = load(EvaluateConfig, config)
    disturbances = tuple(Disturbance.parse(text) for text in disturb or ())
    chosen = make_method(method, model, settings.refiner, settings.plan)
    with LHMap.open(map_path) as lhmap, ProgressBars() as report:
        figures, _ = evaluate_bag(chosen, lhmap, bag, level, truth, frames, settings.inputs, disturbances, grey, report)
    if as_json:
        typer.echo(json.dumps({"method": method, "level": level, **figures}, indent=2))
        return
    title = f"{method}, level {level}, {figures['frames']} images"
    print_table(title, ["", "start", "result", "grey image"], rows(figures))
    tell_left_out(figures["left_out"])
    if figures.get("grey_leaks"):
        spread = figures["grey_forward_spread"]
        typer.echo(
            "a grey image gains on the start along the viewing direction: the input may give the pose away"
            + ("" if spread is None else f" (errors scatter {spread:.2f} times as far as the start's)")
        )


@app.command()
@fails_in_one_line
def play(
    bag: Annotated[Path, typer.Argument(metavar="BAG", help="Bag: a rosbag2 folder or an .mcap file.")],
    rate: Annotated[float, typer.Option(help="Speed; 2 plays twice as fast.")] = 1.0,
    clock: Annotated[bool, typer.Option("--clock", help="Publish /clock too, for nodes with use_sim_time.")] = False,
    topic: Annotated[Optional[list[str]], typer.Option(help="Play only this topic; may be repeated.")] = None,  # noqa: UP045
    wait: Annotated[float, typer.Option(min=0, help="Begin after so many seconds even if nobody listens.")] = 15.0,
) -> None:
    """Publish a bag over DDS, where `ros2 bag play` is not installed.

    Begins when somebody listens to the images, or after a while.
    """
    from .nodes.player_node import play as run

    with ProgressBars() as report:
        played = run(bag, report=report, rate=rate, clock=clock, topics=tuple(topic or ()), wait_s=wait)
    typer.echo(f"played {played}")
    if played.unheard:
        typer.echo(f"nobody listens to {', '.join(played.unheard)}", err=True)


@app.command()
@fails_in_one_line
def demo(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for all results; what is there from an equal run is reused.")
    ],
    seed: Annotated[int, typer.Option(help="Number of the world; the default was kept out of all training.")] = 7777,
    length: Annotated[float, typer.Option(help="Distance driven in each run [m].")] = 320.0,
) -> None:
    """The whole path: simulate a street, map it, localize a camera in it over ROS 2, report."""
    from .demo import run_demo

    with ProgressBars() as report:
        summary = run_demo(out, seed, length, report)
    _print_summary(summary, out)


@app.command()
@fails_in_one_line
def train(
    stage: Annotated[
        str, typer.Argument(metavar="STAGE", help="data, flow, heat, place, codes, regress, reference_heat or export.")
    ],
    config: Annotated[Path, typer.Option("--config", "-c", help="YAML file of settings.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for checkpoints, logs and the exported network.")],
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint in OUT, if there is one.")] = True,
) -> None:
    """Train the networks, stage by stage (needs PyTorch: pip install 'lhmap_loc_ros[train]').

    data makes training shards of synthetic worlds and real drives; flow, heat, place and codes, and the reference
    method's regress and reference_heat, train a network on them; export writes the ONNX files a localizer uses.
    """
    from .errors import InputError

    try:
        import torch  # noqa: F401
    except ImportError:
        raise InputError("PyTorch is not installed: pip install 'lhmap_loc_ros[train]'") from None
    from .training.run import train as run

    run(stage, config, out, resume)


def main() -> None:
    """Entry point of the command."""
    show_logs()
    app(prog_name="lhmap")


if __name__ == "__main__":
    main()
