"""The grasp reward, from what a real arm has: finger width and effort, where the tool is, the view after the lift.

`grasp_monitor` computes it on the robot and training computes it in the simulator: one function, one state.
"""

from __future__ import annotations

from dataclasses import dataclass

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Measurement

HELD_EFFORT = 0.3
"""Least force of each pad on a held object, N."""
HELD_WIDTH = 0.0015
"""Least distance between the pads on a held object, m."""
WIDTH_MARGIN = 0.0005
"""Fingers that are farther apart than their widest opening by more than this hold nothing, m."""
SUCCESS_RETURN = 0.5
"""A trial whose rewards sum to this has lifted its object and kept it."""


@dataclass(frozen=True)
class RewardConfig:
    """Weights of the graded reward; a perfect trial earns about 1."""

    touch: float = 0.1
    """Both pads press on something for the first time in the trial."""
    height: float = 0.2
    """Times the fraction of `full_height` by which the tool has risen while holding."""
    lifted: float = 0.7
    """The trial ends with something held at `full_height`, and the table is empty where the camera saw it."""
    full_height: float = 0.05
    """m."""
    lost: float = -0.3
    """The grip was lost: slipped, dropped or crushed."""
    guard: float = -0.05
    """The contact force exceeded the guard for the first time in the trial."""
    period: float = -0.001
    """Every control period."""


class GraspReward:
    """Reward of one trial, one control period at a time."""

    def __init__(self, profile: RobotProfile, config: RewardConfig | None = None) -> None:
        self._config = config or RewardConfig()
        self._profile = profile
        self._begun = False

    def begin(self, measurement: Measurement) -> None:
        """Start a trial: the fingers are open."""
        self._begun = True
        self._best = 0.0
        self._touched = self._lost = self._guarded = False
        self._gripped_at: float | None = None
        self._high = False

    def is_held(self, measurement: Measurement) -> bool:
        """Whether the fingers hold something between them."""
        width = measurement.finger_width
        fits = HELD_WIDTH <= width <= self._profile.max_width + WIDTH_MARGIN
        return fits and measurement.finger_effort >= HELD_EFFORT

    def step(self, measurement: Measurement) -> float:
        """Reward earned in the control period that ends with `measurement`."""
        if not self._begun:
            raise RuntimeError("GraspReward.begin comes before step")
        config = self._config
        reward = config.period
        held = self.is_held(measurement)
        if held and not self._touched:
            self._touched = True
            reward += config.touch
        if held:
            height = float(self._profile.chain.forward(measurement.joint_positions)[0][2])
            self._gripped_at = height if self._gripped_at is None else min(self._gripped_at, height)
            fraction = min(max((height - self._gripped_at) / config.full_height, 0.0), 1.0)
            reward += config.height * max(0.0, fraction - self._best)
            self._best = max(self._best, fraction)
        self._high = held and self._best >= 1.0
        # Fingers that held something and are now shut: it slipped out, fell or gave way.
        if self._touched and not self._lost and measurement.finger_width < HELD_WIDTH:
            self._lost = True
            reward += config.lost
        force = measurement.contact_force
        if not self._guarded and not self._touched and float(force @ force) > self._profile.guard_force**2:
            self._guarded = True
            reward += config.guard
        return reward

    def finish(self, gone: bool | None) -> float:
        """Reward of the end of the trial; `gone`: the camera no longer sees it on the table, None without a view."""
        return self._config.lifted if self._high and gone is not False else 0.0
