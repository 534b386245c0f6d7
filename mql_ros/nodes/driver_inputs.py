"""Subscriptions to an arm driver and perception, joined into measurements; policy server and grasp monitor use them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import PoseStamped, WrenchStamped
from sensor_msgs.msg import JointState

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Array, Measurement
from mql_ros.nodes.common import RELIABLE, SENSOR, GraspingNode
from mql_ros.nodes.conversions import JointReader, MessageError, nanoseconds, read_pose, read_wrench
from mql_ros.nodes.measurements import MeasurementAssembler, NewestJoints


class DriverInputs:
    """Calls `arrived(stamp in ns, measurement)` for each control period; refused messages become a warning."""

    def __init__(
        self,
        node: GraspingNode,
        profile: RobotProfile,
        arrived: Callable[[int, Measurement], None],
        moved: Callable[[Array | None], None] = lambda joints: None,
    ) -> None:
        """`moved` hears of each joint sample what `joints` then returns, measurement or not."""
        self._node, self._profile, self._arrived, self._moved = node, profile, arrived, moved
        self._joints = JointReader(profile)
        self._newest = NewestJoints()
        self.refused = 0
        """Messages that were not used."""
        self.count = 0
        """Measurements made."""
        use_wrench = node.setting("use_wrench")
        self.assembler = MeasurementAssembler(
            exact=node.setting("lockstep"),
            use_wrench=use_wrench,
            control_period=profile.control_period,
            stale_after=node.setting("stale_after"),
        )
        quality = RELIABLE if node.setting("lockstep") else SENSOR
        node.create_subscription(PoseStamped, "object_pose", self._on_pose, quality)
        if use_wrench:
            node.create_subscription(WrenchStamped, "wrench", self._on_wrench, quality)
        node.create_subscription(JointState, "joint_states", self._on_joints, quality)

    def joints(self) -> Array | None:
        """Where the arm is, by joint_states alone; None where they are not fresh."""
        return self._newest.positions(self._node.seconds())

    def figures(self) -> dict[str, Any]:
        """For /diagnostics."""
        return {"measurements": self.count, "refused_messages": self.refused, "stale_inputs": self.assembler.stale}

    def _on_joints(self, message: JointState) -> None:
        def read() -> Measurement | None:
            sample = self._joints.read(message)
            self._newest.put(sample, self._node.seconds())
            self._moved(self.joints())
            return self.assembler.joints(sample)

        self._take(message, read)

    def _on_pose(self, message: PoseStamped) -> None:
        self._take(message, lambda: self.assembler.pose(read_pose(message, self._profile.base_frame)))

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
            self.count += 1
            self._arrived(nanoseconds(message.header.stamp), measurement)
