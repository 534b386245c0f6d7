"""Where the motion that was sent last has brought the arm, also when the arm is not heard (knows no rclpy)."""

from __future__ import annotations

from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.types import ArmState, Motion

KNOWN = 0.5
"""So long after a motion's end the arm is still taken to be there, s; later somebody may have moved it."""


class SentMotion:
    """Remembers a motion that a driver began on arrival."""

    def __init__(self, period: float) -> None:
        """`period`: the control period, s."""
        self._period = period
        self._motion: Motion | None = None
        self._at = 0.0

    def put(self, motion: Motion | None, now: float) -> None:
        """A motion was sent at `now`, s; None: what the arm does is not known."""
        self._motion, self._at = motion, now

    def state(self, now: float) -> ArmState | None:
        """Where the arm should be at `now`, s, and how it should move; None where nothing tells."""
        if self._motion is None or now - self._at > len(self._motion.points) * self._period + KNOWN:
            return None
        return state_at(self._motion, now - self._at, self._period)
