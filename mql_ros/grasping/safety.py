"""The last word before a command leaves for the arm: what breaks a limit is replaced by holding still."""

from __future__ import annotations

import math

import numpy as np

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Array, Command, Measurement

LAG = 1.5
"""An arm follows with a lag: the step from the measured position may be this much longer than one at full speed."""
BOX_TOLERANCE = 0.002
"""The tool may be this far outside the workspace box, m: an arm at its border sags and overshoots a little."""
REACH_TOLERANCE = 0.005
"""A motion that would end farther than this from where the tool is wanted is refused, m."""


class SafetyFilter:
    """Checks commands against a robot profile and counts those that it refuses.

    What is checked: finite numbers, joint positions, joint speeds between the points and from the measured position,
    the workspace box of the tool at every point, an end at rest, finger opening and force.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.profile = profile
        self.refusals = 0
        self.last_refusal = ""
        """The reason of the latest refusal, one sentence; empty when there was none."""
        self._step = profile.velocity * profile.control_period
        # Rounding must not turn a point at a limit into a refusal.
        self._lower, self._upper = profile.lower - 1e-9, profile.upper + 1e-9
        self._finger_target: float | None = None
        self._finger_force = 0.0

    def filter(self, command: Command, measurement: Measurement, plan_fault: str | None = None) -> Command:
        """The command itself when it is allowed, otherwise one that holds the measured position.

        `plan_fault` is what `plan_fault()` said about the plan that the command's points are the rest of; with None
        they are checked here. A refused command keeps its fingers if their part was in order, else as last allowed.
        """
        if plan_fault is None:
            plan_fault = self.plan_fault(command.points, command.velocities, measurement.joint_positions)
        finger_fault = self._finger_fault(command.finger_target, command.finger_force)
        if not finger_fault:
            self._finger_target, self._finger_force = command.finger_target, command.finger_force
        fault = plan_fault or self._start_fault(command.points[0], measurement.joint_positions) or finger_fault
        if not fault:
            return command
        self.refusals += 1
        self.last_refusal = fault
        return self._hold(measurement)

    def plan_fault(self, points: Array, velocities: Array, start: Array, target: Array | None = None) -> str:
        """What is wrong with a plan in one sentence, or "" when it is allowed.

        points, velocities: [m, n], rad and rad/s, one row per control period, from the joint positions `start` [n].
        target: where the tool should be at the end [3], m, base frame; None where that does not matter.
        """
        names, profile = self.profile.joint_names, self.profile
        if points.ndim != 2 or points.shape[1] != len(names) or len(points) == 0 or velocities.shape != points.shape:
            return f"points {points.shape} and velocities {velocities.shape} are not one row of {len(names)} per period"
        if not (np.isfinite(points).all() and np.isfinite(velocities).all()):
            return "the motion holds a number that is not finite"
        outside = (points < self._lower) | (points > self._upper)
        if outside.any():
            k, j = (int(i) for i in np.argwhere(outside)[0])
            limits = f"{profile.lower[j]:.3f} and {profile.upper[j]:.3f}"
            return f"joint {names[j]} would go to {points[k, j]:.3f} rad; its limits are {limits}"
        steps = np.abs(np.diff(points, axis=0, prepend=points[:1]))
        speeds = np.maximum(np.abs(velocities), steps / profile.control_period)
        fast = speeds > profile.velocity * (1 + 1e-9)
        if fast.any():
            k, j = (int(i) for i in np.argwhere(fast)[0])
            return f"joint {names[j]} would move at {speeds[k, j]:.2f} rad/s; its limit is {profile.velocity[j]:.2f}"
        if velocities[-1].any():
            return "the motion does not end at rest"
        return self._tool_fault(points, start, target)

    def _tool_fault(self, points: Array, start: Array, target: Array | None) -> str:
        lower, upper = self.profile.workspace_lower, self.profile.workspace_upper
        positions = self.profile.chain.positions(np.concatenate([start[None], points]))
        beyond = np.maximum(lower - positions, positions - upper).max(axis=1)
        # An arm that stands outside the box may come back in, but not get farther out.
        allowed = max(BOX_TOLERANCE, float(beyond[0]) + 1e-4)
        worst = int(np.argmax(beyond))
        if beyond[worst] > allowed:
            outside = f"{beyond[worst] * 1000:.0f} mm outside the workspace"
            return f"the tool would go to {_place(positions[worst])}, {outside}"
        if target is not None:
            short = float(np.linalg.norm(positions[-1] - target))
            if short > REACH_TOLERANCE:
                return f"the arm cannot bring the tool to {_place(target)}; {short * 1000:.0f} mm would be left"
        return ""

    def _start_fault(self, first: Array, measured: Array) -> str:
        steps = np.abs(first - measured)
        if (steps <= LAG * self._step).all():
            return ""
        j = int(np.argmax(steps / self._step))
        return (
            f"joint {self.profile.joint_names[j]} is {steps[j]:.3f} rad away from where the motion goes on; "
            f"at most {LAG * self._step[j]:.3f} are allowed"
        )

    def _finger_fault(self, target: float, force: float) -> str:
        if not (math.isfinite(target) and math.isfinite(force)):
            return "the finger command is not finite"
        if not 0.0 <= target <= self.profile.max_width:
            return f"the fingers would open to {target:.3f} m; allowed are 0 to {self.profile.max_width:.3f}"
        if not 0.0 <= force <= self.profile.max_force:
            return f"the fingers would press with {force:.1f} N; allowed are 0 to {self.profile.max_force:.1f}"
        return ""

    def _hold(self, measurement: Measurement) -> Command:
        profile = self.profile
        target = measurement.finger_width if self._finger_target is None else self._finger_target
        points = np.clip(measurement.joint_positions, profile.lower, profile.upper)[None]
        return Command(points, np.zeros_like(points), min(max(target, 0.0), profile.max_width), self._finger_force)


def _place(position: Array) -> str:
    return "({:.3f}, {:.3f}, {:.3f}) m".format(*position)
