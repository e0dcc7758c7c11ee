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
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, NavSatFix

from ..datasets.decoding import decode_fix
from ..errors import InputError, LhmapError
from ..evaluation.overlay import draw_overlay
from ..geometry import Camera, Images, joined, joined_images, make_pose
from ..inference import Model
from ..lhmap import LHMap
from ..localization.estimate import PosedCamera
from ..localization.image_order import TIME_JUMP_S, ImageOrder, Order
from ..localization.inputs import doubt_of_frame
from ..localization.localizer import Localizer
from ..localization.localizer import LocalizerConfig as Settings
from ..localization.refine import Refiner
from ..localization.relocalize import PoseHypothesis, Relocalizer
from ..localization.start import SEARCHED_SIGMA_M, StartPose
from ..localization.states import TrackState
from ..localization.submap_cache import SUBMAP_RADIUS_M
from ..memory import give_back_compiler
from ..places.start_search import StartSearch
from . import conversions as convert
from .camera_input import CameraInput
from .diagnostics import SEARCHING, WAITING, Health
from .fixed_frames import FixedFrames
from .global_localization import GlobalLocalization
from .initial_pose import InitialPose, NextStart, read_initial_pose
from .known_starts import KnownStarts
from .latest import Frame, Mailbox
from .localizer_config import LocalizerConfig
from .localizer_output import LocalizerOutput
from .odometry_input import OdometryInput
from .stamps import Stamps

_JOIN_S = 10.0
_PATIENCE_S = 5.0
"""So long after the start nobody is told what is still missing."""
_LOG_S = 5.0
"""Least time between two warnings on the same subject."""
_LOOKING_AHEAD = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [0.0, 0.0, 1.6])
"""A camera 1.6 m above base_link: optical axes (right, down, ahead) in those of the robot."""


def warm_up(refiner: Refiner, lhmap: LHMap, radius_m: float) -> None:
    """Does once all that is done for an image: the first time compiles and allocates for seconds."""
    x, y, z, yaw = lhmap.metadata.path[0] if len(lhmap.metadata.path) else (*lhmap.metadata.origin, 0.0)
    camera = Camera(640, 192, 400.0, 400.0, 320.0, 96.0)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    pose = make_pose(Rotation.from_euler("z", yaw), (x, y, z)) @ _LOOKING_AHEAD
    crop = lhmap.crop((x, y, z), radius_m, damaged=[])
    refiner.refine(image, camera, crop, pose)
    draw_overlay(image, camera, crop, pose)
    give_back_compiler()


def settings_of(config: LocalizerConfig) -> Settings:
    """Those of localizing among the parameters of the node."""
    return Settings(refiner=config.refiner, tracker=config.tracker, relocalize=config.relocalize)


def topic_of(camera: str, name: str) -> str:
    """The topic of a camera; where there is but one, it has no name."""
    return f"{camera}/{name}" if camera else name


