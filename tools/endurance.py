#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A localizer_node under a camera's full stream for minutes: where every image went, latency, CPU, memory.

    tools/endurance.py WORK [--minutes 10] [--rate 30] [--width 1280] [--height 384] [--json FILE]

Simulates a street in the folder WORK (used again if it is there), maps it, and plays the images over DDS again and
again to the node, which starts anew each time the stamps go back.
"""

import argparse
import json
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from scipy.spatial.transform import Rotation

from lhmap_loc_ros.console import ProgressBars
from lhmap_loc_ros.datasets.synthetic.runs import Settings
from lhmap_loc_ros.datasets.synthetic.sensors import CameraSpec
from lhmap_loc_ros.datasets.synthetic.simulate import simulate
from lhmap_loc_ros.datasets.tum import read_tum
from lhmap_loc_ros.mapping.builder import build_map
from lhmap_loc_ros.memory import resident_mb, shared_mb
from lhmap_loc_ros.processes import NodeProcesses

SAMPLE_S = 1.0
NODES = "lhmap_loc_ros.nodes"


class Listener:
    """Hears what the node says of each image, and of all of them."""

    def __init__(self):
        self.latency_ms, self.heard_at, self.states, self.counts, self.stages = [], [], [], {}, {}
        self._node = rclpy.create_node("endurance")
        self._node.create_subscription(DiagnosticArray, "status", self._on_status, QoSProfile(depth=1000))
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._going = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while self._going:
            self._executor.spin_once(timeout_sec=0.2)

    def _on_status(self, message):
        values = {v.key: v.value for v in message.status[0].values}
        self.heard_at.append(time.monotonic())
        self.latency_ms.append(float(values["latency_ms"]))
        self.states.append(values["state"])
        for name in ("crop_ms", "refine_ms", "total_ms"):
            self.stages.setdefault(name, []).append(float(values[name]))

    def _on_diagnostics(self, message):
        for status in message.status:
            if status.name.endswith(": camera"):
                found = {v.key: v.value for v in status.values}
                self.counts = {k: int(v) for k, v in found.items() if k.startswith("images_")}

    def close(self):
        self._going = False
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()


def prepare(work: Path, width: int, height: int, rate: float) -> tuple[Path, Path]:
    """The map and the query bag."""
    street, lhmap = work / f"street_{width}x{height}_{rate:g}", work / "street.lhmap"
    with ProgressBars() as report:
        if not street.exists():
            settings = Settings(CameraSpec.pinhole(width, height, 0.58 * width, rate=rate))
            simulate(street, seed=1, length=200.0, report=report, settings=settings)
        if not lhmap.exists():
            build_map(street / "mapping", lhmap, report=report).close()
    return lhmap, street / "query"


def parameters(lhmap: Path, bag: Path, out: Path) -> Path:
    """The node starts, each time, at the first true pose."""
    start = read_tum(bag.with_name("query.tum")).poses[0]
    yaw = float(Rotation.from_matrix(start[:3, :3]).as_euler("zyx")[0])
    x, y, z = start[:3, 3].tolist()
    values = {
        "map_path": str(lhmap), "set_initial_pose": True, "initial_pose": {"x": x, "y": y, "z": z, "yaw": yaw},
        "initial_sigma_m": 0.3, "initial_sigma_deg": 1.0,
    }  # fmt: skip
    out.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return out


def process_state(pid: int) -> tuple[float, float, float]:
    """Resident memory [MB], how much of it is shared with the sender of the images, and CPU time spent so far [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return resident_mb(pid), shared_mb(pid), ticks / os.sysconf("SC_CLK_TCK")


def played(log: Path, topic: str) -> int:
    """How many messages of a topic the player says it has sent."""
    lines = [line for line in log.read_text().splitlines() if line.strip().startswith(topic)]
    return int(lines[-1].split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=30.0)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=384)
    parser.add_argument("--json", type=Path)
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    lhmap, bag = prepare(a.work, a.width, a.height, a.rate)
    domain, topic = random.randint(1, 101), "/camera/image_raw"
    rclpy.init(domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
    listener, samples = Listener(), []
    remaps = {"image": topic, "camera_info": "/camera/camera_info", "odometry": "/odom"}
    remapped = [word for name, to in remaps.items() for word in ("-r", f"{name}:={to}")]
    with NodeProcesses(a.work / "logs", domain) as nodes:
        file = parameters(lhmap, bag, a.work / "localizer.yaml")
        nodes.start("localizer", f"{NODES}.localizer_node", "--ros-args", "--params-file", str(file), *remapped)
        topics = [topic, "/camera/camera_info", "/tf_static", "/odom"]
        play = ["--loop", "--no-clock", "--wait", "120", "--topics", *topics]
        nodes.start("player", f"{NODES}.player_node", str(bag), *play)
        while not listener.latency_ms:
            nodes.check("localizer", "player")
            time.sleep(0.1)
        pid, end = nodes.pid("localizer"), time.monotonic() + 60 * a.minutes
        while time.monotonic() < end:
            nodes.check("localizer", "player")
            samples.append((time.monotonic(), *process_state(pid)))
            time.sleep(SAMPLE_S)
        nodes.end("player")
        time.sleep(3)  # one more of the diagnostics, which come every second
        nodes.end("localizer")
    listener.close()
    sent = played(a.work / "logs" / "player.log", topic)
    report = summary(sent, listener, np.array(samples))
    rclpy.try_shutdown()
    print(json.dumps(report, indent=1))
    if a.json:
        a.json.write_text(json.dumps(report, indent=1))


def summary(sent: int, listener: Listener, samples: np.ndarray) -> dict:
    """What became of the images, and what it took.

    Resident memory swings by the arrays of the image at work, so that its growth is that of medians: of each tenth of
    the time after the first minute, in which caches fill. Shared memory is apart: the segment of Fast DDS in which the
    sender leaves images, 32 MB at most, whose pages count here, too, once an image was read from them.
    """
    counts, latency = listener.counts, np.array(listener.latency_ms)
    received = counts["images_received"]
    times, rss, shared, cpu = samples.T
    tenths = np.linspace(min(times[0] + 60, times.mean()), times[-1], 11)
    all_by_tenth, own_by_tenth = medians(times, rss, tenths), medians(times, rss - shared, tenths)
    return {
        "images_sent": sent, "lost_on_the_way": sent - received, **counts,
        "not_accounted_for": 2 * received - sum(counts.values()),
        "latency_ms": {f"p{p}": round(float(np.percentile(latency, p)), 1) for p in (50, 90, 99)},
        "latency_ms_by_tenth": medians(np.array(listener.heard_at), latency, tenths),
        "stages_p50": {name: round(float(np.median(values)), 1) for name, values in listener.stages.items()},
        "states": dict(Counter(listener.states)),
        "minutes": round((times[-1] - times[0]) / 60, 2), "cpu_cores": round(np.ptp(cpu) / np.ptp(times), 2),
        "rss_mb_by_tenth": all_by_tenth, "rss_mb_most": round(rss.max(), 1),
        "rss_growth_percent": growth_percent(all_by_tenth),
        "own_mb_by_tenth": own_by_tenth, "own_growth_percent": growth_percent(own_by_tenth),
    }  # fmt: skip


def growth_percent(by_tenth: list[float]) -> float:
    """From the first tenth to the last."""
    return round(100 * (by_tenth[-1] / by_tenth[0] - 1), 2)


def medians(times: np.ndarray, values: np.ndarray, borders: np.ndarray) -> list[float]:
    """The median of the values between each two borders of time."""
    first = np.searchsorted(times, borders)
    return [round(float(np.median(values[i:j])), 1) for i, j in zip(first[:-1], first[1:], strict=True)]


if __name__ == "__main__":
    main()
