"""Turn tool motions into joint trajectories that start at the measured position and end at rest."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.kinematics import tool_down
from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Array

RAMP_PERIODS = 3
"""Control periods over which the tool speeds up and slows down."""


def straight_line(
    profile: RobotProfile, start_joints: Array, target: Array, yaw: float, speed: float
) -> tuple[Array, Array]:
    """Joint points [m, n] (rad) and velocities [m, n] (rad/s) that move the tool on a line to `target` [3] (m).

    The tool keeps pointing down and turns to heading `yaw` (rad) on the way. One point per control period, trapezoidal
    speed profile with peak `speed` (m/s), slowed down as a whole until no joint exceeds its speed limit. The last
    velocity is zero. The target is clipped to the workspace box.
    """
    position, turn = profile.chain.forward(start_joints)
    start_yaw = float(np.arctan2(turn[1, 0], turn[0, 0]))
    # The gripper is symmetric: turn the wrist by at most a quarter turn.
    yaw_change = float((yaw - start_yaw + np.pi / 2) % np.pi - np.pi / 2)
    target = np.clip(target, profile.workspace_lower, profile.workspace_upper)
    distance = float(np.linalg.norm(target - position))
    periods = max(2, int(np.ceil(distance / (speed * profile.control_period))) + RAMP_PERIODS)
    while True:
        points = np.empty((periods, len(start_joints)))
        joints = start_joints
        for k, fraction in enumerate(_progress(periods)):
            orientation = tool_down(start_yaw + fraction * yaw_change)
            joints, _ = profile.chain.inverse(
                position + fraction * (target - position), orientation, joints, iterations=4
            )
            points[k] = joints
        steps = np.abs(np.diff(points, axis=0, prepend=start_joints[None])) / profile.control_period
        excess = float((steps / profile.velocity).max())
        # Near a singularity a slower tool may still need a fast joint: the safety filter then has the last word.
        if excess <= 0.95 or periods > 200:
            break
        periods = int(np.ceil(periods * max(1.1, min(excess, 3.0))))
    velocities = np.zeros_like(points)
    velocities[:-1] = (points[1:] - np.concatenate([start_joints[None], points[:-2]])) / (2 * profile.control_period)
    return points, velocities


def _progress(periods: int) -> Array:
    """Fraction of the way done after each control period [periods]: ramps at both ends, constant speed between."""
    k = np.arange(1, periods + 1, dtype=np.float64)
    ramp = min(RAMP_PERIODS, periods / 2)
    speed = 1.0 / (periods - ramp)
    up = 0.5 * speed * k * k / ramp
    middle = speed * (k - ramp / 2)
    down = 1.0 - 0.5 * speed * (periods - k) ** 2 / ramp
    return np.where(k < ramp, up, np.where(k <= periods - ramp, middle, down))
