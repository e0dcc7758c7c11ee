# SPDX-License-Identifier: Apache-2.0
"""What localizer_node holds between configure and cleanup: map, networks, camera, track, and the thread that works."""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, NavSatFix

from ..errors import InputError, LhmapError
from ..inference import Model
from ..lhmap import LHMap
from ..localization.image_order import TIME_JUMP_S
from ..localization.localizer import Localizer
from ..localization.localizer import LocalizerConfig as Settings
from ..localization.refine import Refiner
from ..localization.relocalize import PoseHypothesis, Relocalizer
from ..localization.states import TrackState
from ..localization.submap_cache import SUBMAP_RADIUS_M
from ..places.start_search import StartSearch
from . import conversions as convert
from .camera_images import CameraImages
from .diagnostics import Health
from .fixed_frames import FixedFrames
from .global_localization import GlobalLocalization
from .latest import ODOMETRY_WAIT_S, Frame, Mailbox
from .localizer_config import LocalizerConfig
from .localizer_output import LocalizerOutput
from .odometry_input import OdometryInput
from .reports import Reports
from .start_poses import StartPoses
from .warm_up import warm_up

_JOIN_S = 10.0
FOLLOWED_S = 0.08
"""Least time between two images that are followed during a search."""
_PATIENCE_S = 5.0
"""For so long after the start nothing is said about what is still missing."""


def settings_of(config: LocalizerConfig) -> Settings:
    """Those of localizing among the parameters of the node."""
    return Settings(refiner=config.refiner, tracker=config.tracker, relocalize=config.relocalize)


