"""Joint motions that end at rest: a line of the tool, a stop, and a way back from a moving state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mql_ros.grasping.motion.kinematics import rotation_vector, small_rotation, tool_down
from mql_ros.grasping.motion.spline import extent, largest, motion_through, quintic, stretched
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import ArmState, Array, Motion

RAMP_PERIODS = 3
"""Least number of control periods over which the tool speeds up and slows down."""
LONGEST = 200
"""Longest motion at the arm's own limits, control periods; proportionally more if it is slowed. Near a singularity a
slower motion does not help, and the safety filter decides."""
ROUNDING = 1e-6
MARGIN = 0.95
"""Fraction of a joint's limits used for planning: a controller's clock is not quite that of the plan."""


def straight_line(profile: RobotProfile, start_joints: Array, target: Array, yaw: float, speed: float) -> Motion:
    """Return a motion of the tool on a line from rest at `start_joints` [n] (rad) to rest at `target` [3] (m).

    The tool points down and turns to heading `yaw` (rad) on the way; a tilt that contact has caused is undone as well.
    The speed profile is a trapezoid with peak `speed` (m/s). It is slowed down until no joint exceeds its speed limit,
    and gets longer ramps until none exceeds those of acceleration and jerk. The target is clipped to the workspace box.
    If the arm is slowed to less than half of its limits, the whole motion is stretched in time.
    """
    if (times := int(1.0 / profile.scale + ROUNDING)) > 1:
        quick = straight_line(profile.paced(times), start_joints, target, yaw, speed)
        return stretched(quick, times, profile.control_period)
    position, turn = profile.chain.forward(start_joints)
    start_yaw = float(np.arctan2(turn[1, 0], turn[0, 0]))
    tilt = rotation_vector(tool_down(start_yaw).T @ turn)
    # The gripper is symmetric: turn the wrist by at most a quarter turn.
    yaw_change = float((yaw - start_yaw + np.pi / 2) % np.pi - np.pi / 2)
    target = np.clip(target, profile.workspace_lower, profile.workspace_upper)
    distance = float(np.linalg.norm(target - position))
    # Between the joints at both ends the way is nearly right; all points are then corrected at once.
    end, _ = profile.chain.inverse(target, tool_down(start_yaw + yaw_change), start_joints, iterations=20)
    ramp = RAMP_PERIODS
    periods = max(2, int(np.ceil(distance / (speed * profile.control_period))) + ramp)
    while True:
        share = _progress(periods, ramp)
        way = share[:, None]
        orientations = tool_down(start_yaw + share * yaw_change) @ small_rotation((1.0 - way) * tilt)
        guess = start_joints + way * (end - start_joints)
        points, _ = profile.chain.inverse(position + way * (target - position), orientations, guess, iterations=4)
        motion = motion_through(start_joints, points, profile.control_period)
        fast, abrupt = excess(profile, motion)
        if max(fast, abrupt) <= MARGIN or periods > LONGEST / profile.scale:
            return motion
        longer = ramp if abrupt <= MARGIN else max(ramp + 1, int(np.ceil(ramp * min(abrupt / MARGIN, 3.0))))
        if fast > MARGIN:
            periods = int(np.ceil(periods * max(1.1, min(fast, 3.0))))
        periods, ramp = periods + longer - ramp, longer


def stop(profile: RobotProfile, state: ArmState) -> Motion:
    """Return the earliest stop from a moving state that the limits of acceleration and jerk allow.

    A speed above the arm's limit is taken as that limit; the stop never exceeds its initial speed. A joint that cannot
    stop before the end of its range is commanded to stay where it is.
    """
    state = replace(state, velocities=np.clip(state.velocities, -profile.velocity, profile.velocity))
    motion = _earliest(profile, state, lambda duration: state.positions + 0.5 * duration * state.velocities, np.inf)
    lowest, highest = extent(motion, profile.control_period)
    stuck = (lowest < profile.lower) | (highest > profile.upper)
    if not (stuck & (state.velocities != 0.0)).any():
        return motion
    return stop(profile, replace(state, velocities=np.where(stuck, 0.0, state.velocities)))


def turn_back(profile: RobotProfile, state: ArmState, end: Array) -> Motion:
    """Return the earliest motion from a moving state to rest at joint positions `end` [n] (rad) within the limits."""
    return _earliest(profile, state, lambda duration: end)


def excess(profile: RobotProfile, motion: Motion) -> tuple[float, float]:
    """Return the factors by which a motion exceeds the speed limits and by which its ramps are too short."""
    speed, acceleration, jerk = largest(motion, profile.control_period)
    abrupt = max((acceleration / profile.acceleration).max() ** (1 / 2), (jerk / profile.jerk).max() ** (1 / 3))
    return float((speed / profile.velocity).max()), float(abrupt)


def _earliest(
    profile: RobotProfile, state: ArmState, end: Callable[[float], Array], fastest: float = 1.0 + ROUNDING
) -> Motion:
    """Return the shortest quintic to rest at `end(duration in s)` within the limits, that of speed times `fastest`."""
    periods = 1
    while True:
        target = np.clip(end(periods * profile.control_period), profile.lower, profile.upper)
        motion = quintic(state, target, periods, profile.control_period)
        fast, abrupt = excess(profile, motion)
        if (fast <= fastest and abrupt <= 1.0 + ROUNDING) or periods > LONGEST / profile.scale:
            return motion
        periods += 1


def _progress(periods: int, ramp_periods: int) -> Array:
    """Return the fraction of the way done after each control period [periods]; ramps at both ends."""
    k = np.arange(1, periods + 1, dtype=np.float64)
    ramp = min(ramp_periods, periods / 2)
    speed = 1.0 / (periods - ramp)
    up = 0.5 * speed * k * k / ramp
    middle = speed * (k - ramp / 2)
    down = 1.0 - 0.5 * speed * (periods - k) ** 2 / ramp
    return np.where(k < ramp, up, np.where(k <= periods - ramp, middle, down))
