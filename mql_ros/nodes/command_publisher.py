"""Publishes commands for arm and gripper: each period in lockstep, what departs from the plan in real time."""

from __future__ import annotations

import numpy as np
from trajectory_msgs.msg import JointTrajectory

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Command, Measurement
from mql_ros.nodes.common import RELIABLE, GraspingNode
from mql_ros.nodes.plan_tracker import PlanTracker
from mql_ros.nodes.trajectories import arm_message, gripper_message


class CommandPublisher:
    """The policy server's way to the driver."""

    def __init__(self, node: GraspingNode, profile: RobotProfile) -> None:
        self._profile = profile
        self._lockstep = bool(node.setting("lockstep"))
        self._plan = PlanTracker()
        self._last: Command | None = None
        self.count = 0
        """Commands of the trial machine and holds, sent or already known to the driver."""
        self._arm = node.create_publisher(JointTrajectory, "arm_controller/joint_trajectory", RELIABLE)
        self._gripper = node.create_publisher(JointTrajectory, "gripper_controller/joint_trajectory", RELIABLE)

    def send(self, command: Command, stamp: int, new_plan: bool) -> None:
        """Send what the driver does not know yet of a command that answers the measurement of `stamp`."""
        self._last = command
        self.count += 1
        arm, gripper = (True, True) if self._lockstep else self._plan.changes(command, new_plan)
        # In lockstep the stamp says which measurement is answered; a real driver starts on arrival at stamp 0.
        stamp = stamp if self._lockstep else 0
        if gripper:
            self._gripper.publish(gripper_message(self._profile, command, stamp))
        if arm:
            self._arm.publish(arm_message(self._profile, command, stamp))

    def hold(self, measurement: Measurement, stamp: int) -> None:
        """Stop the arm where it was last seen; the fingers keep what they were told."""
        position, last = measurement.joint_positions[None], self._last
        width = last.finger_target if last else measurement.finger_width
        force = last.finger_force if last else 0.5 * self._profile.max_force
        self.forget_plan()
        self.send(Command(position, np.zeros_like(position), width, force), stamp, new_plan=True)

    def forget_plan(self) -> None:
        """What the driver follows is not known any more: send the next command as a whole."""
        self._plan.forget()
