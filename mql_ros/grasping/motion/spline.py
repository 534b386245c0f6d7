"""Quintic splines through joint points: what a joint_trajectory_controller makes of points with accelerations.

A segment in Bernstein form lies within the convex hull of its control values, and so do its derivatives. The largest
control value therefore bounds speed, acceleration and jerk everywhere between two points, not only at samples.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.types import ArmState, Array, Motion

WHOLE = 1e-6
"""A time this near to a point's, in periods, gives that point itself, bit for bit."""


def motion_through(start: Array, points: Array, period: float) -> Motion:
    """Return the motion from rest at `start` [n] to rest at the last of `points` [m, n], rad, one per `period`, s.

    Velocities and accelerations are central differences.
    """
    padded = np.concatenate([start[None], points, points[-1:]])
    velocities = (padded[2:] - padded[:-2]) / (2 * period)
    accelerations = (padded[2:] - 2 * padded[1:-1] + padded[:-2]) / period**2
    velocities[-1] = accelerations[-1] = 0.0
    return Motion(ArmState.at_rest(start), points, velocities, accelerations)


def quintic(start: ArmState, end: Array, periods: int, period: float) -> Motion:
    """Return one quintic from a moving state to rest at `end` [n], as `periods` points."""
    duration = periods * period
    values = _control_values(Motion(start, end[None], 0 * end[None], 0 * end[None]), duration)[:, 0]
    speeds, rises = np.diff(values, axis=0) * 5 / duration, np.diff(values, n=2, axis=0) * 20 / duration**2
    at = np.arange(1, periods + 1) / periods
    return Motion(start, _bernstein(values, at), _bernstein(speeds, at), _bernstein(rises, at))


def stretched(motion: Motion, times: int, period: float) -> Motion:
    """Return the same spline, passed `times` as slowly; exact, because each segment is divided evenly."""
    values = _control_values(motion, period)
    degree, segments, joints = values.shape
    at = np.arange(1, times + 1) / times

    def rows(order: int, scale: float) -> Array:
        flat = np.diff(values, n=order, axis=0).reshape(degree - order, -1) * scale / times**order
        return _bernstein(flat, at).reshape(times, segments, joints).swapaxes(0, 1).reshape(-1, joints)

    start = ArmState(motion.start.positions, motion.start.velocities / times, motion.start.accelerations / times**2)
    return Motion(start, rows(0, 1.0), rows(1, 5 / period), rows(2, 20 / period**2))


def state_at(motion: Motion, seconds: float, period: float) -> ArmState:
    """Return the state of a motion `seconds` after its start; its start before that, at rest at its end afterwards."""
    periods = min(max(seconds / period, 0.0), float(len(motion.points)))
    if abs(periods - round(periods)) < WHOLE:
        return motion.state(round(periods))
    k = int(periods)
    begin, end = motion.state(k), motion.state(k + 1)
    rows = end.positions[None], end.velocities[None], end.accelerations[None]
    values = _control_values(Motion(begin, *rows), period)[:, 0]
    speeds, rises = np.diff(values, axis=0) * 5 / period, np.diff(values, n=2, axis=0) * 20 / period**2
    at = np.array([periods - k])
    return ArmState(_bernstein(values, at)[0], _bernstein(speeds, at)[0], _bernstein(rises, at)[0])


def between(motion: Motion, segments: NDArray[np.intp], shares: Array, period: float) -> tuple[Array, Array]:
    """Return positions and velocities [k, n] within segments [k] of the spline, at shares [k] in [0, 1] of each."""
    values = _control_values(motion, period)[:, segments]
    return _bernstein(values, shares), _bernstein(np.diff(values, axis=0) * 5 / period, shares)


def steepest(motion: Motion, period: float) -> Array:
    """Return bounds on the acceleration of each joint in each of the m segments [m, n], rad/s^2."""
    return np.asarray(np.abs(np.diff(_control_values(motion, period), n=2, axis=0)).max(axis=0) * 20 / period**2)


def largest(motion: Motion, period: float) -> tuple[Array, Array, Array]:
    """Return bounds [n] on speed (rad/s), acceleration (rad/s^2) and jerk (rad/s^3) over the whole spline."""
    values, bounds = _control_values(motion, period), []
    for scale in (5 / period, 20 / period**2, 60 / period**3):
        values = values[1:] - values[:-1]
        bounds.append(np.abs(values).max(axis=(0, 1)) * scale)
    return bounds[0], bounds[1], bounds[2]


def extent(motion: Motion, period: float) -> tuple[Array, Array]:
    """Return lower and upper bounds [n] on each joint's position over the whole spline, rad."""
    values = _control_values(motion, period)
    return values.min(axis=(0, 1)), values.max(axis=(0, 1))


def _control_values(motion: Motion, period: float) -> Array:
    """Return the Bernstein control values [6, m, n] of the m segments."""
    start = motion.start
    p = np.concatenate([start.positions[None], motion.points])
    v = np.concatenate([start.velocities[None], motion.velocities]) * (period / 5)
    a = np.concatenate([start.accelerations[None], motion.accelerations]) * (period**2 / 20)
    p0, v0, a0, p1, v1, a1 = p[:-1], v[:-1], a[:-1], p[1:], v[1:], a[1:]
    return np.stack([p0, p0 + v0, p0 + 2 * v0 + a0, p1 - 2 * v1 + a1, p1 - v1, p1])


def _bernstein(values: Array, at: Array) -> Array:
    """Return polynomials at `at` [m] in [0, 1], by de Casteljau's algorithm [m, n].

    values: control values [d + 1, n], or [d + 1, m, n] for polynomials that differ between moments.
    """
    rows = list(values)
    share = at[:, None]
    while len(rows) > 1:
        rows = [(1 - share) * first + share * second for first, second in pairwise(rows)]
    return rows[0]
