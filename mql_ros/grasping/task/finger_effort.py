"""Effort of fingers whose driver reports none: fingers that have stalled between open and shut press on something."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task.reward import HELD_WIDTH
from mql_ros.grasping.types import Measurement

STALL_PERIODS = 1
"""Number of control periods for which stalled fingers have stood still; with two, what gives way is felt too late."""
STALL_SPEED = 0.05
"""Largest speed of stalled fingers over that of free ones: slowed motions are no stall, an object that turns is one."""
OPEN_MARGIN = 0.001
"""Fingers that are closer to the widest opening they had than this stand open, m."""


class StallEffort:
    """Estimates the finger effort from the openings that were measured, one control period after another.

    Fingers press if they stand still, wider than shut and narrower than open. Fingers that move, that stand open or
    that are shut do not. The estimate depends on widths and stamps alone, so nodes and simulator agree to the last bit.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self._period, self._max_width = profile.control_period, profile.max_width
        opening_speed = len(profile.finger_names) * profile.finger_speed
        self._play = STALL_SPEED * opening_speed * STALL_PERIODS * profile.control_period
        """Largest change of a stalled opening within STALL_PERIODS, m."""
        self._widest = 0.0
        """Widest opening so far, m: a hand may open less far than its profile says."""
        self._recent: deque[tuple[float, float]] = deque()
        """Stamps (s) and openings (m) of about the last STALL_PERIODS."""

    def put(self, measurement: Measurement, force: float) -> Measurement:
        """Return the measurement with the estimated effort; `force` is what pressing fingers press with, N."""
        stalled = self._stalled(measurement.stamp, measurement.finger_width)
        return replace(measurement, finger_effort=force if stalled else 0.0)

    def _stalled(self, stamp: float, width: float) -> bool:
        recent = self._recent
        if recent and stamp <= recent[-1][0]:
            recent.clear()  # the driver was restarted, or its clock was set back
        recent.append((stamp, width))
        while len(recent) > 1 and self._periods(stamp - recent[1][0]) >= STALL_PERIODS:
            recent.popleft()
        self._widest = min(max(self._widest, width), self._max_width)
        widths = [width for _, width in recent]
        still = self._periods(stamp - recent[0][0]) >= STALL_PERIODS and max(widths) - min(widths) <= self._play
        return still and HELD_WIDTH <= width < self._widest - OPEN_MARGIN

    def _periods(self, seconds: float) -> int:
        return round(seconds / self._period)
