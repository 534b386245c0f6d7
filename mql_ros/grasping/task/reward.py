"""The grasp reward, from signals that a real arm has too: finger width and effort, object pose, contact force.

`grasp_monitor` computes it on the robot and training computes it in the simulator: one function, one state.
"""

from __future__ import annotations

from dataclasses import dataclass

from mql_ros.grasping.types import Measurement

HELD_EFFORT = 0.3
"""Least force of each pad on a held object, N."""
HELD_WIDTH = 0.003
"""Least distance between the pads on a held object, m."""
SUCCESS_RETURN = 0.5
"""A trial whose rewards sum to this has lifted its object and kept it."""


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the graded reward; a perfect trial earns about 1."""

    touch: float = 0.1
    """Both pads touch the object for the first time in the trial."""
    height: float = 0.2
    """Times the fraction of `full_height` reached while held."""
    lifted: float = 0.7
    """The object has been held above `full_height` for `lifted_periods` control periods."""
    full_height: float = 0.05
    """m."""
    lifted_periods: int = 3
    lost: float = -0.3
    """The grip was lost: slipped, dropped or crushed."""
    guard: float = -0.05
    """The contact force exceeded the guard for the first time in the trial."""
    period: float = -0.001
    """Every control period."""


def is_held(measurement: Measurement) -> bool:
    """Whether the fingers hold something between them."""
    return measurement.finger_effort >= HELD_EFFORT and measurement.finger_width >= HELD_WIDTH


class GraspReward:
    """Reward of one trial, one control period at a time."""

    def __init__(self, guard_force: float, config: RewardConfig | None = None) -> None:
        self._config = config or RewardConfig()
        self._guard_force = guard_force
        self._base_height: float | None = None

    def begin(self, measurement: Measurement) -> None:
        """Start a trial: the object stands, the fingers are open."""
        self._base_height = float(measurement.object_position[2])
        self._best = 0.0
        self._touched = self._lifted = self._lost = self._guarded = False
        self._high_periods = 0

    def step(self, measurement: Measurement) -> float:
        """Reward earned in the control period that ends with `measurement`."""
        if self._base_height is None:
            raise RuntimeError("GraspReward.begin comes before step")
        config = self._config
        reward = config.period
        held = is_held(measurement)
        height = float(measurement.object_position[2]) - self._base_height
        if held and not self._touched:
            self._touched = True
            reward += config.touch
        if held:
            fraction = min(max(height / config.full_height, 0.0), 1.0)
            reward += config.height * max(0.0, fraction - self._best)
            self._best = max(self._best, fraction)
        self._high_periods = self._high_periods + 1 if held and height >= config.full_height else 0
        if self._high_periods >= config.lifted_periods and not self._lifted:
            self._lifted = True
            reward += config.lifted
        # Fingers that held something and are now shut: it slipped out, fell or gave way.
        if self._touched and not self._lost and measurement.finger_width < HELD_WIDTH:
            self._lost = True
            reward += config.lost - (config.lifted if self._lifted else 0.0)
        force = measurement.contact_force
        if not self._guarded and float(force @ force) > self._guard_force**2 and not self._touched:
            self._guarded = True
            reward += config.guard
        return reward
