"""Measurements and drivers made up for the tests of the grasping room: no simulator needed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.interpolate import BPoly

from mql_ros.grasping.perception.height_map import CELL, CELLS, HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import ArmState, Array, Command, Measurement, Motion


def block(x: float = 0.5, y: float = 0.0, height: float = 0.1, half: float = 0.02) -> HeightMap:
    """What a camera sees of an upright block with a square base about a place, m, base frame."""
    cells = round(half / CELL)
    heights = np.zeros((CELLS, CELLS), np.float32)
    heights[CELLS // 2 - cells : CELLS // 2 + cells, CELLS // 2 - cells : CELLS // 2 + cells] = height
    return HeightMap(heights, np.array([x, y]), 0.0, 0)


def measured(joints: Array, **changes: object) -> Measurement:
    """An arm at rest at `joints` with open fingers."""
    values: dict = {
        "stamp": 0.0,
        "joint_positions": np.array(joints, dtype=float),
        "joint_velocities": np.zeros(len(joints)),
        "finger_width": 0.08,
        "finger_effort": 0.0,
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


def broken_limits(  # noqa: C901
    profile: RobotProfile,
    command: Command,
    measurement: Measurement,
    samples: int = 8,
    limits: RobotProfile | None = None,
    running: ArmState | None = None,
) -> list[str]:
    """Every limit that a command breaks anywhere on its spline; written apart from the safety filter, by sampling.

    limits: the profile as it is tightened, for motions that do not give up another. running: where the motion sent
    before has brought the arm by now; the command must begin there or at the measurement, where it is given.
    """
    motion, found = command.motion, []
    limits = limits or profile
    numbers = (motion.points, motion.velocities, motion.accelerations, command.finger_target, command.finger_force)
    if not all(np.isfinite(v).all() for v in numbers):
        return ["finite numbers"]
    spline = spline_of(motion, profile.control_period)
    times = np.linspace(0.0, spline.x[-1], samples * len(motion.points) + 1)
    positions, start = spline(times), motion.start
    # Where the arm was put outside its limits it may come back.
    lower, upper = (
        f(limit, start.positions) for f, limit in ((np.minimum, profile.lower), (np.maximum, profile.upper))
    )
    if ((positions < lower - 1e-5) | (positions > upper + 1e-5)).any():
        found.append("joint limits")
    braking = bool(start.velocities.any())
    rates = np.maximum(limits.velocity, np.abs(start.velocities)), (profile if braking else limits).acceleration
    for order, what, limit in zip((1, 2, 3), ("velocity", "acceleration", "jerk"), (*rates, None), strict=True):
        bound = (profile if braking else limits).jerk if limit is None else limit
        if (np.abs(spline.derivative(order)(times)) > bound * (1 + 1e-5)).any():
            found.append(f"joint {what}")
    if (np.abs(motion.points[0] - measurement.joint_positions) > 1.5 * profile.velocity * profile.control_period).any():
        found.append("step from the measured position")
    here = replace(ArmState.at_rest(measurement.joint_positions), velocities=measurement.joint_velocities)
    if running is not None and not any(_goes_on(profile, start, arm) for arm in (here, running)):
        found.append("continuity")
    if motion.velocities[-1].any() or motion.accelerations[-1].any():
        found.append("rest at the end")
    if not 0.0 <= command.finger_target <= profile.max_width or not 0.0 <= command.finger_force <= limits.max_force:
        found.append("fingers")
    if box_room(profile, positions[:1]) > -0.001 and box_room(profile, positions) < -0.0025:
        found.append("workspace")
    if link_room(profile, positions[:1]) > 0.001 and link_room(profile, positions[::2]) < -0.0005:
        found.append("clearance")
    return found


def _goes_on(profile: RobotProfile, start: ArmState, arm: ArmState) -> bool:
    """Whether a motion that begins so goes on from what the arm does."""
    if not np.allclose(start.positions, arm.positions, atol=1e-9):
        return False
    speeds = np.clip(arm.velocities, -profile.velocity, profile.velocity)
    # A joint that cannot stop before the end of its range must stay.
    slow = (np.abs(speeds) <= 0.05) | (np.minimum(arm.positions - profile.lower, profile.upper - arm.positions) < 0.7)
    as_fast = np.isclose(start.velocities, speeds, atol=1e-6)
    return bool((as_fast | (slow & (start.velocities == 0.0))).all())


def box_room(profile: RobotProfile, positions: Array) -> float:
    """How far inside its box the tool is, where that is least, at joint positions [m, n], m; below 0 outside."""
    tools = profile.chain.positions(positions)
    return float(min((tools - profile.workspace_lower).min(), (profile.workspace_upper - tools).min()))


def link_room(profile: RobotProfile, positions: Array) -> float:
    """How far more than they must the links are from the table and from each other, where that is least, m."""
    room, places = profile.clearance, profile.chain.joint_positions(positions)
    least = float(places[:, 3:-1, 2].min()) - room.link_radius - room.table
    lengths = np.linalg.norm(np.diff(places[0], axis=0), axis=1)
    share = np.linspace(0.0, 1.0, 6)[:, None]
    links = [p[:, None] + share * (q - p)[:, None] for p, q in itertools.pairwise(places.swapaxes(0, 1))]
    apart = 2 * room.link_radius + room.between_links
    for i, j in itertools.combinations(np.flatnonzero(lengths > 1e-3), 2):
        if lengths[i + 1 : j].sum() > apart:
            gaps = np.linalg.norm(links[i][:, :, None] - links[j][:, None, :], axis=-1)
            least = min(least, float(gaps.min()) - apart)
    return least
