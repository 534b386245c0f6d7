"""Commands for arm and gripper: in lockstep one each period, in real time only what departs from the plan."""

from __future__ import annotations

import numpy as np
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import hold_motion, is_within
from mql_ros.grasping.types import ArmState, Command, Motion
from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.driver.measurements import FRESH
from mql_ros.ros.driver.permission import ControllerWatch
from mql_ros.ros.driver.sent_commands import SentGripperCommand, SentMotion, SentPlan
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES, arm_message

NO_SUBSCRIBER = "nobody subscribes to"
"""Begins a refusal while the driver is absent or not discovered."""
NOT_FRESH = f"there are no joint_states, or they are older than {FRESH} s, or they jump; is the driver well?"
"""Refusal of a start, which on a busy machine may pass by itself."""


class CommandPublisher:
    """Publishes the policy server's commands and remembers what was sent last."""

    def __init__(self, node: GraspingNode, profile: RobotProfile) -> None:
        self._profile, self._now = profile, node.seconds
        self._lockstep = bool(node.setting("lockstep"))
        self._plan = SentPlan()
        self.sent = SentMotion(profile.control_period)
        self._grip, self._limits = SentGripperCommand(), profile
        self._begun = False
        """Whether trials have begun. Before that nothing is sent: the driver may be an unchecked one."""
        self._hold_due = False
        self.count = 0
        """Number of commands of the trial machine and holds, sent or already known to the driver."""
        self._arm = node.create_publisher(JointTrajectory, profile.topics.arm_command, RELIABLE)
        self._controller = ControllerWatch(node, profile.topics.arm_command)
        kind, self._gripper_message = GRIPPER_MESSAGES[profile.gripper_command]
        self._gripper = node.create_publisher(kind, profile.topics.gripper_command, RELIABLE)

    @property
    def finger_force(self) -> float | None:
        """Return the force limit of each finger that was sent last, N; None before the first."""
        return self._grip.force

    def begin(self, state: ArmState | None) -> str | None:
        """Return why no motion may begin, in one sentence; otherwise send the arm where it stands and return None."""
        self.forget_plan()
        if self._arm.get_subscription_count() == 0:
            return f"{NO_SUBSCRIBER} {self._arm.topic_name}; start the driver"
        if self._lockstep:
            return None
        if (refusal := self._controller.refusal()) is not None:
            return refusal
        if state is None:
            return NOT_FRESH
        if not (within := is_within(self._profile, state)).all():
            name = self._profile.joint_names[int(np.argmin(within))]
            return f"{name} is measured outside its limits; bring it back by the arm's own means, or check the driver"
        self._begun = True
        self.hold(state)
        return None

    def send(self, command: Command, stamp: int, new_plan: bool, limits: RobotProfile) -> None:
        """Send the part of a command that the driver does not know yet.

        `stamp` (ns) is that of the measurement that the command answers; `limits` is the profile with the present
        limits, which hold for the fingers too.
        """
        self.count += 1
        arm, gripper = (True, True) if self._lockstep else self._plan.changes(command, new_plan)
        # In lockstep the stamp names the measurement that is answered; a real driver starts on arrival at stamp 0.
        stamp = stamp if self._lockstep else 0
        if gripper:
            self._limits = limits
            self._publish_grip(command, stamp)
        if arm:
            self._publish(command.motion, stamp)

    def hold(self, state: ArmState | None, fingers: tuple[float, float] | None = None) -> None:
        """Bring the arm to rest from the present `state` as soon as its limits allow.

        `fingers` are their opening (m) and effort (N): free fingers stop too (see SentGripperCommand). With None they
        keep their command.

        A state is not trusted if it is None, outside the limits, or far from the motion sent last. The stop then begins
        where that motion has brought the arm by now. If no motion is known either, an empty trajectory is sent. Not
        every driver stops at that (see arm_message), so a hold follows as soon as there is a state (see settle).
        Nothing is sent in lockstep, in which the arm stands still without commands, or before trials have begun.
        """
        sent = self.sent.state(self._now())
        self.forget_plan()
        if self._lockstep or not self._begun:
            return
        motion = hold_motion(self._profile, state, sent)
        self.count += 1
        self._hold_due = motion is None
        self._publish(motion, 0)
        if fingers is not None and (stay := self._grip.stop(self._limits, *fingers, self._now())) is not None:
            self._publish_grip(stay, 0)

    def _publish_grip(self, command: Command, stamp: int) -> None:
        self._grip.put(command, self._limits, self._now())
        self._gripper.publish(self._gripper_message(self._limits, command, stamp))

    def _publish(self, motion: Motion | None, stamp: int) -> None:
        self.sent.put(motion, self._now())
        self._arm.publish(arm_message(self._profile, motion, stamp))

    def settle(self, state: ArmState | None) -> None:
        """Take a new state, None if it cannot be trusted, and send the hold that still waits for one."""
        if self._hold_due and hold_motion(self._profile, state, None) is not None:
            self.hold(state)

    def forget_plan(self) -> None:
        """Send the next command as a whole: it is not known any more what the driver follows."""
        self._plan.forget()
        self.sent.put(None, 0.0)
        self._hold_due = False

    def flush(self) -> None:
        """Wait up to 0.5 s until the driver has acknowledged what was sent to the arm."""
        self._arm.wait_for_all_acked(Duration(seconds=0.5))
