"""Checks of a driver with small motions: the motions to command, and verdicts from their recordings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mql_ros.grasping.driver_check.checks import STILL, WIDTH_SHARE, JointRecord, Verdict, milliseconds
from mql_ros.grasping.motion.joint_motion import MARGIN, excess
from mql_ros.grasping.motion.spline import quintic
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import LAG
from mql_ros.grasping.types import ArmState, Array, Motion

LEAST_SCALE = 0.25
"""Least `limit_scale`: a driver whose latency needs a lower one fails."""
NUDGE = 0.05
"""Amplitude of a nudge, rad."""
NUDGE_SHARE = 0.3
"""Largest error of a nudge, and largest motion of the other joints, as a fraction of the nudge."""
VELOCITY_SHARE = 0.5
"""Largest error of integrated velocities as a fraction of the motion: drivers filter them, a wrong unit is far off."""
STOP_SECONDS, STOP_SLACK = 0.3, 0.01
"""Largest motion during a hold: that of some seconds at the speed of that moment, and a margin, rad."""


@dataclass(frozen=True)
class NudgeRecord:
    """Recording of one joint that moves out and back, alone."""

    joint: int
    amplitude: float
    """Signed, rad."""
    planned: Array
    """Planned positions of that joint relative to the start, one per control period [k], rad."""
    sent: float
    """Time at which the command was published, s."""
    joints: JointRecord


def plan_nudge(profile: RobotProfile, start: Array, joint: int, amplitude: float, seconds: float) -> Motion:
    """Return a motion of one joint by `amplitude` (rad) from rest at `start` [n] (rad), in `seconds` or more.

    A minimum-jerk polynomial, slow enough to need at most half of the limits.
    """
    end = start.copy()
    end[joint] += amplitude
    periods = max(2, round(seconds / profile.control_period))
    while True:
        motion = quintic(ArmState.at_rest(start), end, periods, profile.control_period)
        if max(excess(profile, motion)) <= 0.5 * MARGIN:
            return motion
        periods += 1


def check_nudges(profile: RobotProfile, nudges: Sequence[NudgeRecord]) -> Verdict:
    """Check that each joint moves as far as commanded and back, and that no other moves with it."""
    found, missed, carried = [], 0.0, 0.0
    for nudge in nudges:
        name = profile.joint_names[nudge.joint]
        ways = np.abs(nudge.joints.positions - nudge.joints.positions[0]).max(axis=0)
        moved = ways[nudge.joint]
        others = np.delete(ways, nudge.joint)
        back = abs(float(nudge.joints.positions[-1, nudge.joint] - nudge.joints.positions[0, nudge.joint]))
        allowed = NUDGE_SHARE * abs(nudge.amplitude)
        missed = max(missed, abs(moved - abs(nudge.amplitude)), back)
        carried = max(carried, float(others.max(initial=0.0)))
        if abs(moved - abs(nudge.amplitude)) > allowed:
            found.append(f"{name} was asked to move by {abs(nudge.amplitude):.3f} rad and moved by {moved:.3f}")
        elif back > allowed:
            found.append(f"{name} did not come back: {back:.3f} rad are left")
        if others.max(initial=0.0) > allowed:
            other = [n for k, n in enumerate(profile.joint_names) if k != nudge.joint][int(np.argmax(others))]
            found.append(f"{other} moved by {others.max():.3f} rad when {name} was asked to")
    figures = {"joints": len(nudges), "missed_by": round(float(missed), 4), "others": round(carried, 4)}
    limits = {"missed_by": NUDGE_SHARE * NUDGE, "others": NUDGE_SHARE * NUDGE}
    text = f"{len(nudges)} joints moved by {NUDGE} rad and back, within {missed:.4f}; others by at most {carried:.4f}"
    return Verdict("nudge", not found, "; ".join(found) or text, figures, limits)


def check_motion_velocities(profile: RobotProfile, nudges: Sequence[NudgeRecord]) -> Verdict:
    """Check that the integrated velocities equal the change of the positions."""
    check, worst, joint = "velocities", 0.0, nudges[0].joint
    if not all(nudge.joints.has_velocities for nudge in nudges):
        return Verdict(check, True, "none are reported; they are estimated from positions")
    for nudge in nudges:
        record, k = nudge.joints, nudge.joint
        mean = (record.velocities[1:, k] + record.velocities[:-1, k]) / 2
        added = np.concatenate([[0.0], np.cumsum(mean * np.diff(record.stamps))])
        error = float(np.abs(added - (record.positions[:, k] - record.positions[0, k])).max() / abs(nudge.amplitude))
        if error > worst:
            worst, joint = error, k
    text = f"added up over time they miss the positions by {worst:.0%} of the way (at most {VELOCITY_SHARE:.0%})"
    if worst > VELOCITY_SHARE:
        text = (
            f"those of {profile.joint_names[joint]} do not fit its positions: added up over time they miss them by "
            f"{worst:.0%} of the way"
        )
    return Verdict(check, worst <= VELOCITY_SHARE, text, {"error": round(worst, 3)}, {"error": VELOCITY_SHARE})


def check_latency(profile: RobotProfile, nudges: Sequence[NudgeRecord]) -> Verdict:
    """Return the time by which the reported first motion of a joint lags behind the planned one.

    The safety filter checks that the next point of a plan lies within LAG control periods at full speed of the measured
    position. The plan is one period ahead of that, and the arm behind by the latency: `limit_scale` must be so
    low that it goes no farther in that time.
    """
    period = profile.control_period
    limit = period * (LAG / (MARGIN * LEAST_SCALE) - 1)
    lags = [lag for nudge in nudges if (lag := _lag(profile, nudge)) is not None]
    if not lags:
        return Verdict("latency", False, "no joint moved", {}, {"median": round(limit, 4)})
    median, longest = float(np.median(lags)), max(lags)
    scale = min(1.0, LAG / (MARGIN * (1 + max(median, 0.0) / period)))
    scale = math.floor(100 * scale) / 100
    text = (
        f"{milliseconds(median)} from a command to first motion (median, at most {milliseconds(limit)}), for which "
        f"limit_scale may be at most {scale:.2f}; "
        f"longest {milliseconds(longest)}{'; below 0 it reports the end of a period at its beginning' * (median < 0)}"
    )
    figures = {"median": round(median, 4), "longest": round(longest, 4), "limit_scale": scale}
    return Verdict("latency", median <= limit, text, figures, {"median": round(limit, 4)})


def _lag(profile: RobotProfile, nudge: NudgeRecord) -> float | None:
    """Return the time from a fifth of the planned motion to a fifth of the measured one, s; None if not reached."""
    sign, level = float(np.sign(nudge.amplitude)), 0.2 * abs(nudge.amplitude)
    way = sign * (nudge.joints.positions[:, nudge.joint] - nudge.joints.positions[0, nudge.joint])
    planned = np.arange(len(nudge.planned), dtype=np.float64) * profile.control_period
    measured = _crossing(nudge.joints.arrivals, way, level)
    wanted = _crossing(planned, sign * nudge.planned, level)
    return None if measured is None or wanted is None else measured - nudge.sent - wanted


def _crossing(times: Array, values: Array, level: float) -> float | None:
    above = np.flatnonzero(values >= level)
    if len(above) == 0 or above[0] == 0:
        return None
    k = int(above[0])
    share = (level - values[k - 1]) / (values[k] - values[k - 1])
    return float(times[k - 1] + share * (times[k] - times[k - 1]))


def check_silence(profile: RobotProfile, record: JointRecord) -> Verdict:
    """Check that the arm stays where it is after its trajectory, without further commands."""
    ways = np.abs(record.positions - record.positions[0]).max(axis=0)
    seconds, drift = float(np.ptp(record.arrivals)), float(ways.max())
    figures, limits = {"drift": round(drift, 4), "seconds": round(seconds, 2)}, {"drift": STILL}
    if drift <= STILL:
        text = f"within {drift:.4f} rad during {seconds:.1f} s without a command (at most {STILL})"
        return Verdict("silence means hold", True, text, figures, limits)
    joint = profile.joint_names[int(np.argmax(ways))]
    text = f"{joint} went on by {drift:.3f} rad in {seconds:.1f} s after its trajectory had ended at rest"
    return Verdict("silence means hold", False, text, figures, limits)


def stopping_way(speed: float) -> float:
    """Return how far an arm may move after a hold at `speed` (rad/s), rad."""
    return STOP_SECONDS * speed + STOP_SLACK


def check_stop(joint: int, speed: float, record: JointRecord) -> Verdict:
    """Check how far an arm moves after a hold: the record starts with the hold, `speed` (rad/s) is the planned one."""
    way = float(np.abs(record.positions[:, joint] - record.positions[0, joint]).max())
    limit = stopping_way(speed)
    text = f"{way:.3f} rad after a hold at {speed:.2f} rad/s (at most {limit:.3f})"
    return Verdict("stopping distance", way <= limit, text, {"way": round(way, 4)}, {"way": round(limit, 4)})


def check_gripper(profile: RobotProfile, asked: Sequence[float], reached: Sequence[float]) -> Verdict:
    """Check that the fingers go to each commanded opening, m, and report it."""
    misses = [abs(a - b) for a, b in zip(asked, reached, strict=True)]
    limit = WIDTH_SHARE * profile.max_width
    ways = ", ".join(f"{b:.3f} m where {a:.3f} was asked for" for a, b in zip(asked, reached, strict=True))
    figures = {"asked": [round(a, 4) for a in asked], "reported": [round(b, 4) for b in reached]}
    return Verdict("gripper", max(misses) <= limit, ways, figures, {"missed_by": round(limit, 4)})
