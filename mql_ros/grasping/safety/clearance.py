"""Clearance of the arm from the table, from itself and from the walls of the tool's workspace box, along a spline.

Positions are computed at a few moments. Between two of them a point moves at most by the joints' rotation times its
largest distance from their axes. More moments are computed if that bound leaves a doubt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.motion.kinematics import Chain
from mql_ros.grasping.motion.spline import between, steepest
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Motion

Indices = NDArray[np.intp]

BOX_TOLERANCE = 0.002
"""How far outside the workspace box the tool may be, m: an arm at its border sags and overshoots a little."""
_LEAST_LENGTH = 1e-3
"""Joints nearer to each other have no link between them, m."""
_ROUNDING = 1e-4
"""Rounding error of inverse kinematics and of the bounds, m."""
_SPLITS = 8
"""Number of parts into which a doubtful interval is divided."""
_FINEST = 1 / _SPLITS**3
"""Shortest interval, control periods. A doubt left here, of tenths of a millimetre, counts as a fault."""


class ArmClearance:
    """Checks the clearance of the links and the tool of one robot."""

    def __init__(self, profile: RobotProfile) -> None:
        self._profile = profile
        self._chain: Chain = profile.chain
        room, n = profile.clearance, len(profile.joint_names)
        self._apart = 2 * room.link_radius + room.between_links
        self._above = room.link_radius + room.table
        places = self._chain.joint_positions(profile.home_guess[None])[0]
        lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
        links = np.flatnonzero(lengths > _LEAST_LENGTH)
        # Links whose ends are joined by less than that distance are always nearer: their joints keep them apart.
        pairs = [(i, j) for i in links for j in links if i < j and lengths[i + 1 : j].sum() > self._apart]
        self._pairs: Indices = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        along = np.concatenate([[0.0], np.cumsum(lengths)])
        # Joint l turns about an axis through place l + 1; link j, between places j and j + 1, follows joints below j.
        reach = np.maximum(along[None, :] - along[1 : n + 1, None], 0.0)
        between_links = [np.where((np.arange(n) >= i) & (np.arange(n) < j), reach[:, j + 1], 0.0) for i, j in pairs]
        self._reach = np.array([reach[:, n + 1], reach[:, n], *between_links])
        """Largest distance that tool, wrist and pairs of links move when a joint turns [checks, n], m/rad."""

    def fault(self, motion: Motion, period: float) -> str:
        """Return in one sentence what comes too near along a motion, or "" if nothing does.

        An arm that starts too near may move away within the first period. A tool that starts outside its box may come
        back, but not move farther out.
        """
        joints = np.concatenate([motion.start.positions[None], motion.points])
        speeds = np.abs(np.concatenate([motion.start.velocities[None], motion.velocities]))
        rises = steepest(motion, period)
        around = np.maximum(np.concatenate([rises[:1], rises]), np.concatenate([rises, rises[-1:]]))
        checks = np.arange(len(self._reach))
        gaps = self._gaps(joints, checks)
        least = np.where(checks == 0, -max(BOX_TOLERANCE, _ROUNDING - gaps[0, 0]), 0.0)
        first = np.where(checks == 0, least, np.minimum(gaps[0] - _ROUNDING, 0.0))
        room = gaps - np.where(np.arange(len(joints))[:, None] == 0, first, least)
        if (room < 0.0).any():
            return self._sentence(joints, gaps, room, checks)
        doubtful = np.asarray(room < self._ways(speeds, around, period))
        checks = checks[doubtful.any(axis=0)]
        segments = np.flatnonzero((doubtful[:-1] | doubtful[1:]).any(axis=1))
        middles, width = np.full(len(segments), 0.5), 1.0
        while len(segments):
            width /= _SPLITS
            offsets = (np.arange(_SPLITS) - 0.5 * (_SPLITS - 1)) * width
            segments, middles = np.repeat(segments, _SPLITS), (middles[:, None] + offsets).ravel()
            joints, velocities = between(motion, segments, middles, period)
            gaps = self._gaps(joints, checks)
            room = gaps - np.where(segments[:, None] == 0, first[checks], least[checks])
            ways = self._ways(np.abs(velocities), rises[segments], width * period)[:, checks]
            if width <= _FINEST:
                room, ways = room - ways, np.zeros_like(ways)
            if (room < 0.0).any():
                return self._sentence(joints, gaps, room, checks)
            left = (room < ways).any(axis=1)
            segments, middles = segments[left], middles[left]
        return ""

    def _ways(self, speeds: Array, rises: Array, seconds: float) -> Array:
        """Return how far each checked point may move within half of `seconds`, before or after [m, checks], m.

        speeds: joint speeds at that moment [m, n], rad/s; rises: largest accelerations around it [m, n], rad/s^2.
        """
        return np.asarray((speeds * (seconds / 2) + rises * (seconds**2 / 8)) @ self._reach.T)

    def _gaps(self, joints: Array, checks: Indices) -> Array:
        """Return the clearance at joint positions [m, n] (rad) for some checks [m, len(checks)], m."""
        profile = self._profile
        if len(checks) == 1 and checks[0] == 0:
            places = self._chain.positions(joints)[:, None]
        else:
            places = self._chain.joint_positions(joints)
        gaps = np.empty((len(joints), len(checks)))
        for column, check in enumerate(checks[checks < 2]):
            if check == 0:
                tool = places[:, -1]
                inside = np.minimum(tool - profile.workspace_lower, profile.workspace_upper - tool)
                gaps[:, column] = inside.min(axis=1)
            else:
                gaps[:, column] = places[:, 3:-1, 2].min(axis=1, initial=np.inf) - self._above
        i, j = self._pairs[:, checks[checks >= 2] - 2]
        apart = _distance(places[:, i], places[:, i + 1], places[:, j], places[:, j + 1])
        gaps[:, len(checks) - len(i) :] = apart - self._apart
        return gaps

    def _sentence(self, joints: Array, gaps: Array, room: Array, checks: Indices) -> str:
        """Return the sentence about the first check that fails, at its smallest clearance."""
        profile, clearance = self._profile, self._profile.clearance
        column = int(np.argmax((room < 0.0).any(axis=0)))
        k, check = int(np.argmin(room[:, column])), int(checks[column])
        gap, places = gaps[k, column], self._chain.joint_positions(joints[k : k + 1])[0]
        if check == 0:
            return (
                f"the tool would go to {place_words(places[-1])}, {max(-gap, 0.0) * 1000:.0f} mm outside the workspace"
            )
        if check == 1:
            joint = profile.joint_names[int(np.argmin(places[3:-1, 2])) + 2]
            return f"{joint} would come within {max(gap + clearance.table, 0.0):.3f} m of the table"
        names = ("base", *profile.joint_names, profile.tool_frame)
        first, second = (names[link] for link in self._pairs[:, check - 2])
        left = max(gap + clearance.between_links, 0.0)
        return f"the links behind {first} and {second} would come within {left:.3f} m of each other"


def place_words(position: Array) -> str:
    """Return a position [3], m, as text."""
    return "({:.3f}, {:.3f}, {:.3f}) m".format(*position)


def _distance(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Return distances [...] between segments a-b and c-d [..., 3] (Ericson, Real-Time Collision Detection, 5.1.9)."""
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    cross = uu * vv - uv * uv
    s = np.clip(np.where(cross > 1e-12, (uv * vw - vv * uw) / np.maximum(cross, 1e-12), 0.0), 0.0, 1.0)
    t = np.clip((uv * s + vw) / vv, 0.0, 1.0)
    s = np.clip((uv * t - uw) / uu, 0.0, 1.0)
    return np.asarray(np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1))
