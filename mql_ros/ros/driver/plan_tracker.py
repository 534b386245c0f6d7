"""Which commands must be sent when the driver already has the plan (knows no rclpy)."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.types import Array, Command


class PlanTracker:
    """In real time a plan is sent once, as a whole; after that only what departs from it."""

    def __init__(self) -> None:
        self._points: Array | None = None
        self._left = 0
        """How many of its points the last command had."""
        self._gripper: tuple[float, float] | None = None

    def forget(self) -> None:
        """The driver's state is not known: send the next command in any case."""
        self._points = self._gripper = None

    def changes(self, command: Command, new_plan: bool) -> tuple[bool, bool]:
        """Whether the arm's and the gripper's part of a command must be sent; called once for each command."""
        gripper = (command.finger_target, command.finger_force)
        send_gripper, self._gripper = gripper != self._gripper, gripper
        points = command.motion.points
        left, self._left = self._left, len(points)
        known = self._points if not new_plan and len(points) <= left else None
        if known is not None and np.array_equal(known[-len(points) :], points):
            return False, send_gripper
        self._points = points
        return True, send_gripper
