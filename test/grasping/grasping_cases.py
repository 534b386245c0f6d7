"""Measurements and drivers made up for the tests of the grasping room: no simulator needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.interpolate import BPoly

from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.trial import TrialMachine
from mql_ros.grasping.types import Array, Command, Measurement, Motion

UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


def turned(yaw: float) -> Array:
    """Quaternion of a turn about z."""
    return np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])


def measured(joints: Array, **changes: object) -> Measurement:
    """An arm at rest at `joints` with open fingers, and an object in front of it."""
    values: dict = {
        "stamp": 0.0,
        "joint_positions": np.array(joints, dtype=float),
        "joint_velocities": np.zeros(len(joints)),
        "finger_width": 0.08,
        "finger_effort": 0.0,
        "object_position": np.array([0.5, 0.0, 0.0]),
        "object_orientation": UPRIGHT,
        "contact_force": np.zeros(3),
        "contact_torque": np.zeros(3),
    }
    return Measurement(**{**values, **changes})


def carry_out(
    machine: TrialMachine,
    action: Array,
    start: Measurement,
    feel: Callable[[int, Array], dict[str, object]] = lambda period, joints: {},
    follow: float = 1.0,
) -> tuple[list[tuple[Measurement, Command]], Measurement]:
    """One decision on an arm that covers `follow` of the way to each point: commands with what was measured before.

    `feel(period, joints)` changes what is measured after each control period.
    """
    machine.decide(action, start)
    done, measurement = [], start
    while (command := machine.command(measurement)) is not None:
        done.append((measurement, command))
        joints = measurement.joint_positions + follow * (command.motion.points[0] - measurement.joint_positions)
        kept = {
            "joint_velocities": (joints - measurement.joint_positions) / machine.profile.control_period,
            "object_position": measurement.object_position,
            "object_orientation": measurement.object_orientation,
            "finger_width": command.finger_target,
        }
        stamp = measurement.stamp + machine.profile.control_period
        measurement = measured(joints, **{"stamp": stamp, **kept, **feel(len(done), joints)})
        assert len(done) < 2000, "a decision ends"
    return done, measurement


def spline_of(motion: Motion, period: float) -> BPoly:
    """The quintic spline that a joint_trajectory_controller follows, by scipy."""
    times = np.arange(len(motion.points) + 1) * period
    parts = ("positions", "points"), ("velocities", "velocities"), ("accelerations", "accelerations")
    rows = [np.concatenate([getattr(motion.start, a)[None], getattr(motion, b)]) for a, b in parts]
    return BPoly.from_derivatives(times, np.stack(rows, axis=1))


def broken_limits(profile: RobotProfile, command: Command, measurement: Measurement, samples: int = 8) -> list[str]:
    """Every limit that a command breaks anywhere on its spline; written apart from the safety filter, by sampling."""
    motion, found = command.motion, []
    numbers = (motion.points, motion.velocities, motion.accelerations, command.finger_target, command.finger_force)
    if not all(np.isfinite(v).all() for v in numbers):
        return ["finite numbers"]
    spline = spline_of(motion, profile.control_period)
    times = np.linspace(0.0, spline.x[-1], samples * len(motion.points) + 1)
    positions = spline(times)
    # Where the arm was put outside its limits it may come back.
    lower, upper = (
        f(limit, motion.start.positions) for f, limit in ((np.minimum, profile.lower), (np.maximum, profile.upper))
    )
    if ((positions < lower - 1e-5) | (positions > upper + 1e-5)).any():
        found.append("joint limits")
    for order, what in ((1, "velocity"), (2, "acceleration"), (3, "jerk")):
        if (np.abs(spline.derivative(order)(times)) > getattr(profile, what) * (1 + 1e-5)).any():
            found.append(f"joint {what}")
    if (np.abs(motion.points[0] - measurement.joint_positions) > 1.5 * profile.velocity * profile.control_period).any():
        found.append("step from the measured position")
    if motion.velocities[-1].any() or motion.accelerations[-1].any():
        found.append("rest at the end")
    if not 0.0 <= command.finger_target <= profile.max_width or not 0.0 <= command.finger_force <= profile.max_force:
        found.append("fingers")
    inside, *tools = (profile.chain.forward(joints)[0] for joints in [measurement.joint_positions, *motion.points])
    if _in_box(profile, inside, 0.001) and not all(_in_box(profile, tool, 0.0025) for tool in tools):
        found.append("workspace")
    return found


def _in_box(profile: RobotProfile, tool: Array, room: float) -> bool:
    return bool((tool >= profile.workspace_lower - room).all() and (tool <= profile.workspace_upper + room).all())
