"""How near the arm's links come to each other and to the table: capsules between the joints."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.kinematics import Chain
from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.types import Array

_LEAST_LENGTH = 1e-3
"""Joints nearer to each other have no link between them, m."""


class LinkClearance:
    """Checks an arm's links for one robot profile."""

    def __init__(self, profile: RobotProfile) -> None:
        self._profile = profile
        self._chain: Chain = profile.chain
        room = profile.clearance
        self._apart = 2 * room.link_radius + room.between_links
        self._above = room.link_radius + room.table
        places = self._chain.joint_positions(profile.home_guess[None])[0]
        lengths = np.linalg.norm(np.diff(places, axis=0), axis=1)
        links = np.flatnonzero(lengths > _LEAST_LENGTH)
        # Links whose ends are joined by less than that distance are always nearer: their joints keep them apart.
        self._pairs = [(i, j) for i in links for j in links if i < j and lengths[i + 1 : j].sum() > self._apart]

    def fault(self, joints: Array) -> str:
        """What comes too near at joint positions [m, n] (rad), in one sentence, or "" when nothing does."""
        places = self._chain.joint_positions(joints)
        wrist = places[:, 3:-1, 2]
        if wrist.size and wrist.min() < self._above:
            joint = self._profile.joint_names[int(np.argwhere(wrist < self._above)[0, 1]) + 2]
            gap = wrist.min() - self._profile.clearance.link_radius
            return f"{joint} would come within {max(gap, 0.0):.3f} m of the table"
        for i, j in self._pairs:
            nearest = _distance(places[:, i], places[:, i + 1], places[:, j], places[:, j + 1]).min()
            if nearest < self._apart:
                names = ("base", *self._profile.joint_names, self._profile.tool_frame)
                gap = nearest - 2 * self._profile.clearance.link_radius
                return (
                    f"the links behind {names[i]} and {names[j]} would come within {max(gap, 0.0):.3f} m of each other"
                )
        return ""


def _distance(a: Array, b: Array, c: Array, d: Array) -> Array:
    """Distance [m] between the line segments a-b and c-d [m, 3] (Ericson, Real-Time Collision Detection, 5.1.9)."""
    u, v, w = b - a, d - c, a - c
    uu, vv, uv = (u * u).sum(-1), (v * v).sum(-1), (u * v).sum(-1)
    uw, vw = (u * w).sum(-1), (v * w).sum(-1)
    cross = uu * vv - uv * uv
    s = np.clip(np.where(cross > 1e-12, (uv * vw - vv * uw) / np.maximum(cross, 1e-12), 0.0), 0.0, 1.0)
    t = np.clip((uv * s + vw) / vv, 0.0, 1.0)
    s = np.clip((uv * t - uw) / uu, 0.0, 1.0)
    return np.asarray(np.linalg.norm(w + s[:, None] * u - t[:, None] * v, axis=-1))
