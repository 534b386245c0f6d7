"""Which commands must be sent when the driver already has the plan (knows no rclpy)."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.types import Array, Command


class PlanTracker:
    """In real time a plan is sent once, as a whole; after that only what departs from it."""

    def __init__(self) -> None:
        self._points: Array | None = None
        self._passed = 0
        self._gripper: tuple[float, float] | None = None

    def forget(self) -> None:
        """The driver's state is not known: send the next command in any case."""
        self._points = self._gripper = None

    def changes(self, command: Command, new_plan: bool) -> tuple[bool, bool]:
        """Whether the arm's and the gripper's part of a command must be sent; called once for each command."""
        gripper = (command.finger_target, command.finger_force)
        send_gripper, self._gripper = gripper != self._gripper, gripper
        if not new_plan and self._points is not None:
            self._passed = min(self._passed + 1, len(self._points) - 1)
            if np.array_equal(self._points[self._passed :], command.motion.points):
                return False, send_gripper
        self._points, self._passed = command.motion.points, 0
        return True, send_gripper
