"""What the driver was sent last: the plan, the motion and the gripper command (no rclpy)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import ArmState, Array, Command, Motion

MOTION_MEMORY = 0.5
"""Time after a motion's end for which the arm is assumed to stay there, s; later somebody may have moved it."""
FREE_EFFORT = 0.5
"""Fingers with less effort than this hold nothing, N: a driver reports none for free fingers."""


class SentPlan:
    """The plan sent last: in real time it is sent once as a whole, and after that only what departs from it."""

    def __init__(self) -> None:
        self._points: Array | None = None
        self._left = 0
        """Number of points of the last command."""
        self._gripper: tuple[float, float] | None = None

    def forget(self) -> None:
        """Send the next command in any case: the state of the driver is not known."""
        self._points = self._gripper = None

    def changes(self, command: Command, new_plan: bool) -> tuple[bool, bool]:
        """Return whether the arm's and the gripper's part must be sent; call this once for each command."""
        gripper = (command.finger_target, command.finger_force)
        send_gripper, self._gripper = gripper != self._gripper, gripper
        points = command.motion.points
        left, self._left = self._left, len(points)
        known = self._points if not new_plan and len(points) <= left else None
        if known is not None and np.array_equal(known[-len(points) :], points):
            return False, send_gripper
        self._points = points
        return True, send_gripper


class SentMotion:
    """The motion sent last, which the driver began on arrival: where the arm is by now, even without joint states."""

    def __init__(self, period: float) -> None:
        """`period` is the control period, s."""
        self._period = period
        self.motion: Motion | None = None
        self._at = 0.0

    def put(self, motion: Motion | None, now: float) -> None:
        """Store a motion sent at `now`, s; None if what the arm does is not known."""
        self.motion, self._at = motion, now

    def state(self, now: float) -> ArmState | None:
        """Return the planned state at `now`, s; None if no motion is known or it ended more than MOTION_MEMORY ago."""
        if self.motion is None or now - self._at > len(self.motion.points) * self._period + MOTION_MEMORY:
            return None
        return state_at(self.motion, now - self._at, self._period)


class SentGripperCommand:
    """The gripper command sent last, and a command that stops the fingers on their way."""

    def __init__(self) -> None:
        self._command: Command | None = None
        self._arrives = 0.0
        """Time at which the fingers have reached their target from any opening, s."""

    @property
    def force(self) -> float | None:
        """Return its force limit of each finger, N; None before the first command."""
        return None if self._command is None else self._command.finger_force

    def put(self, command: Command, limits: RobotProfile, now: float) -> None:
        """Store a command sent at `now`, s; the fingers move at the speed of `limits`."""
        if self._command is None or command.finger_target != self._command.finger_target:
            self._arrives = now + limits.finger_seconds
        self._command = command

    def stop(self, limits: RobotProfile, width: float, effort: float, now: float) -> Command | None:
        """Return a command that stops the fingers at the opening `width`, m, with the present force.

        Return None if the motion has finished or the fingers hold an object (`effort` above FREE_EFFORT, N):
        commanding the current width would release the grip.
        """
        if self._command is None or now > self._arrives or effort > FREE_EFFORT:
            return None
        return replace(self._command, finger_target=min(max(width, 0.0), limits.max_width))
