# SPDX-License-Identifier: Apache-2.0
"""The node measured from outside: a bag is played over DDS to a localizer_node, what it publishes is recorded."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from .datasets.bag import BagReader
from .datasets.calibration_files import SUFFIXES
from .datasets.tum import read_tum
from .errors import BagError, InputError, LhmapError
from .evaluation import metrics
from .evaluation.results import evaluate
from .extras import require_ros
from .geometry import to_quaternion
from .lhmap import LHMap
from .localization.inputs import DEFAULT_ODOMETRY, BagInputs, read_setup
from .localization.offline import LocalizeConfig, write_run
from .localization.start import StartPose, near_truth
from .processes import NodeProcesses
from .progress import Report, quiet

NODES = f"{__package__}.nodes"
LINGER_S = 1.5
"""How long the last image may take after the bag has ended."""
_LONGEST_NS = 86_400 * 10**9
"""No drive is longer to either side of its middle."""


@dataclass(frozen=True)
class Plan:
    """What a live run needs to know of its bag."""

    first_ns: int
    """When the first image was taken, by the clock of the poses."""
    images: int
    seconds: float
    """Duration of the bag."""
    topics: tuple[str, ...]
    """What is played: what the localizer listens to, nothing else."""
    odometry: str
    """Topic of the odometry; empty without any."""
    fix: str
    """Topic of GPS fixes; empty without any."""
    compressed: bool
    """The images are compressed."""


def run_live(
    bag,
    map_path,
    truth,
    out,
    start: StartPose | Callable[[int], StartPose] | None = None,
    seed: int = 0,
    config: LocalizeConfig | None = None,
    report: Report | None = None,
    title: str = "Localization over ROS 2",
    extra: dict[str, float] | None = None,
    anywhere: bool = False,
) -> dict[str, float]:
    """Localizes a bag through the live node; returns the figures that metrics.json in `out` holds.

    localizer_node, recorder and player are processes of their own that see each other over DDS alone. `start` is as
    for `localize_bag`, None: 1 m and 3 degrees beside the pose of the TUM file `truth`, in directions drawn from
    `seed`; it reaches the node as /initialpose. With `anywhere` none does: the node finds its place. Raises BagError or
    InputError for unusable files, LhmapError if a process fails or hangs.
    """
    require_ros()
    config, report = config or LocalizeConfig(), report or quiet
    out, true_poses = Path(out), read_tum(truth)
    with LHMap.open(map_path) as lhmap:
        # 1. everything that can be wrong with the files, before any process starts
        plan = make_plan(bag, config.inputs)
        if anywhere:
            start = None
        elif start is None:
            start = near_truth(true_poses, plan.first_ns, seed)
        elif callable(start):
            start = start(plan.first_ns)
        (out / "logs").mkdir(parents=True, exist_ok=True)
        # 2. the run
        recording = play_to_node(bag, map_path, plan, start, lhmap.metadata.frame, config, out / "logs", report)
        # 3. what came of it
        record, states = read(recording)
        write_run(out, record, config)
        counted = {
            "losses": metrics.losses(states),
            "tracking_share": float(np.mean([state == "TRACKING" for state in states])),
            "images_sent": plan.images,
            "images_used": len(states),
            "poses_received": len(record),
            "frames_without_pose": len(states) - len(record),
        }
        report("evaluate", 0, 1)
        summary = evaluate(record, true_poses, bag, lhmap, out, title, config.inputs, {**counted, **(extra or {})})
        report("evaluate", 1, 1)
    return summary


def make_plan(bag, inputs: BagInputs) -> Plan:
    """Looks at a bag; raises BagError if it lacks what the node will need, InputError for more than one camera."""
    if inputs.more_cameras:
        raise InputError("more_cameras: played to the node is one camera; leave it out, or localize without --live")
    with BagReader(bag) as reader:
        setup = read_setup(reader, inputs)
        odometry = inputs.odometry
        if odometry is None:
            odometry = DEFAULT_ODOMETRY if DEFAULT_ODOMETRY in reader.topics else ""
        info = [] if inputs.camera_info.endswith(SUFFIXES) else [inputs.camera_info]
        mounted = inputs.camera_in_base is not None or setup.frame == inputs.base_frame
        fixed = [inputs.tf_static] if inputs.tf_static in reader.topics or not mounted else []
        fix = reader.fix_topic
        topics = [inputs.image, *info, *fixed, *[topic for topic in (odometry, fix) if topic]]
        reader.require(*topics)
        first = next(iter(reader.messages([inputs.image])), None)
        if first is None:
            raise BagError(f"{bag}: {inputs.image} holds no message, expected images")
        compressed = reader.topics[inputs.image].endswith("CompressedImage")
        return Plan(
            first.stamp_ns - inputs.delay_ns,
            reader.count(inputs.image),
            _seconds(reader, inputs.image),
            tuple(topics),
            odometry,
            fix,
            compressed,
        )


def _seconds(reader: BagReader, topic: str) -> float:
    """From the first to the last message, but for those of a false stamp."""
    stamps = np.array(reader.first_stamps(topic, None), np.int64)
    stamps = stamps[np.abs(stamps - np.median(stamps)) < _LONGEST_NS]
    return int(np.ptp(stamps)) / 1e9


def play_to_node(
    bag, map_path, plan: Plan, start: StartPose | None, map_frame: str, config: LocalizeConfig, logs: Path,
    report: Report,
) -> Path:  # fmt: skip
    """Runs the three processes until the bag has ended; returns the file of the recorder."""
    recording, initial, parameters = logs / "recording.jsonl", logs / "initial_pose.json", logs / "localizer.yaml"
    recording.unlink(missing_ok=True)
    told = []
    if start is not None:
        initial.write_text(_initial_pose(start, plan.first_ns, map_frame))
        told = ["--initial", str(initial)]
    parameters.write_text(_parameters(config, map_path, plan))
    # domains above 101 collide with the ports of outgoing connections
    with NodeProcesses(logs, random.randint(1, 101)) as nodes:
        nodes.start("recorder", f"{NODES}.recorder", str(recording), *told)
        nodes.start("localizer", f"{NODES}.localizer_node", *_ros_arguments(config.inputs, plan, parameters))
        # the player begins by itself when the localizer listens
        nodes.start("player", f"{NODES}.player_node", str(bag), "--wait", "60", "--topics", *plan.topics)
        total = max(round(plan.seconds), 1)
        nodes.wait(
            "player", plan.seconds + 90, alive=("recorder", "localizer"),
            tick=lambda seconds: report("play to the node [s]", min(round(seconds), total), total),
        )  # fmt: skip
        _linger(nodes)
        report("play to the node [s]", total, total)
        if nodes.end("localizer") != 0:
            raise LhmapError(f"the localizer did not end cleanly ({nodes.log('localizer')})")
        nodes.end("recorder")
    if not recording.is_file():
        raise LhmapError(f"the recorder wrote nothing ({nodes.log('recorder')})")
    return recording


def read(recording: Path):
    """The record of the poses, and the state at every image, those of a lost track included."""
    from .nodes.recorder import read_recording

    rows = [json.loads(line) for line in recording.read_text().splitlines()]
    return read_recording(recording), [row["state"] for row in rows if "state" in row]


def _linger(nodes: NodeProcesses) -> None:
    """The last image is still being worked on when the player has ended."""
    end = time.monotonic() + LINGER_S
    while time.monotonic() < end:
        nodes.check("recorder", "localizer")
        time.sleep(0.1)


def _initial_pose(start: StartPose, stamp_ns: int, frame: str) -> str:
    translation, quaternion = to_quaternion(start.T_map_base)
    return json.dumps(
        {
            "stamp_ns": stamp_ns, "frame": frame, "pose": [*translation.tolist(), *quaternion.tolist()],
            "covariance": start.covariance.ravel().tolist(),
        }
    )  # fmt: skip


def _parameters(config: LocalizeConfig, map_path, plan: Plan) -> str:
    """The ROS parameters of the node: the same configuration as offline."""
    values = {
        "map_path": str(map_path),
        "base_frame_id": config.inputs.base_frame,
        "camera_frame_id": config.inputs.camera_frame,
        "image_delay_s": config.inputs.image_delay_s,
        **({"camera_info_url": config.inputs.camera_info} if config.inputs.camera_info.endswith(SUFFIXES) else {}),
        **config.inputs.model_dump(include={"rectified", "camera_in_base"}, exclude_none=True, mode="json"),
        "image_transport": "compressed" if plan.compressed else "raw",
        # ROS reads the null of YAML as a word
        "tracker": config.tracker.model_dump(mode="json", exclude_none=True),
        "refiner": config.refiner.model_dump(mode="json", exclude_none=True),
        "relocalize": config.relocalize.model_dump(mode="json", exclude_none=True),
        "relocalizer": config.relocalizer,
    }
    return yaml.safe_dump({"/**": {"ros__parameters": values}}, sort_keys=False)


def _ros_arguments(inputs: BagInputs, plan: Plan, parameters: Path) -> list[str]:
    names = {"image/compressed" if plan.compressed else "image": inputs.image}
    names |= {} if inputs.camera_info.endswith(SUFFIXES) else {"camera_info": inputs.camera_info}
    names |= {"odometry": plan.odometry or "odometry", "fix": plan.fix or "fix", "/tf_static": inputs.tf_static}
    remaps = [part for name, topic in names.items() if name != topic for part in ("-r", f"{name}:={topic}")]
    return ["--ros-args", "--params-file", str(parameters), *remaps]
