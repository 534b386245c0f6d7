"""Records what an arm's driver publishes, and judges it without a motion: the passive half of RobotChecker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.context import Context
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from sensor_msgs.msg import JointState as JointStateMessage
from std_msgs.msg import Header

from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check import checks
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.perception.height_map import see
from mql_ros.grasping.perception.segmentation import Workspace
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.ros.bringup.node_table import OWN_GRAPH, usual_watchdog
from mql_ros.ros.driver.frames import Frames
from mql_ros.ros.driver.measurements import NewestJoints
from mql_ros.ros.driver.permission import UNKNOWN_NODE, arm_endpoints, has_simulator
from mql_ros.ros.messages.camera import read_depth, read_info
from mql_ros.ros.messages.encoding import SECOND, MessageError, nanoseconds
from mql_ros.ros.messages.sensors import JointReader, JointSample, read_wrench

EVERY_MESSAGE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Deep, so that no message is lost here and counted as lost by the driver."""
FEW_IMAGES = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
DRAIN = 2.0
"""Longest time to drain queued messages, s."""
DISCOVERY = 10.0
"""Longest time until joint states arrive, s."""
Recorder = TypeVar("Recorder", bound="RobotRecorder")


class RobotRecorder:
    """A node that records the messages of one driver; a context manager."""

    def __init__(self, profile: RobotProfile, namespace: str = "") -> None:
        self._profile = profile
        self._context = Context()
        self._context.init()
        try:
            self.node = Node(
                "check_robot",
                context=self._context,
                namespace=namespace.strip("/"),
                enable_rosout=False,
                start_parameter_services=False,
                cli_args=["--ros-args", *_remappings(namespace)],
            )
        except InvalidNamespaceException as error:
            self._context.try_shutdown()
            raise UserError(f"--namespace '{namespace}' is wrong: {' '.join(str(error).split())}") from error
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._reader = JointReader(profile)
        self._names: tuple[str, ...] = ()
        self._messages = 0
        self._has_velocities = True
        self._complaints: list[str] = []
        self._joints: list[tuple[float, JointSample]] = []
        self._present = NewestJoints(profile.velocity)
        self._wrenches: list[tuple[float, WrenchStamped]] = []
        self._images: list[tuple[float, Header]] = []
        self._image: Image | None = None
        self._info: CameraInfo | None = None
        topics = profile.topics
        self.node.create_subscription(JointStateMessage, topics.joint_states, self._on_joints, EVERY_MESSAGE)
        self.node.create_subscription(
            WrenchStamped, topics.wrench, lambda m: self._wrenches.append((self._now(), m)), EVERY_MESSAGE
        )
        self.node.create_subscription(CameraInfo, topics.camera_info, self._on_info, EVERY_MESSAGE)
        self.node.create_subscription(Image, topics.depth_image, self._on_image, FEW_IMAGES)
        self.frames = Frames(self.node)

    def __enter__(self: Recorder) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def wait_for_driver(self) -> dict[str, list[str]]:
        """Wait for joint states; return the names of the publishing nodes by topic. UserError if none arrive."""
        deadline = time.monotonic() + DISCOVERY
        while not self._names and not self._complaints:
            if time.monotonic() > deadline:
                topic = self.node.resolve_topic_name(self._profile.topics.joint_states)
                raise UserError(
                    f"nothing was received on {topic} in {DISCOVERY:.0f} s; start the driver, and look at --namespace, "
                    "ROS_DOMAIN_ID and the topic's name in the robot profile"
                )
            self._spin(0.05)
        # Messages may arrive before a publisher is listed or its node's name is known; not every topic has one.
        deadline = time.monotonic() + DISCOVERY / 2
        while not _all_known(found := self._publishers()) and time.monotonic() < deadline:
            self._spin(0.05)
        return found

    def no_simulator(self) -> str | None:
        """Return why commands may move more than the simulator; None if it is the sole subscriber."""
        return arm_endpoints(self.node, self._profile.topics, sim=True).no_simulator()

    def _publishers(self) -> dict[str, list[str]]:
        topics = (self._profile.topics.joint_states, self._profile.topics.depth_image, self._profile.topics.wrench)
        return {t: sorted({i.node_name for i in self.node.get_publishers_info_by_topic(t)}) for t in topics}

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_image(self, message: Image) -> None:
        self._images.append((self._now(), message.header))
        self._image = message

    def _on_joints(self, message: JointStateMessage) -> None:
        now = self._now()
        self._messages += 1
        self._names = tuple(message.name)
        try:
            sample = self._reader.read(message)
        except MessageError as error:
            if len(self._complaints) < 10:
                self._complaints.append(str(error))
            return
        self._has_velocities = len(message.velocity) > 0
        self._joints.append((now, sample))
        self._present.put(sample, now)

    def _now(self) -> float:
        return self.node.get_clock().now().nanoseconds / SECOND

    def _spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.02))

    def _drain(self) -> None:
        """Take the queued messages: their time of arrival is not known."""
        deadline, silent = time.monotonic() + DRAIN, 0
        while silent < 3 and time.monotonic() < deadline:
            before = self._messages
            self._executor.spin_once(timeout_sec=0.0)
            silent = silent + 1 if self._messages == before else 0
        self._spin(0.1)

    def _newest(self) -> tuple[float, JointSample]:
        """Return time of arrival, s, and newest joint sample."""
        return self._joints[-1]

    def _forget(self) -> None:
        """Begin a new record with the newest joint sample."""
        del self._joints[:-1]
        self._complaints.clear()
        self._wrenches.clear()
        self._images.clear()

    def _record(self) -> checks.JointRecord:
        n = len(self._profile.joint_names)
        return checks.JointRecord(
            arrivals=np.array([at for at, _ in self._joints]),
            stamps=np.array([sample.stamp / SECOND for _, sample in self._joints]),
            positions=np.array([sample.positions for _, sample in self._joints]).reshape(-1, n),
            velocities=np.array([sample.velocities for _, sample in self._joints]).reshape(-1, n),
            widths=np.array([sample.finger_width for _, sample in self._joints]),
            has_velocities=self._has_velocities,
        )

    def _wrench(self) -> checks.StreamRecord:
        complaints = []
        for _, message in self._wrenches:
            try:
                read_wrench(message, message.header.frame_id)  # the frame has a check of its own
            except MessageError as error:
                complaints.append(str(error))
        return _stream([(at, message.header) for at, message in self._wrenches], complaints)

    def _camera(self) -> checks.CameraRecord:
        """Return the record of depth images, and what perception makes of the newest one."""
        profile, image, images = self._profile, self._image, _stream(self._images, [])
        if image is None or self._info is None:
            return checks.CameraRecord(images, self._info is not None)
        try:
            depth = read_depth(image)
            camera = read_info(self._info, self.frames.camera_pose(profile, image.header))
            view = see(depth, camera, Workspace.about(profile.home_position[:2]))
        except PerceptionError as error:
            complaint = None if error.reason == "empty_table" else str(error)
            return checks.CameraRecord(images, True, image.encoding, complaint)
        return checks.CameraRecord(images, True, image.encoding, None, view)

    def passive(self, seconds: float) -> list[Verdict]:
        """Record for `seconds` and judge what needs no motion."""
        self._drain()
        self._forget()
        self._joints.clear()
        self._spin(seconds)
        topics, node = self._profile.topics, self.node
        has_wrench = bool(self._wrenches) or node.count_publishers(topics.wrench) > 0
        record = checks.PassiveRecord(
            names=self._names,
            complaints=tuple(dict.fromkeys(self._complaints)),
            joints=self._record(),
            camera=self._camera(),
            wrench=self._wrench() if has_wrench else None,
            listeners={topic: node.count_subscribers(topic) for topic in (topics.arm_command, topics.gripper_command)},
            watchdog=usual_watchdog(has_simulator(self._publishers())),
            transform=self.frames.connected(self._profile.base_frame, self._profile.tool_frame),
        )
        return checks.passive_verdicts(self._profile, record)


def _stream(received: Sequence[tuple[float, Header]], complaints: Sequence[str]) -> checks.StreamRecord:
    """Return the record of messages by their arrival (s) and header."""
    return checks.StreamRecord(
        np.array([at for at, _ in received]),
        np.array([nanoseconds(header.stamp) / SECOND for _, header in received]),
        tuple(sorted({header.frame_id for _, header in received})),
        tuple(dict.fromkeys(complaints)),
    )


def _all_known(publishers: dict[str, list[str]]) -> bool:
    return all(publishers.values()) and not any(UNKNOWN_NODE in names for names in publishers.values())


def _remappings(namespace: str) -> list[str]:
    """Return the remappings of the launch files: a namespace has its own transforms."""
    pairs = OWN_GRAPH.items() if namespace.strip("/") else ()
    return [word for old, new in pairs for word in ("-r", f"{old}:={new}")]
