# SPDX-License-Identifier: Apache-2.0
"""localizer_node: camera images in, poses in the map out. docs/interface.md lists topics, services and parameters.

A lifecycle node: configure loads map and networks, activate is instant. Without a manager it does both by itself.
"""

from __future__ import annotations

import sys
import traceback

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import SetBool, Trigger

from ..errors import LhmapError
from ..localization.network_set import NetworkSet
from ..localization.refine import Refiner, RefinerConfig
from ..memory import give_back_freed, give_back_large_arrays
from .camera_topics import CameraTopics
from .diagnostics import no_session, of_node, session_statuses
from .localizer_config import LIVE, LocalizerConfig
from .localizer_session import Session
from .map_transform import PERIOD_S
from .parameters import Parameters
from .runtime import run
from .search_services import SearchServices

NAME = "localizer_node"
TRIM_S = 10.0
"""Between two calls of `give_back_freed`."""


def make_refiner(config: RefinerConfig) -> Refiner:
    """The networks, at once, though engines may still be built; tests put others in their place."""
    return Refiner(config, NetworkSet(config, wait=False))


class LocalizerNode(LifecycleNode):
    """Parameters, subscriptions and services around a `Session`."""

    def __init__(self):
        """Raises LhmapError, where it starts by itself, for parameters, a map or networks that cannot be used."""
        super().__init__(NAME)
        self.exit_code = 0
        self._session: Session | None = None
        self._inputs: list = []
        self._cameras: list[CameraTopics] = []
        self._offered: list = []
        self._search_services: SearchServices | None = None
        self._settings = Parameters(self, LocalizerConfig, NAME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 1)
        # on the steady clock: on simulated time a timer stands still when a bag ends or starts again
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self.create_timer(PERIOD_S, self._repeat_transform, clock=steady)
        self.create_timer(TRIM_S, give_back_freed, clock=steady)
        self._failure: LhmapError | None = None
        self._managed = self.get_parameter("autostart").value is False
        if not self._managed:
            self.trigger_configure()
            if self._failure is not None:
                self.destroy_node()
                raise self._failure
            self.trigger_activate()

    def stop(self) -> None:
        """Ends and joins the worker."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._search_services is not None:
            self._search_services.close()
            self._search_services = None

    # -- transitions

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Reads the parameters, loads map and networks, subscribes."""
        try:
            config = self._settings.read()
            self._session = Session(self, config, make_refiner(config.refiner), self._end)
        except LhmapError as error:
            return self._fail(error)
        except Exception as error:
            # rclpy would say nothing of it
            traceback.print_exc(file=sys.stderr)
            return self._fail(LhmapError(f"{type(error).__name__}: {error}"))
        self._failure = None
        self._settings.seal(LIVE, self._session.reconfigure)
        self._subscribe(config)
        tf = f"{self._session.global_frame} -> {config.tf_child}" if config.tf_broadcast else "no transform"
        points = self._session.map.metadata.points
        self.get_logger().info(f"map {config.map_path}: {points} points; publishing {tf}")
        return TransitionCallbackReturn.SUCCESS

    def _fail(self, error: LhmapError) -> TransitionCallbackReturn:
        self._failure = error
        if self._managed:
            self.get_logger().error(str(error))
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._running.activate()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._running.deactivate()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to before configure; parameters may change again."""
        self._unsubscribe()
        self.stop()
        self._settings.unseal()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self.on_cleanup(state)

    @property
    def _running(self) -> Session:
        """The session, between configure and cleanup."""
        assert self._session is not None
        return self._session

    def _subscribe(self, config: LocalizerConfig) -> None:
        session = self._running
        unreliable = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._inputs = [
            # hears those who publish reliably and those who do not, as robot_localization does
            self.create_subscription(Odometry, "odometry", session.on_odometry, unreliable),
            self.create_subscription(PoseWithCovarianceStamped, "initialpose", session.on_initial_pose, 10),
            self.create_subscription(NavSatFix, "fix", session.on_fix, unreliable),
        ]
        self._cameras = [CameraTopics(self, config, camera, session) for camera in config.cameras or ("",)]
        self._offered = [
            self.create_service(Trigger, "reinitialize", self._on_reinitialize),
            self.create_service(SetBool, "trigger_node", self._on_trigger),
        ]
        self._search_services = SearchServices(self, session.search)

    def _unsubscribe(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for camera in self._cameras:
            camera.close()
        for service in self._offered:
            self.destroy_service(service)
        self._inputs, self._cameras, self._offered = [], [], []

    # -- services

    def _on_reinitialize(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._running.reinitialize()
        response.success = bool(response.message)
        if not response.success:
            response.message = "no start pose is known: send initialpose, or set save_pose_path or set_initial_pose"
        return response

    def _on_trigger(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data != self._running.active:
            (self.trigger_activate if request.data else self.trigger_deactivate)()
        state = "active" if self._running.active else "inactive"
        response.success = request.data == self._running.active
        response.message = state if response.success else f"the transition failed: still {state}"
        return response

    # -- how it goes

    def _end(self) -> None:
        """A fault of ours: end visibly, so that whoever started the node can start it again."""
        self.exit_code = 1
        self.context.try_shutdown()

    def _repeat_transform(self) -> None:
        if self._session is not None:
            self._session.repeat_transform()

    def _publish_diagnostics(self) -> None:
        session = self._session
        if session is None:
            statuses = [no_session(self._failure)]
        else:
            for camera in self._cameras:
                camera.follow()
            session.tell_waiting()
            session.tell_age()
            statuses = session_statuses(
                session.health, session.images, session.networks, session.map, session.config, session.active
            )
        message = DiagnosticArray(status=of_node(self, statuses))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def run_localizer(argv: list[str] | None = None) -> int:
    """Runs the node with ROS arguments until it is told to end; returns the exit code."""
    return run(LocalizerNode, argv, NAME, __doc__)


def main() -> None:
    """Entry point of `ros2 run lhmap_loc_ros localizer_node`."""
    give_back_large_arrays()
    sys.exit(run_localizer(sys.argv))


if __name__ == "__main__":
    main()
