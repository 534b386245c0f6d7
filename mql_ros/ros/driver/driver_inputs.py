"""Subscriptions to an arm driver and perception, joined into measurements; policy server and grasp monitor use them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import WrenchStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task.finger_effort import StallEffort
from mql_ros.grasping.types import ArmState, Measurement
from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import RELIABLE, SENSOR
from mql_ros.ros.driver.measurements import MeasurementAssembler, NewestJoints
from mql_ros.ros.messages.encoding import MessageError, nanoseconds
from mql_ros.ros.messages.sensors import JointReader, read_wrench

JOINTS_POLL = 0.0125
"""Time between two polls of joint_states, s: a small part of the control period and of the watchdog."""


class Unwatched(CallbackGroup):
    """A callback group that never wakes the executor: a wake-up costs 0.4 ms, and drivers publish at up to 1 kHz."""

    def can_execute(self, entity: Any) -> bool:
        """Return False: a timer takes the messages."""
        return False

    def beginning_execution(self, entity: Any) -> bool:
        """Return False: nothing is executed."""
        return False

    def ending_execution(self, entity: Any) -> None:
        """Do nothing: nothing was begun."""


class DriverInputs:
    """Calls `arrived(measurement)` for each control period; refused messages become a warning."""

    def __init__(
        self,
        node: GraspingNode,
        profile: RobotProfile,
        arrived: Callable[[Measurement], None],
        moved: Callable[[ArmState | None], None] = lambda state: None,
        finger_force: Callable[[], float | None] = lambda: None,
    ) -> None:
        """`moved` is called at each joint sample with what `joints` returns then.

        `finger_force` returns the commanded force, N, by which an effort that is estimated counts; the largest if None.
        """
        self._node, self._profile, self._arrived, self._moved = node, profile, arrived, moved
        self._joints = JointReader(profile)
        self._newest = NewestJoints(profile.velocity)
        self._stall = StallEffort(profile) if profile.gripper_effort == "stall" else None
        self._finger_force, self._estimated_effort = finger_force, 0.0
        self._measured: int | None = None
        """Stamp of the newest measurement, ns."""
        self.refused = 0
        """Number of messages that were refused."""
        self.count = 0
        """Number of measurements made."""
        use_wrench = node.setting("use_wrench")
        self.assembler = MeasurementAssembler(
            exact=node.setting("lockstep"),
            use_wrench=use_wrench,
            control_period=profile.control_period,
        )
        quality = RELIABLE if node.setting("lockstep") else SENSOR
        if use_wrench:
            node.create_subscription(WrenchStamped, profile.topics.wrench, self._on_wrench, quality)
        topic = profile.topics.joint_states
        if node.setting("lockstep"):
            node.create_subscription(JointState, topic, self._on_joints, quality)
        else:
            self._stream = node.create_subscription(
                JointState, topic, lambda data: None, quality, callback_group=Unwatched(), raw=True
            )
            node.create_timer(JOINTS_POLL, self._take_newest_joints, clock=node.wall_clock)

    def joints(self) -> ArmState | None:
        """Return the present state of the arm by joint_states alone; None if they are not fresh or jump."""
        return self._newest.state(self._node.seconds())

    def fingers(self) -> tuple[float, float] | None:
        """Return opening (m) and effort (N) of the fingers; None if joint_states are not fresh or jump."""
        fingers = self._newest.fingers(self._node.seconds())
        return fingers if fingers is None or self._stall is None else (fingers[0], self._estimated_effort)

    def silence(self, longest: float) -> str:
        """Return which input is missing or delayed by more than `longest` seconds; "" if none is.

        The contact guard needs whole measurements, of which there is one in a control period.
        """
        now, two_periods = self._node.seconds(), 2 * self._profile.control_period
        if (later := self._newest.later()) > longest:
            return f"joint_states come {later:.2f} s later than they once did: something lags, or a clock goes wrong"
        joints = self._newest.age(now)
        whole = math.inf if self._measured is None else self._newest.age_of(self._measured, now)
        if joints <= longest and whole <= max(longest, two_periods):
            return ""
        if whole > joints + two_periods:
            return f"no wrench that is fresh enough beside the joint_states for {whole:.2f} s"
        return f"no joint_states for {joints:.2f} s"

    def figures(self) -> dict[str, Any]:
        """For /diagnostics."""
        return {"measurements": self.count, "refused_messages": self.refused, "stale_inputs": self.assembler.stale}

    def _take_newest_joints(self) -> None:
        newest = None
        stream: Any = self._stream.handle
        with stream:
            while (taken := stream.take_message(JointState, True)) is not None:
                newest = taken[0]
        if newest is not None:
            self._on_joints(deserialize_message(newest, JointState))

    def _on_joints(self, message: JointState) -> None:
        def read() -> Measurement | None:
            sample = self._joints.read(message)
            self._newest.put(sample, self._node.seconds())
            self._moved(self.joints())
            return self.assembler.joints(sample)

        self._take(message, read)

    def _on_wrench(self, message: WrenchStamped) -> None:
        self._take(message, lambda: self.assembler.wrench(read_wrench(message, self._profile.tool_frame)))

    def _take(self, message: Any, read: Callable[[], Measurement | None]) -> None:
        try:
            measurement = read()
        except MessageError as error:
            self.refused += 1
            self._node.warn(f"refused: {error}")
            return
        if measurement is not None:
            if self._stall is not None:
                force = self._finger_force()
                measurement = self._stall.put(measurement, self._profile.max_force if force is None else force)
                self._estimated_effort = measurement.finger_effort
            self.count += 1
            self._measured = nanoseconds(message.header.stamp)
            self._arrived(measurement)
