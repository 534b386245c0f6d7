"""What the fingers were told last, and what stops them on the way there (knows no rclpy)."""

from __future__ import annotations

from dataclasses import replace

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Command

FREE = 0.5
"""Fingers with less effort than this hold nothing, N: for free ones a driver reports none."""


class SentGrip:
    """Remembers the command that the gripper follows."""

    def __init__(self) -> None:
        self._command: Command | None = None
        self._arrives = 0.0
        """When the fingers are where they were sent, wherever they came from, s."""

    def put(self, command: Command, limits: RobotProfile, now: float) -> None:
        """The gripper was sent a command at `now`, s; it moves the fingers with the speed of `limits`."""
        if self._command is None or command.finger_target != self._command.finger_target:
            self._arrives = now + limits.finger_seconds
        self._command = command

    def stop(self, limits: RobotProfile, width: float, effort: float, now: float) -> Command | None:
        """A command that lets free fingers on their way stay at the opening `width`, m, with the force as it is.

        None where they are to keep their command: at its end, or with something between them (by `effort`, N), which
        they would let go, for fingers that are sent where they are press no more.
        """
        if self._command is None or now > self._arrives or effort > FREE:
            return None
        return replace(self._command, finger_target=min(max(width, 0.0), limits.max_width))
