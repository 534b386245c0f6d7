"""Publishes commands for arm and gripper: each period in lockstep, what departs from the plan in real time."""

from __future__ import annotations

from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Array, Command
from mql_ros.nodes.common import RELIABLE, GraspingNode
from mql_ros.nodes.measurements import FRESH
from mql_ros.nodes.plan_tracker import PlanTracker
from mql_ros.nodes.trajectories import arm_message, gripper_message, hold_message


class CommandPublisher:
    """The policy server's way to the driver."""

    def __init__(self, node: GraspingNode, profile: RobotProfile) -> None:
        self._profile = profile
        self._lockstep = bool(node.setting("lockstep"))
        self._plan = PlanTracker()
        self._hold_due = False
        self.count = 0
        """Commands of the trial machine and holds, sent or already known to the driver."""
        self._arm = node.create_publisher(JointTrajectory, "arm_controller/joint_trajectory", RELIABLE)
        self._gripper = node.create_publisher(JointTrajectory, "gripper_controller/joint_trajectory", RELIABLE)

    def send(self, command: Command, stamp: int, new_plan: bool) -> None:
        """Send what the driver does not know yet of a command that answers the measurement of `stamp`."""
        self.count += 1
        arm, gripper = (True, True) if self._lockstep else self._plan.changes(command, new_plan)
        # In lockstep the stamp says which measurement is answered; a real driver starts on arrival at stamp 0.
        stamp = stamp if self._lockstep else 0
        if gripper:
            self._gripper.publish(gripper_message(self._profile, command, stamp))
        if arm:
            self._arm.publish(arm_message(self._profile, command, stamp))

    def hold(self, joints: Array | None) -> None:
        """Stop the arm at the fresh positions `joints`; the fingers keep what they were told.

        Where positions are at most FRESH old and FRESH is the time to reach them, the arm goes back no faster than it
        came. Old positions would drive it far: without fresh ones it is told to stop in the one way that needs none,
        and to hold as soon as they are known, because not every driver heeds that (see hold_message).
        In lockstep the arm stands still while it is sent nothing.
        """
        self.forget_plan()
        if self._lockstep:
            return
        self.count += 1
        self._hold_due = joints is None
        self._arm.publish(hold_message(self._profile, joints, FRESH))

    def settle(self, joints: Array | None) -> None:
        """Positions have arrived, fresh or None: hold there where a hold still lacks them."""
        if self._hold_due and joints is not None:
            self.hold(joints)

    def forget_plan(self) -> None:
        """What the driver follows is not known any more: send the next command as a whole."""
        self._plan.forget()
        self._hold_due = False

    def flush(self) -> None:
        """Wait a moment until the driver has what was sent to the arm."""
        self._arm.wait_for_all_acked(Duration(seconds=0.5))