class Session:
    """The node's callbacks put what came; one worker thread localizes and publishes while the session is active."""

    def __init__(
        self, node: Node, config: LocalizerConfig, refiner: Refiner, fault: Callable[[], None],
        relocalizer: Relocalizer | None = None,
        make_search: Callable[[LHMap, Refiner, str], StartSearch] = StartSearch.in_map,
    ):  # fmt: skip
        """Opens the map and warms up; raises LhmapError for a map or networks that cannot be used.

        `fault` is called, from the worker, when it dies of a fault of ours. `relocalizer` proposes where a lost robot
        may be; without one, the poses of the mapping drive around the last good pose are. `make_search` makes what
        finds the place in the whole map.
        """
        self._node, self._config, self._fault = node, config, fault
        self.health = Health("")
        self._reports = Reports(node, self.health)
        self._active, self._waiting_since = threading.Event(), math.inf
        self._followed_ns = 0
        with ExitStack() as on_failure:
            self.map = on_failure.enter_context(LHMap.open(config.map_path))
            warm_up(refiner, self.map, SUBMAP_RADIUS_M)
            make = partial(make_search, self.map, refiner, config.relocalizer)
            search = GlobalLocalization(make if config.global_localization else None)
            self._starts = StartPoses(node, config, self.map, search, self.health, self._reports)
            self._localizer = Localizer(
                self.map, settings_of(config), refiner=refiner, relocalizer=relocalizer, search=search,
                clock=time.monotonic,
            )  # fmt: skip
            self._frames = FixedFrames(node, config.base_frame_id, partial(self._reports.leave_out, "transform"))
            on_failure.callback(self._frames.close)
            self._odometry = OdometryInput(node, config, self._frames)
            self._images = CameraImages(node, config, self._frames, self.health, self._reports)
            self.health.problem = self._images.none_has_come()
            self._mailbox = Mailbox(self._images.names)
            self._output = LocalizerOutput(node, config, self.map)
            on_failure.callback(self._output.close)
            for damage in self._output.publish_map(node.get_clock().now().nanoseconds):
                self._reports.log("map", str(damage))
            on_failure.pop_all()
        self._worker = threading.Thread(target=self._work, name="localize")
        self._worker.start()

    @property
    def global_frame(self) -> str:
        """Frame of the published poses."""
        return self._output.global_frame

    @property
    def networks(self) -> tuple[Model, ...]:
        """What the refiner computes by."""
        return self._localizer.refiner.networks

    @property
    def active(self) -> bool:
        """Images are localized."""
        return self._active.is_set()

    @property
    def config(self) -> LocalizerConfig:
        """The parameters, as they are now."""
        return self._config

    @property
    def images(self) -> dict[str, float]:
        """How many images came, how many of them the worker never took, and how long ago the last one came [s]."""
        came_s = time.monotonic() - self._mailbox.came
        return {"received": self._mailbox.received, "dropped": self._mailbox.dropped, "came_s": came_s}

    # -- the node's transitions

    def activate(self) -> None:
        """From now on images are localized and poses published; a track that there is goes on."""
        if not self._starts.waits and not self._localizer.started:
            self._starts.offer_known()
        self._waiting_since = time.monotonic()
        self._active.set()

    def deactivate(self) -> None:
        """Nothing is published until `activate`; start poses and odometry are still taken."""
        self._active.clear()
        self._mailbox.drop_images()

    def close(self) -> None:
        """Ends and joins the worker, saves the pose, closes the map and takes the publishers away."""
        self._active.clear()
        self._starts.search.give_up()
        self._mailbox.close()
        self._worker.join(timeout=_JOIN_S)
        self._starts.known.save()
        self._frames.close()
        self._output.close()
        self.map.close()

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes the settings of `localizer_config.LIVE` from the next image on."""
        self._config = config
        self._starts.reconfigure(config)
        self._output.reconfigure(config)
        self._localizer.reconfigure(settings_of(config))

    # -- its timers

    def tell_waiting(self) -> None:
        """Logs, once, what is missing where no image has been localized some seconds after the start."""
        if not self._mailbox.received:
            self.health.problem = self._images.none_has_come()
        if self.active and not self.health.used and time.monotonic() > self._waiting_since + _PATIENCE_S:
            self._waiting_since = math.inf
            self._node.get_logger().warning(self.health.problem)

    def repeat_transform(self) -> None:
        """map -> odom once more with a fresh stamp, while the pose is good; to be called every `PERIOD_S`."""
        if self.active and self.health.age_s <= self._config.tracker.states.lost_after_s:
            self._output.transform.repeat()

    def tell_age(self) -> None:
        """Publishes that the pose is not to be trusted any more where no image has been localized for long."""
        if self.health.last is None or not self.active:
            return
        state = self._localizer.after_silence(self.health.age_s)
        if state is not None:
            self._output.publish_state(state)

    # -- its callbacks: keep what came, and little else

    def on_image(self, camera: str, data: bytes) -> None:
        """An image of a camera, as it was sent."""
        frame = self._images.on_image(camera, data)
        if frame is not None and self.active:
            self._mailbox.put_image(frame)
            if self._localizer.follows:
                self._follow_waiting()

    def _follow_waiting(self) -> None:
        """Images that come during a search, which takes seconds, tell how a robot without odometry moves on."""
        frames = self._images.of_known_cameras(self._mailbox.waiting_images())
        stamp_ns = min((frame.stamp_ns for frame in frames), default=0)
        if not frames or abs(stamp_ns - self._followed_ns) < FOLLOWED_S * convert.SECOND_NS:
            return
        self._followed_ns = stamp_ns
        try:
            image, mounted = self._images.undistorted(frames)
        except InputError:
            return  # that is told when the image has its turn
        self._localizer.follow(image, mounted, stamp_ns)

    def on_camera_info(self, camera: str, message: CameraInfo) -> None:
        """The calibration of a camera."""
        self._images.on_camera_info(camera, message)

    def on_odometry(self, message: Odometry) -> None:
        """A pose of the robot, or of another frame on it."""
        try:
            stamp_ns, T_odom_base = self._odometry.read(message)
        except InputError as error:
            self._reports.leave_out("odometry", str(error))
            return
        self._mailbox.put_odometry(stamp_ns, T_odom_base)

    def on_fix(self, message: NavSatFix) -> None:
        """Of a GPS receiver."""
        self._starts.on_fix(message)

    def on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        """What a user says, or another node."""
        self._starts.on_initial_pose(message, self._output.local)

    def reinitialize(self) -> str:
        """Starts anew, at the next image, from what is known without being told; says from what, "" if from nothing."""
        return self._starts.restart()

    def search(self, wait_s: float) -> tuple[PoseHypothesis | None, str]:
        """Waits for the place that images to come show, wherever the track is; says why there is none."""
        if not self.active:
            return None, "the localizer is inactive"
        return self._starts.ask(wait_s)

    # -- the worker

    def _work(self) -> None:
        while frames := self._mailbox.take_images():
            try:
                self._localize(frames)
            except LhmapError as error:
                self._reports.refuse(str(error))
            except Exception:
                if not self._node.context.ok():  # the end came while publishing
                    return
                traceback.print_exc(file=sys.stderr)
                self._fault()
                return

    def _localize(self, frames: list[Frame]) -> None:
        """The images of one moment, one of each camera."""
        # 1. everything there to begin with
        frames = self._images.usable(frames, self._begin_anew)
        if not frames:
            return
        frame = min(frames, key=lambda frame: frame.stamp_ns)
        # 2. odometry up to the image, then a start pose if one came
        for stamp_ns, pose in self._mailbox.take_odometry(frame.stamp_ns, ODOMETRY_WAIT_S):
            self._add_odometry(stamp_ns, pose)
        self._output.transform.at_odometry(self._localizer.odometry_ns, self._localizer.odometry_at)
        started = self._starts.begin(self._localizer, frame.stamp_ns, self._output.restart_path)
        if not started and self._starts.search.problem:
            self.health.refuse(self._starts.why_none())
            return
        image, mounted = self._images.undistorted(frames)
        if not started:
            found = self._localizer.locate(image, mounted, frame.stamp_ns, self._goes_on)
            self._starts.offer_found(found, frame.stamp_ns)
            self.health.refuse(self._starts.why_none())
            return
        # 3. the pose
        result = self._localizer.track(image, mounted, frame.stamp_ns)
        if not self._active.is_set():
            self.health.refuse("deactivated meanwhile")
            return
        # 4. out, the picture last: it is in no hurry
        self._output.publish_track(result)
        latency_ms = 1e3 * (time.monotonic() - frame.arrived)
        self._output.publish_status(result, latency_ms)
        self.health.localized(result, latency_ms)
        self.health.placed_at = self._output.transform.placed_at
        self._images.tell_doubt(frames, result.T_map_base)
        # the picture is that of the first camera, see `front_view`
        self._output.publish_overlay(image, mounted, frames[0].frame_id, result)
        # 5. for bad times; a search takes seconds, and a start pose or a deactivation ends it
        if result.state is TrackState.TRACKING:
            self._starts.known.remember(result.T_map_base, result.covariance)
        found = self._localizer.recover(result, image, mounted, self._goes_on)
        if found is None and self._starts.search.asked and result.state is not TrackState.LOST:
            found = self._localizer.locate(image, mounted, frame.stamp_ns, self._goes_on)
        self._starts.offer_found(found, frame.stamp_ns)

    def _goes_on(self) -> bool:
        """A search may go on: nothing else has said where the robot is."""
        return self.active and not self._starts.waits

    def _begin_anew(self, jump_s: float) -> None:
        """The clock went back: neither the track nor odometry goes on."""
        self._node.get_logger().warning(f"time went back by {jump_s:.1f} s: starting anew")
        self._localizer.clear()
        self._output.restart_path()
        self._output.transform.forget()
        self._starts.offer_after_a_jump(jump_s)

    def _add_odometry(self, stamp_ns: int, pose: np.ndarray) -> None:
        # where a bag begins anew, its last odometry may come after the first new image, which cleared the track
        newest_ns = self._localizer.odometry_ns
        if newest_ns is not None and stamp_ns < newest_ns - TIME_JUMP_S * convert.SECOND_NS:
            self._localizer.forget_odometry()
        try:
            self._localizer.add_odometry(stamp_ns, pose)
        except InputError as error:
            self._reports.leave_out("odometry", str(error))
