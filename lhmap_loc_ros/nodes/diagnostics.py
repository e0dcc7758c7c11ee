# SPDX-License-Identifier: Apache-2.0
"""How localization goes, as /diagnostics tells it: the track, the camera, the networks, the map."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.node import Node

from ..errors import LhmapError
from ..inference import Model, State
from ..lhmap import LHMap
from ..localization.estimate import PoseEstimate
from ..localization.refine import RefinerConfig
from ..localization.states import TrackState
from .localizer_config import LocalizerConfig

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
_LEVELS = {
    TrackState.TRACKING: OK,
    TrackState.INITIALIZING: WARN,
    TrackState.DEGRADED: WARN,
    TrackState.LOST: ERROR,
}
_WINDOW_S = 5.0
_ODOMETRY_S = 3.0
"""Without odometry for so long it is said that there is no transform to its frame."""
MAX_DROPPED_SHARE = 0.5
"""/diagnostics warns when a greater share of the images is not used."""
MIN_IMAGES = 2
"""/diagnostics warns when fewer images are localized within the time after which a pose is too old for TRACKING."""
LEFT_OUT = {"camera": ("image", "camera_info"), "localization": ("odometry", "transform", "fix")}
"""What is left out and counted, and on which status."""
WAITING = "waiting for initialpose"
SEARCHING = "looking for the place in the whole map"
"""These begin the problem of images that come before it is known where the robot is."""


class Health:
    """What the worker has seen of late; written by the worker, read by the timer."""

    def __init__(self, problem: str):
        self.problem = problem
        """Why the last image was not localized; empty if it was."""
        self.used = 0
        """Images localized."""
        self.late = 0
        """Images older than one localized before."""
        self.refused = 0
        """Images that could not be localized; `problem` says why the last one could not."""
        self.last: PoseEstimate | None = None
        self.placed_at = -math.inf
        """When odometry last told of map -> odom, steady clock [s]."""
        self.doubt = ""
        """What is to be asked of the mounting of a camera; empty if nothing."""
        self.left_out: Counter[str] = Counter()
        """Messages that were of no use, by what they were of."""
        self._done: deque[tuple[float, float]] = deque(maxlen=1000)
        self._counts: deque[tuple[float, float, float]] = deque(maxlen=1000)
        self._complaint = -math.inf, ""
        self._lock = threading.Lock()

    def leave_out(self, what: str, problem: str) -> None:
        """Counts a message that came and is of no use, by what it is of; from any thread."""
        with self._lock:
            self.left_out[what] += 1
        self.complain(problem)

    def complain(self, problem: str) -> None:
        """Something else than an image came and is of no use."""
        self._complaint = time.monotonic(), problem

    @property
    def complaint(self) -> str:
        """What came of late and was of no use; empty if all was."""
        at, problem = self._complaint
        return problem if time.monotonic() < at + _WINDOW_S else ""

    def dropped_share(self, received: float, dropped: float) -> float:
        """Share of the images dropped since the call some seconds ago, from the counts so far; of all at the first."""
        now = time.monotonic()
        while len(self._counts) > 1 and self._counts[1][0] < now - _WINDOW_S:
            self._counts.popleft()
        _, received_then, dropped_then = self._counts[0] if self._counts else (now, 0, 0)
        self._counts.append((now, received, dropped))
        return (dropped - dropped_then) / max(received - received_then, 1)

    def localized(self, result: PoseEstimate, latency_ms: float) -> None:
        """An image gave a result, so long after it had arrived."""
        self.last, self.problem = result, ""
        self.used += 1
        self._done.append((time.monotonic(), latency_ms))

    def refuse(self, problem: str) -> None:
        """An image could not be localized."""
        self.problem = problem
        self.refused += 1

    @property
    def recent(self) -> tuple[float, list[float], float]:
        """Of the last seconds: localized images a second, their latencies [ms]; and the age of the last one [s]."""
        now, done = time.monotonic(), list(self._done)
        latencies = [latency for at, latency in done if at > now - _WINDOW_S]
        return len(latencies) / _WINDOW_S, latencies, self.age_s

    @property
    def lacks_odometry(self) -> bool:
        """Whether odometry has not told of map -> odom for seconds."""
        return time.monotonic() > self.placed_at + _ODOMETRY_S

    @property
    def age_s(self) -> float:
        """How long ago the last image was localized; infinite before the first."""
        return time.monotonic() - self._done[-1][0] if self._done else math.inf


def of_node(node: Node, statuses: Sequence[DiagnosticStatus]) -> list[DiagnosticStatus]:
    """The same, named after the node that tells them, in full: there may be several of its kind."""
    for status in statuses:
        status.hardware_id = node.get_fully_qualified_name()
        status.name = f"{status.hardware_id}: {status.name}"
    return list(statuses)


def no_session(failure: LhmapError | None) -> DiagnosticStatus:
    """Of a node that is not configured."""
    message = str(failure) if failure is not None else "not configured"
    return DiagnosticStatus(level=ERROR if failure else WARN, name="localization", message=message)


def session_statuses(
    health: Health, images: dict[str, float], networks: Sequence[Model], lhmap: LHMap, config: LocalizerConfig,
    active: bool,
) -> list[DiagnosticStatus]:  # fmt: skip
    """One status a subject."""
    localization, camera = _localization(health, config, active), _camera(health, images, config, active)
    for status in (localization, camera):
        counts = {f"{what}_left_out": health.left_out[what] for what in LEFT_OUT[status.name]}
        status.values = [*status.values, *key_values(counts)]
    return [localization, camera, network_status(config.refiner, networks), _map(lhmap, health.last)]


def track_status(result: PoseEstimate, latency_ms: float) -> DiagnosticStatus:
    """The state of the track in words and figures."""
    refinement = result.refinement
    values = {
        "state": result.state.value,
        "stamp_ns": result.stamp_ns,
        "accepted": int(result.accepted),
        "inlier_ratio": 0.0 if refinement is None else float(refinement.inlier_ratio),
        "matches": 0 if refinement is None else refinement.matches,
        "innovation": float(result.innovation),
        "sigma_m": float(np.sqrt(max(np.linalg.eigvalsh(result.covariance[:3, :3])[-1], 0.0))),
        "motion": result.motion,
        "latency_ms": latency_ms,
        **{f"{stage}_ms": value for stage, value in result.timings_ms.items()},
    }
    return DiagnosticStatus(
        level=_LEVELS[result.state],
        name="localization",
        message=result.problem or result.state.value,
        values=key_values(values),
    )


def key_values(values: dict) -> list[KeyValue]:
    """Names and values as diagnostics carry them."""
    return [KeyValue(key=k, value=f"{v:.6g}" if isinstance(v, float) else str(v)) for k, v in values.items()]


def _localization(health: Health, config: LocalizerConfig, active: bool) -> DiagnosticStatus:
    last = health.last
    if last is None or not active:
        message = health.complaint or health.problem if active else "inactive"
        return DiagnosticStatus(level=WARN, name="localization", message=message)
    _, latencies, age_s = health.recent
    status = track_status(last, latencies[-1] if latencies else math.nan)
    if health.problem:
        status.level, status.message = ERROR, health.problem
    elif age_s > config.tracker.states.old_after_s:
        state = TrackState.DEGRADED if last.state is TrackState.TRACKING else last.state
        state = TrackState.LOST if age_s > config.tracker.states.lost_after_s else state
        status.level, status.message = ERROR, f"{state}: the pose is {age_s:.1f} s old"
    elif status.level == OK and health.complaint:
        status.level, status.message = WARN, health.complaint
    elif status.level == OK and config.tf_broadcast and config.tf_child == "odom" and health.lacks_odometry:
        status.level = WARN
        status.message = (
            f"no odometry reaches the images: no transform to {config.odom_frame_id!r} is published; "
            "a robot without odometry needs tf_child: base_link"
        )
    return status


def _camera(health: Health, images: dict[str, float], config: LocalizerConfig, active: bool) -> DiagnosticStatus:
    old_s, (rate, latencies, age_s) = config.tracker.states.old_after_s, health.recent
    max_latency_ms, min_rate_hz = 1e3 * config.diagnostics.max_latency_s, MIN_IMAGES / old_s
    latency_ms = float(np.median(latencies)) if latencies else math.nan
    dropped = health.dropped_share(images["received"], images["dropped"])
    level, message = OK, "images come"
    if not active:
        message = "inactive"
    elif math.isinf(age_s) and not images["received"]:
        level, message = ERROR, health.problem
    elif images["came_s"] > old_s:
        level, message = ERROR, f"last image came {images['came_s']:.1f} s ago"
    elif health.problem.startswith((WAITING, SEARCHING)):
        message = f"images come; {WAITING if health.problem.startswith(WAITING) else SEARCHING}"
    elif math.isinf(age_s):
        level, message = WARN, f"images come, but none was localized yet: {health.problem}"
    elif age_s > old_s:
        level, message = ERROR, f"images come, but the last one was localized {age_s:.1f} s ago"
    elif health.doubt and health.last is not None and health.last.state is not TrackState.TRACKING:
        level, message = WARN, health.doubt
    elif latency_ms > max_latency_ms:
        level, message = WARN, f"images take {latency_ms:.0f} ms, limit {max_latency_ms:.0f} ms"
    elif rate < min_rate_hz:
        level, message = WARN, f"{rate:.1f} images a second, limit {min_rate_hz:.1f}"
    elif dropped > MAX_DROPPED_SHARE:
        level, message = WARN, f"{100 * dropped:.0f} % of the images dropped: they come faster than they are localized"
    values = {
        "images_received": images["received"], "images_localized": health.used, "images_dropped": images["dropped"],
        "images_late": health.late, "images_refused": health.refused,
        "rate_hz": rate, "latency_ms": latency_ms, "age_s": age_s,
    }  # fmt: skip
    return DiagnosticStatus(level=level, name="camera", message=message, values=key_values(values))


def network_status(config: RefinerConfig, networks: Sequence[Model]) -> DiagnosticStatus:
    """What really computes; a warning while engines are built, an error where that failed."""
    states = {network.state for network in networks}
    level = ERROR if State.FAILED in states else WARN if State.BUILDING in states else OK
    told = [n.status for n in networks if n.state is not State.READY] or [n.status for n in networks][:1]
    values = {
        "model": config.model,
        "backend": "; ".join(dict.fromkeys(network.backend for network in networks)),
        "precision": "; ".join(dict.fromkeys(network.precision for network in networks)),
        "asked_for": f"{config.backend.value}, {config.precision.value}, device {config.device}",
    }
    return DiagnosticStatus(level=level, name="network", message="; ".join(told), values=key_values(values))


def _map(lhmap: LHMap, last: PoseEstimate | None) -> DiagnosticStatus:
    problem = "" if last is None else last.map_problem
    values = {
        "path": str(lhmap.path), "identity": lhmap.identity[:12], "points": lhmap.metadata.points,
        "tiles": len(lhmap.index), "tiles_waited_for": lhmap.tiles_waited_for,
    }  # fmt: skip
    level, message = (ERROR, problem) if problem else (OK, "open")
    return DiagnosticStatus(level=level, name="map", message=message, values=key_values(values))
