"""Publishes commands for arm and gripper: each period in lockstep, what departs from the plan in real time."""

from __future__ import annotations

import numpy as np
from rclpy.duration import Duration
from trajectory_msgs.msg import JointTrajectory

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import hold_motion, is_within
from mql_ros.grasping.types import ArmState, Command, Motion
from mql_ros.ros.base.common import RELIABLE, GraspingNode
from mql_ros.ros.driver.controller_watch import ControllerWatch
from mql_ros.ros.driver.measurements import FRESH
from mql_ros.ros.driver.plan_tracker import PlanTracker
from mql_ros.ros.driver.sent_grip import SentGrip
from mql_ros.ros.driver.sent_motion import SentMotion
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES, arm_message

NOBODY = "nobody listens on"
"""Begins what is said where the driver is not there, or not discovered yet."""
NOT_FRESH = f"there are no joint_states, or they are older than {FRESH} s, or they jump; is the driver well?"
"""Refusal of a start; on a busy machine it may hold for a moment only."""


class CommandPublisher:
    """The policy server's way to the driver."""

    def __init__(self, node: GraspingNode, profile: RobotProfile) -> None:
        self._profile, self._now = profile, node.seconds
        self._lockstep = bool(node.setting("lockstep"))
        self._plan = PlanTracker()
        self._sent = SentMotion(profile.control_period)
        self._grip, self._limits = SentGrip(), profile
        self._begun = False
        """Whether trials have begun: before, nothing of ours moves the arm, and its driver may be an unchecked one."""
        self._hold_due = False
        self.count = 0
        """Commands of the trial machine and holds, sent or already known to the driver."""
        self._arm = node.create_publisher(JointTrajectory, profile.topics.arm_command, RELIABLE)
        self._controller = ControllerWatch(node, profile.topics.arm_command)
        kind, self._gripper_message = GRIPPER_MESSAGES[profile.gripper_command]
        self._gripper = node.create_publisher(kind, profile.topics.gripper_command, RELIABLE)

    def begin(self, state: ArmState | None) -> str | None:
        """Before the first motion: why there may be none, in one sentence; else the arm is sent where it stands."""
        self.forget_plan()
        if self._arm.get_subscription_count() == 0:
            return f"{NOBODY} {self._arm.topic_name}; start the driver"
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
        """Send what the driver does not know yet of a command that answers the measurement of `stamp`.

        `limits` is the profile with the limits as they are now, which hold for the fingers too.
        """
        self.count += 1
        arm, gripper = (True, True) if self._lockstep else self._plan.changes(command, new_plan)
        # In lockstep the stamp says which measurement is answered; a real driver starts on arrival at stamp 0.
        stamp = stamp if self._lockstep else 0
        if gripper:
            self._limits = limits
            self._publish_grip(command, stamp)
        if arm:
            self._publish(command.motion, stamp)

    def hold(self, state: ArmState | None, fingers: tuple[float, float] | None = None) -> None:
        """Bring the arm to rest from the present `state` as soon as its limits allow.

        Fingers that move freely stop too (see SentGrip), by their opening (m) and effort (N), `fingers`; without these
        they keep their command.
        Without a state that can be trusted (None, outside the limits, or far from the motion sent last) the arm stops
        from where the motion sent last has brought it by now. Where that is not known either, it is told to stop in the
        one way that needs no state, and to hold as soon as there is one, because not every driver heeds that (see
        arm_message). In lockstep the arm stands still while it is sent nothing, and so it does, as far as this process
        goes, before trials have begun.
        """
        sent = self._sent.state(self._now())
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
        self._sent.put(motion, self._now())
        self._arm.publish(arm_message(self._profile, motion, stamp))

    def settle(self, state: ArmState | None) -> None:
        """A state has arrived, or None that can be trusted: hold there where a hold still lacks it."""
        if self._hold_due and hold_motion(self._profile, state, None) is not None:
            self.hold(state)

    def forget_plan(self) -> None:
        """What the driver follows is not known any more: send the next command as a whole."""
        self._plan.forget()
        self._sent.put(None, 0.0)
        self._hold_due = False

    def flush(self) -> None:
        """Wait a moment until the driver has what was sent to the arm."""
        self._arm.wait_for_all_acked(Duration(seconds=0.5))
