# SPDX-License-Identifier: Apache-2.0
"""localizer_node: camera images in, poses in the map out.

Subscribes image (or image/compressed), camera_info, odometry, initialpose and tf_static; publishes pose, path, status,
overlay, map_cloud, /tf and /diagnostics. Callbacks only keep what came; one worker thread localizes and publishes.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from ..errors import InputError, LhmapError
from ..evaluation.overlay import draw_overlay
from ..geometry import Camera, make_pose
from ..lhmap import LHMap
from ..localization import start
from ..localization.refine import Refiner, RefinerConfig
from ..localization.tracker import Tracker, TrackResult
from . import conversions as convert
from .camera_input import CameraInput
from .initial_pose import InitialPose, read_initial_pose
from .latest import Frame, Mailbox
from .localizer_config import LocalizerConfig
from .localizer_output import LocalizerOutput, key_values, track_status
from .parameters import declare
from .runtime import run

NAME = "localizer_node"
_JOIN_S = 10.0
_LOOKING_AHEAD = make_pose(np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0.0]]), [0.0, 0.0, 1.6])
"""A camera 1.6 m above base_link: optical axes (right, down, ahead) in those of the robot."""


def make_refiner(config: RefinerConfig) -> Refiner:
    """The networks; tests put others in their place."""
    return Refiner(config)


def warm_up(refiner: Refiner, lhmap: LHMap, radius_m: float) -> None:
    """Does once all that is done for an image: the first time compiles and allocates for seconds."""
    x, y, z, yaw = lhmap.metadata.path[0] if lhmap.metadata.path else (*lhmap.metadata.origin, 0.0)
    camera = Camera(640, 192, 400.0, 400.0, 320.0, 96.0)
    image = np.zeros((camera.height, camera.width, 3), np.uint8)
    pose = make_pose(Rotation.from_euler("z", yaw), (x, y, z)) @ _LOOKING_AHEAD
    crop = lhmap.crop((x, y, z), radius_m)
    refiner.refine(image, camera, crop, pose)
    draw_overlay(image, camera, crop, pose)


class LocalizerNode(Node):
    """Parameters -> configuration -> Tracker -> messages."""

    def __init__(self):
        super().__init__(NAME)
        self.exit_code = 0
        config = self.config = declare(self, LocalizerConfig, NAME)
        self._map = LHMap.open(config.map_path)
        self._refiner = make_refiner(config.refiner)
        warm_up(self._refiner, self._map, config.tracker.crop_radius_m)
        self._output = LocalizerOutput(self, config, self._map)
        self._mailbox = Mailbox()
        self._camera = CameraInput(self, config)
        self._tracker: Tracker | None = None
        self._initial: InitialPose | None = None
        self._take_initial_parameter()
        self._last_ns = -1
        self._last: tuple[TrackResult, float] | None = None
        self._problem = "no image has come"
        self._subscribe()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # on the steady clock: on simulated time a timer stands still when a bag ends or starts again
        self.create_timer(1.0, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._output.publish_map(self.get_clock().now().nanoseconds)
        self._worker = threading.Thread(target=self._work, name="localize")
        self._worker.start()
        self.get_logger().info(
            f"map {config.map_path}: {self._map.metadata.points} points, frame {self._output.map_frame}; "
            f"publishing {'no transform' if config.publish_tf == 'none' else f'map -> {config.publish_tf}'}"
        )

    def stop(self) -> None:
        """Ends and joins the worker."""
        self._mailbox.close()
        self._worker.join(timeout=_JOIN_S)
        self._map.close()

    # -- callbacks: keep what came, nothing else

    def _subscribe(self) -> None:
        reliability = ReliabilityPolicy[self.config.image_reliability.upper()]
        # two deep: one being received while one waits; more would only be older
        qos = QoSProfile(depth=2, reliability=reliability)
        kind, topic = (
            (Image, "image") if self.config.image_transport == "raw" else (CompressedImage, "image/compressed")
        )
        self.create_subscription(kind, topic, self._on_image, qos)
        self.create_subscription(CameraInfo, "camera_info", self._on_camera_info, 10)
        self.create_subscription(Odometry, "odometry", self._on_odometry, 200)
        self.create_subscription(PoseWithCovarianceStamped, "initialpose", self._on_initial_pose, 10)

    def _on_image(self, message) -> None:
        self._camera.on_image_frame(message.header.frame_id)
        self._mailbox.put_image(Frame(convert.to_ns(message.header.stamp), message))

    def _on_camera_info(self, message: CameraInfo) -> None:
        try:
            self._camera.on_camera_info(message)
        except InputError as error:
            self._warn(str(error))

    def _on_odometry(self, message: Odometry) -> None:
        frames = message.header.frame_id.lstrip("/"), message.child_frame_id.lstrip("/")
        expected = self.config.odom_frame, self.config.base_frame
        if frames != expected:
            self._warn(f"odometry is of {frames[1]!r} in {frames[0]!r}, expected {expected[1]!r} in {expected[0]!r}")
            return
        try:
            pose = convert.pose_to_matrix(message.pose.pose)
        except InputError as error:
            self._warn(f"odometry: {error}")
            return
        self._mailbox.put_odometry(convert.to_ns(message.header.stamp), pose)

    def _on_initial_pose(self, message: PoseWithCovarianceStamped) -> None:
        c = self.config
        path = self._map.metadata.path
        try:
            self._initial = read_initial_pose(
                message, self._output.map_frame, path, c.initial_sigma_m, c.initial_sigma_deg
            )
        except InputError as error:
            self._warn(str(error))

    # -- the worker

    def _work(self) -> None:
        while (frame := self._mailbox.take_image()) is not None:
            try:
                self._localize(frame)
            except LhmapError as error:
                self._warn(str(error))
            except Exception:
                if not self.context.ok():  # the end came while publishing
                    return
                # a fault of ours: end visibly, so that whoever started the node can start it again
                traceback.print_exc(file=sys.stderr)
                self.exit_code = 1
                self.context.try_shutdown()
                return

    def _localize(self, frame: Frame) -> None:
        """One image."""
        # 1. everything there to begin with
        if not self._is_ready() or not self._is_in_order(frame.stamp_ns):
            return
        # 2. odometry up to the image, then a start pose if one came
        for stamp_ns, pose in self._mailbox.take_odometry(frame.stamp_ns, self.config.odometry_wait_s):
            self._add_odometry(stamp_ns, pose)
        if not self._initialize(frame.stamp_ns):
            return
        # 3. the pose
        image = self._camera.rectifier(convert.image_to_array(frame.message))
        result = self._tracker.process_image(frame.stamp_ns, image)
        # 4. out, the picture last: nobody waits for it
        self._output.publish_track(result)
        latency_ms = 1e3 * (time.monotonic() - frame.arrived)
        self._output.publish_status(result, latency_ms)
        self._last, self._problem = (result, latency_ms), ""
        camera_frame = frame.message.header.frame_id
        self._output.publish_overlay(image, self._tracker.camera, camera_frame, result, self._camera.T_base_camera)

    def _is_ready(self) -> bool:
        if self._tracker is None:
            self._problem = self._camera.missing
            if self._problem:
                return False
            camera, T_base_camera = self._camera.rectifier.camera, self._camera.T_base_camera
            self._tracker = Tracker(self.config.tracker, self._refiner, self._map, camera, T_base_camera)
        return True

    def _is_in_order(self, stamp_ns: int) -> bool:
        """False for an image that is late; a jump back in time starts anew."""
        last_ns, self._last_ns = self._last_ns, max(stamp_ns, self._last_ns)
        if stamp_ns > last_ns:
            return True
        if stamp_ns > last_ns - self.config.time_jump_s * convert.SECOND_NS:
            return False
        self.get_logger().warning(f"time went back by {(last_ns - stamp_ns) / 1e9:.1f} s: starting anew")
        self._last_ns = stamp_ns
        self._tracker.clear()
        self._output.restart_path()
        self._take_initial_parameter()
        return True

    def _add_odometry(self, stamp_ns: int, pose: np.ndarray) -> None:
        try:
            self._tracker.add_odometry(stamp_ns, pose)
        except InputError as error:
            self._warn(str(error))

    def _initialize(self, image_ns: int) -> bool:
        """Hands a start pose to the tracker if one came; False while there never was one."""
        initial, self._initial = self._initial, None
        if initial is not None:
            stamp_ns = initial.stamp_for(image_ns, self.config.initial_age_s)
            self._tracker.initialize(stamp_ns, initial.T_map_base, initial.covariance)
            self._output.restart_path()
            self.get_logger().info(f"starting at {np.array2string(initial.T_map_base[:3, 3], precision=2)} m")
        if not self._tracker.initialized:
            self._problem = "waiting for initialpose"
        return self._tracker.initialized

    def _take_initial_parameter(self) -> None:
        c = self.config
        if c.initial_pose is not None:
            given = start.given(c.initial_pose, c.initial_sigma_m, c.initial_sigma_deg)
            self._initial = InitialPose(0, given.T_map_base, given.covariance)

    # -- how it goes

    def _warn(self, problem: str) -> None:
        self._problem = problem
        self.get_logger().warning(problem, throttle_duration_sec=5.0)

    def _publish_diagnostics(self) -> None:
        last = self._last
        if last is None:
            status = DiagnosticStatus(level=DiagnosticStatus.WARN, name="lhmap_loc_ros: localization")
            status.message = self._problem
        else:
            status = track_status(*last)
            if self._problem:
                status.level, status.message = DiagnosticStatus.ERROR, self._problem
        counts = {"images_received": self._mailbox.received, "images_dropped": self._mailbox.dropped}
        status.values = [*status.values, *key_values(counts)]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def run_localizer(argv: list[str] | None = None) -> int:
    """Runs the node with ROS arguments until it is told to end; returns the exit code."""
    return run(LocalizerNode, argv)


def main() -> None:
    """Entry point of `ros2 run lhmap_loc_ros localizer_node`."""
    sys.exit(run_localizer(sys.argv))


if __name__ == "__main__":
    main()
