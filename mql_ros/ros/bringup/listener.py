"""Hears everything that the graph says: the listening half of GraphClient."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, WrenchStamped
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64, Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import RobotProfile, Topics
from mql_ros.ros.base.common import LATCHED, LATCHED_FEW, RELIABLE
from mql_ros.ros.bringup.graph import CLIENT, GraphProcesses
from mql_ros.ros.messages.conversions import nanoseconds
from mql_ros.ros.messages.records import Transition, read_transition
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES

SPIN_SECONDS = 0.1

Listener = TypeVar("Listener", bound="GraphListener")


class GraphError(UserError):
    """The graph did not do what was asked of it; one sentence says what."""


class GraphListener:
    """Keeps the newest of what is said, counts messages, and waits for conditions; a context manager."""

    def __init__(
        self, processes: GraphProcesses | None = None, *, namespace: str = "", profile: RobotProfile | None = None
    ) -> None:
        """`processes`, where given, are checked while waiting; there need be none when others started the nodes.

        `profile` says how the driver's topics are called and how the gripper is told to move; None stands for one with
        the usual names and `gripper.command: joint_trajectory`.
        """
        self._processes = processes
        self._topics = profile.topics if profile is not None else Topics()
        self._context = Context()
        self._context.init()
        self.node = Node(
            CLIENT,
            context=self._context,
            namespace=namespace,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.counts: dict[str, int] = {}
        """Messages that arrived here, by topic."""
        self.transitions: list[Transition] = []
        """All that were heard, in order."""
        self.state: dict[str, Any] = {}
        """The policy server's: state (idle, running, held or error), session, trial, policy_version, reason ..."""
        self.policy: dict[str, Any] = {}
        """The announced policy: bundle, version, hash."""
        self.adaptation: dict[str, Any] = {}
        """Outcome of the newest adaptation, as `GraphClient.adapt` returns it; `rolled_back` may become true later."""
        self.pictures: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=50)
        """The newest camera pictures: driver time (s) and pixels [height, width, 3]; see `GraphClient.set_camera`."""
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        """Newest status by node name."""
        self.on_transition: Callable[[Transition], None] | None = None
        self.on_picture: Callable[[float, NDArray[np.uint8]], None] | None = None
        gripper_message, _ = GRIPPER_MESSAGES[profile.gripper_command if profile is not None else "joint_trajectory"]
        # Of these only the number of messages is wanted: they are not even deserialized.
        for topic, kind in (
            (self._topics.joint_states, JointState), (self._topics.object_pose, PoseStamped),
            (self._topics.wrench, WrenchStamped), (self._topics.arm_command, JointTrajectory),
            (self._topics.gripper_command, gripper_message), ("grasp_reward", Float64),
        ):  # fmt: skip
            self._subscribe(kind, topic, lambda message: None, raw=True)
        self._subscribe(Float64MultiArray, "context", lambda message: None, LATCHED_FEW, raw=True)
        self._subscribe(Float64MultiArray, "transition", self._hear_transition)
        self._subscribe(String, "session_state", self._keep("state"), LATCHED)
        self._subscribe(String, "policy", self._keep("policy"), LATCHED)
        self._subscribe(String, "adaptation", self._keep("adaptation"), LATCHED)
        self._subscribe(Image, "camera/image_raw", self._hear_picture)
        self._subscribe(DiagnosticArray, "/diagnostics", self._hear_diagnostics)

    # What is heard.

    def _subscribe(
        self, kind: Any, topic: str, hear: Callable[[Any], None], quality: Any = RELIABLE, raw: bool = False
    ) -> None:
        self.counts[topic] = 0

        def counted(message: Any) -> None:
            self.counts[topic] += 1
            hear(message)

        self.node.create_subscription(kind, topic, counted, quality, raw=raw)

    def _keep(self, attribute: str) -> Callable[[String], None]:
        return lambda message: setattr(self, attribute, json.loads(message.data))

    def _hear_transition(self, message: Float64MultiArray) -> None:
        transition = read_transition(message)
        self.transitions.append(transition)
        if self.on_transition is not None:
            self.on_transition(transition)

    def _hear_picture(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.width, 3)
        picture = nanoseconds(message.header.stamp) * 1e-9, pixels
        self.pictures.append(picture)
        if self.on_picture is not None:
            self.on_picture(*picture)

    def _hear_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = self.node.get_namespace().strip("/")
        for status in message.status:
            namespace, _, name = status.name.rpartition("/")
            if namespace == prefix:  # /diagnostics is one topic for all namespaces
                self.diagnostics[name] = status

    # Waiting.

    def wait_for(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Handle messages until `condition` returns something true, and return that; GraphError names `what`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if self._processes is not None:
                self._processes.check()
            left = deadline - time.monotonic()
            if left <= 0:
                problems = [f"{n}: {s.message}" for n, s in self.diagnostics.items() if s.level != DiagnosticStatus.OK]
                raise GraphError(
                    f"waited {seconds:g} s in vain for {what} ({'; '.join(problems) or 'no node complains'})"
                )
            self._executor.spin_once(timeout_sec=min(left, SPIN_SECONDS))
        return value

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def __enter__(self: Listener) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