def image_topic(config: LocalizerConfig, camera: str) -> str:
    """Where the images of a camera come."""
    return topic_of(camera, "image" if config.image_transport == "raw" else "image/compressed")


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
        names = config.cameras or ("",)
        self._topics = [node.resolve_topic_name(image_topic(config, name)) for name in names]
        self.health = Health(self._no_image())
        self._mailbox, self._active = Mailbox(names), threading.Event()
        self._waiting_since = math.inf
        self._next_start = NextStart()
        self._fix: tuple[int, np.ndarray, float | None] | None = None
        self._order = ImageOrder(names)
        self._logged_at: dict[str, float] = {}
        self._asked_about: set[CameraInput] = set()
        with ExitStack() as on_failure:
            self.map = on_failure.enter_context(LHMap.open(config.map_path))
            warm_up(refiner, self.map, SUBMAP_RADIUS_M)
            self._starts = KnownStarts(config, self.map, partial(self._warn, "start pose"))
            make = partial(make_search, self.map, refiner, config.relocalizer)
            self._search = GlobalLocalization(make if config.global_localization else None)
            self._localizer = Localizer(
                self.map, settings_of(config), refiner=refiner, relocalizer=relocalizer, search=self._search,
                clock=time.monotonic,
            )  # fmt: skip
            self._frames = FixedFrames(node, config.base_frame_id, partial(self._leave_out, "transform"))
            on_failure.callback(self._frames.close)
            self._odometry = OdometryInput(node, config, self._frames)
            self._stamps = {name: Stamps(node, "an image") for name in names}
            self._cameras = {
                name: CameraInput(config, self._frames, topic, topic_of(name, "camera_info"), name)
                for name, topic in zip(names, self._topics, strict=True)
            }
            self._output = LocalizerOutput(node, config, self.map)
            on_failure.callback(self._output.close)
            for damage in self._output.publish_map(node.get_clock().now().nanoseconds):
                self._log("map", str(damage))
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

    def activate(self) -> None:
        """From now on images are localized and poses published; a track that there is goes on."""
        if not self._next_start.waits and not self._localizer.started:
            self._next_start.offer(self._starts.take())
        self._waiting_since = time.monotonic()
        self._active.set()

    def deactivate(self) -> None:
        """Nothing is published until `activate`; start poses and odometry are still taken."""
        self._active.clear()
        self._mailbox.drop_images()

    def tell_waiting(self) -> None:
        """Logs, once, what is missing where no image has been localized some seconds after the start."""
        if not self._mailbox.received:
            self.health.problem = self._no_image()
        if self.active and not self.health.used and time.monotonic() > self._waiting_since + _PATIENCE_S:
            self._waiting_since = math.inf
            self._node.get_logger().warning(self.health.problem)

    def _no_image(self) -> str:
        topics = ", ".join(self._topics)
        if any(map(self._node.count_publishers, self._topics)):
            hint = "published, but not received: `ros2 topic info --verbose` shows type and QoS of both sides"
        else:
            hint = "nobody publishes it: `ros2 topic list` shows what there is"
        return f"no image has come on {topics} ({hint})"

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

    def close(self) -> None:
        """Ends and joins the worker, saves the pose, closes the map and takes the publishers away."""
        self._active.clear()
        self._search.give_up()
        self._mailbox.close()
        self._worker.join(timeout=_JOIN_S)
        self._starts.save()
        self._frames.close()
        self._output.close()
        self.map.close()

    def reconfigure(self, config: LocalizerConfig) -> None:
        """Takes the settings of `localizer_config.LIVE` from the next image on."""
        self._config = self._starts.config = config
        self._output.reconfigure(config)
        self._localizer.reconfigure(settings_of(config))

    # -- callbacks: keep what came, nothing else

    def on_image(self, camera: str, data: bytes) -> None:
        try:
            stamp_ns, frame_id = convert.serialized_header(data)
            taken_ns = self._stamps[camera].of(stamp_ns) - round(self._config.image_delay_s * convert.SECOND_NS)
        except InputError as error:
            self._leave_out("image", str(error))
            return
        self._cameras[camera].on_image_frame(frame_id)
        if self._active.is_set():
            self._mailbox.put_image(Frame(taken_ns, data, camera, frame_id))

    def on_camera_info(self, camera: str, message: CameraInfo) -> None:
        try:
            self._cameras[camera].on_camera_info(message)
        except InputError as error:
            self._leave_out("camera_info", f"camera_info: {error}")

    def on_odometry(self, message: Odometry) -> None:
        try:
            stamp_ns, T_odom_base = self._odometry.read(message)
        except InputError as error:
            self._leave_out("odometry", str(error))
            return
        self._mailbox.put_odometry(stamp_ns, T_odom_base)

    def on_fix(self, message: NavSatFix) -> None:
        try:
            geodetic, sigma_m = decode_fix(message)
        except InputError as error:
            self._leave_out("fix", f"fix: {error}")
            return
        self._fix = convert.to_ns(message.header.stamp), geodetic, sigma_m

    def on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        c = self._config
        try:
            start = read_initial_pose(message, self.map, self._output.local, c.initial_sigma_m, c.initial_sigma_deg)
        except InputError as error:
            # always: somebody has just sent it, and looks
            self.health.complain(f"initialpose: {error}")
            self._node.get_logger().warning(f"initialpose: {error}")
            return
        # in this order: an asked search that has not ended yet may find a place, which this pose then replaces
        self._search.answer(None)
        self._next_start.put(start)

    def reinitialize(self) -> str:
        """Starts anew, at the next image, from what is known without being told; says from what, "" if from nothing."""
        known = self._starts.take()
        if known is None:
            return ""
        self._search.answer(None)
        self._next_start.put(known)
        return f"starting from the {known.origin}"

    def search(self, wait_s: float) -> tuple[PoseHypothesis | None, str]:
        """Waits for the place that images to come show, wherever the track is; says why there is none."""
        if not self.active:
            return None, "the localizer is inactive"
        return self._search.ask(wait_s)

    # -- the worker

    def _work(self) -> None:
        while frames := self._mailbox.take_images():
            try:
                self._localize(frames)
            except LhmapError as error:
                self._refuse(str(error))
            except Exception:
                if not self._node.context.ok():  # the end came while publishing
                    return
                traceback.print_exc(file=sys.stderr)
                self._fault()
                return

    def _localize(self, frames: list[Frame]) -> None:
        """The images of one moment, one of each camera."""
        # 1. everything there to begin with
        frames = [frame for frame in frames if self._is_known(self._cameras[frame.camera])]
        frames = [frame for frame in frames if self._is_in_order(frame)]
        if not frames:
            return
        frame = min(frames, key=lambda frame: frame.stamp_ns)
        # 2. odometry up to the image, then a start pose if one came
        for stamp_ns, pose in self._mailbox.take_odometry(frame.stamp_ns, self._config.odometry_wait_s):
            self._add_odometry(stamp_ns, pose)
        self._output.transform.at_odometry(self._localizer.odometry_ns, self._localizer.odometry_at)
        fix, self._fix = self._fix, None
        if fix is not None:
            self._localizer.add_fix(*fix)
        started = self._initialize(frame.stamp_ns)
        if not started and self._search.problem:
            self.health.refuse(self._waiting())
            return
        image, mounted = self._seen(frames)
        if not started:
            self._offer(self._localizer.locate(image, mounted, frame.stamp_ns, self._goes_on), frame.stamp_ns)
            self.health.refuse(self._waiting())
            return
        # 3. the pose
        result = self._localizer.track(image, mounted, frame.stamp_ns)
        if not self._active.is_set():
            self.health.refuse("deactivated meanwhile")
            return
        # 4. out, the picture last: nobody waits for it
        self._output.publish_track(result)
        latency_ms = 1e3 * (time.monotonic() - frame.arrived)
        self._output.publish_status(result, latency_ms)
        self.health.localized(result, latency_ms)
        self.health.placed_at = self._output.transform.placed_at
        for camera in (self._cameras[frame.camera] for frame in frames):
            self._ask_about(camera, result.T_map_base @ camera.T_base_camera)
        self._output.publish_overlay(image, mounted, frame.frame_id, result)
        # 5. for bad times; a search takes seconds, and a start pose or a deactivation ends it
        if result.state is TrackState.TRACKING:
            self._starts.remember(result.T_map_base, result.covariance)
        found = self._localizer.recover(result, image, mounted, self._goes_on)
        if found is None and self._search.asked and result.state is not TrackState.LOST:
            found = self._localizer.locate(image, mounted, frame.stamp_ns, self._goes_on)
        self._offer(found, frame.stamp_ns)

    def _offer(self, found: PoseHypothesis | None, stamp_ns: int) -> None:
        """The next image starts from the place found, unless somebody says otherwise."""
        if found is None:
            return
        if self._next_start.offer(InitialPose(stamp_ns, found.T_map_base, found.covariance, "found in the map")):
            self._search.answer(found)

    def _goes_on(self) -> bool:
        """A search may go on: nothing else has said where the robot is."""
        return self.active and not self._next_start.waits

    def _waiting(self) -> str:
        """Why an image without a start pose has no pose."""
        if self._search.problem:
            return f"{WAITING} (RViz: 2D Pose Estimate); or set initial_pose, save_pose_path ({self._search.problem})"
        return f"{SEARCHING}, {self._search.images} images looked at; initialpose would tell it"

    def _is_known(self, camera: CameraInput) -> bool:
        if camera.missing:
            self.health.refuse(camera.missing)
        return not camera.missing

    def _seen(self, frames: list[Frame]) -> tuple[Images, PosedCamera]:
        """The undistorted images, and the cameras as one; raises InputError if none can be read."""
        kind, parts, problem = Image if self._config.image_transport == "raw" else CompressedImage, [], None
        for frame in frames:
            try:
                parts.append(self._cameras[frame.camera].undistort(convert.read_image(frame.data, kind)))
            except InputError as error:
                problem = error
        if not parts:
            raise problem
        if problem is not None:
            self._leave_out("image", str(problem))
        posed = PosedCamera(*joined([(camera.camera, camera.T_base_camera) for _, camera in parts]))
        return joined_images([image for image, _ in parts]), posed

    def _ask_about(self, camera: CameraInput, T_map_camera: np.ndarray) -> None:
        """Tells, once a camera, that it seems to look up or down, by its place at the first image."""
        if camera not in self._asked_about:
            self._asked_about.add(camera)
            doubt = doubt_of_frame(T_map_camera, camera.frame or "camera_in_base")
            if doubt:
                self.health.doubt = doubt
                self._node.get_logger().warning(doubt)

    def _is_in_order(self, frame: Frame) -> bool:
        """False for an image that is late or whose stamp is false; a clock that went back starts anew."""
        order = self._order.of(frame.camera, frame.stamp_ns)
        if order is Order.LATE:
            self.health.late += 1
        elif order is Order.FAR_AHEAD:
            self._refuse(f"an image is stamped {self._order.jump_s:.0f} s after the last one")
        elif order is Order.ANEW:
            self._node.get_logger().warning(f"time went back by {self._order.jump_s:.1f} s: starting anew")
            self._localizer.clear()
            self._output.restart_path()
            self._output.transform.forget()
            self._next_start.offer(self._starts.after_a_jump(self._order.jump_s))
        return order in (Order.NEXT, Order.ANEW)

    def _add_odometry(self, stamp_ns: int, pose: np.ndarray) -> None:
        # where a bag begins anew, its last odometry may come after the first new image, which cleared the track
        newest_ns = self._localizer.odometry_ns
        if newest_ns is not None and stamp_ns < newest_ns - TIME_JUMP_S * convert.SECOND_NS:
            self._localizer.forget_odometry()
        try:
            self._localizer.add_odometry(stamp_ns, pose)
        except InputError as error:
            self._leave_out("odometry", str(error))

    def _initialize(self, image_ns: int) -> bool:
        """Hands a start pose to the localizer if one came; False while there never was one."""
        initial = self._next_start.take()
        if initial is not None:
            stamp_ns = initial.stamp_for(image_ns)
            rough = StartPose(initial.T_map_base, initial.covariance).sigma_level_m > SEARCHED_SIGMA_M
            searched = rough and self._search.possible
            begin = self._localizer.search_around if searched else self._localizer.start
            begin(initial.T_map_base, initial.covariance, stamp_ns)
            self._output.restart_path()
            place = np.array2string(initial.T_map_base[:3, 3], precision=2)
            what = "looking for the place around" if searched else "starting at"
            self._node.get_logger().info(f"{what} {place} m ({initial.origin})")
        return self._localizer.started

    def _refuse(self, problem: str) -> None:
        """Tells of an image that cannot be localized."""
        self.health.refuse(problem)
        self._log("localization", problem)

    def _leave_out(self, what: str, problem: str) -> None:
        """Tells of a message that is of no use, and counts it by what it is of."""
        self.health.leave_out(what, problem)
        self._log(what, problem)

    def _warn(self, subject: str, problem: str) -> None:
        """Tells of what came and is of no use; images may be localized all the same."""
        self.health.complain(problem)
        self._log(subject, problem)

    def _log(self, subject: str, problem: str) -> None:
        # rclpy would throttle all that is logged here as one
        now = time.monotonic()
        if now >= self._logged_at.get(subject, -math.inf) + _LOG_S:
            self._logged_at[subject] = now
            self._node.get_logger().warning(problem)

    @property
    def active(self) -> bool:
        """Images are localized."""
        return self._active.is_set()

    @property
    def config(self) -> LocalizerConfig:
        return self._config

    @property
    def images(self) -> dict[str, float]:
        """How many images came, how many of them the worker never took, and how long ago the last one came [s]."""
        came_s = time.monotonic() - self._mailbox.came
        return {"received": self._mailbox.received, "dropped": self._mailbox.dropped, "came_s": came_s}
