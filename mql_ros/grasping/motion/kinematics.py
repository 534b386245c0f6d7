"""Forward and inverse kinematics of a serial arm (numpy; the chain comes from the robot profile)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from transforms3d.euler import euler2mat

from mql_ros.grasping.types import Array


def quaternion_to_matrix(quaternion: Array) -> Array:
    """Return the rotation matrix [3, 3] of a unit quaternion (x, y, z, w).

    Unlike transforms3d this does not normalise, so that simulations repeat earlier ones bit for bit.
    """
    x, y, z, w = (float(v) for v in quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def yaw_of(quaternion: Array) -> float:
    """Return the heading of the object's x axis in the base frame's xy plane, rad."""
    x, y, z, w = (float(v) for v in quaternion)
    return float(np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))


def tool_down(yaw: Array | float) -> Array:
    """Return tool orientations [..., 3, 3] pointing down, x along headings `yaw` [...] in the base frame, rad."""
    c, s, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    return _matrices([[c, s, zero], [s, -c, zero], [zero, zero, zero - 1.0]])


def rotation_vector(turn: Array) -> Array:
    """Return axis times sine of the angle [..., 3] of rotation matrices [..., 3, 3]: about the angle, rad, if small."""
    rows = turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0], turn[..., 1, 0] - turn[..., 0, 1]
    return 0.5 * _vectors(*rows)


def small_rotation(vector: Array) -> Array:
    """Return rotations [..., 3, 3] with a `rotation_vector` [..., 3], below a quarter turn (Rodrigues' formula)."""
    x, y, z = vector[..., 0], vector[..., 1], vector[..., 2]
    zero = np.zeros_like(x)
    cross = _matrices([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    cosine = np.sqrt(1.0 - np.minimum((vector * vector).sum(axis=-1), 1.0))
    return np.asarray(np.eye(3) + cross + cross @ cross / (1.0 + cosine)[..., None, None])


def _matrices(rows: list[list[Array]]) -> Array:
    """Return matrices [..., 3, 3] of their elements [...]; np.stack spends most of its time on axis handling."""
    made = np.empty((*rows[0][0].shape, 3, 3))
    for i, row in enumerate(rows):
        for j, element in enumerate(row):
            made[..., i, j] = element
    return made


def _vectors(x: Array, y: Array, z: Array) -> Array:
    made = np.empty((*x.shape, 3))
    made[..., 0], made[..., 1], made[..., 2] = x, y, z
    return made


@dataclass(frozen=True)
class Chain:
    """A serial chain of revolute joints about their local z axis."""

    origins: Array
    """Fixed transform of each joint relative to the one before it [n, 4, 4]."""
    tool: Array
    """Fixed transform from the last joint to the tool frame [4, 4]."""
    lower: Array
    """Lower joint limits [n], rad."""
    upper: Array
    """Upper joint limits [n], rad."""

    @staticmethod
    def from_origins(origins: list[dict], tool: dict, lower: Array, upper: Array) -> Chain:
        """Build from the `xyz` and `rpy` lists of a robot profile."""
        return Chain(np.stack([_transform(o) for o in origins]), _transform(tool), lower, upper)

    def frames(self, joints: Array) -> tuple[Array, Array]:
        """Return joint frames [..., n, 4, 4] and tool frames [..., 4, 4] in the base frame; joints [..., n], rad."""
        cosines, sines = np.cos(joints)[..., None], np.sin(joints)[..., None]
        turned = np.empty((*joints.shape, 4, 4))
        turned[..., 2:] = self.origins[:, :, 2:]
        x_axis, y_axis = self.origins[:, :, 0], self.origins[:, :, 1]
        turned[..., 0] = x_axis * cosines + y_axis * sines
        turned[..., 1] = y_axis * cosines - x_axis * sines
        for k in range(1, joints.shape[-1]):
            turned[..., k, :, :] = turned[..., k - 1, :, :] @ turned[..., k, :, :]
        return turned, turned[..., -1, :, :] @ self.tool

    def forward(self, joints: Array) -> tuple[Array, Array]:
        """Return tool position [3] (m) and orientation [3, 3] in the base frame for joint positions [n], rad."""
        _, tool = self.frames(joints)
        return tool[:3, 3], tool[:3, :3]

    def positions(self, joints: Array) -> Array:
        """Return tool positions [m, 3] (m, base frame) for joint positions [m, n], rad."""
        cosines, sines = np.cos(joints)[..., None], np.sin(joints)[..., None]
        x_axis, y_axis = self.origins[:, :3, 0], self.origins[:, :3, 1]
        turned_x, turned_y = x_axis * cosines + y_axis * sines, y_axis * cosines - x_axis * sines
        # From the tool back to the base: a point needs less arithmetic than a frame.
        points = np.broadcast_to(self.tool[:3, 3], (len(joints), 3))
        for k in range(joints.shape[1] - 1, -1, -1):
            x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
            points = turned_x[:, k] * x + turned_y[:, k] * y + self.origins[k, :3, 2] * z + self.origins[k, :3, 3]
        return points

    def joint_positions(self, joints: Array) -> Array:
        """Return positions of base, joints and tool [m, n + 2, 3] (m, base frame) for joint positions [m, n], rad."""
        frames, tool = self.frames(joints)
        base = np.zeros((len(joints), 1, 3))
        return np.concatenate([base, frames[..., :3, 3], tool[:, None, :3, 3]], axis=1)

    def inverse(
        self, position: Array, orientation: Array, start: Array, iterations: int = 12, damping: float = 0.02
    ) -> tuple[Array, Array]:
        """Return joint positions [..., n] for tool poses [..., 3], [..., 3, 3], and the position errors left [...], m.

        Damped least squares (Nakamura and Hanafusa 1986) from `start` [..., n]; clipping keeps the joint limits. The
        iteration ends early at errors of 0.1 mm and 1 mrad.
        """
        joints = np.array(start, dtype=np.float64)
        frames, tool = self.frames(joints)
        damped = damping * damping * np.eye(6)
        for _ in range(iterations):
            reach = position - tool[..., :3, 3]
            turn = rotation_vector(orientation @ np.swapaxes(tool[..., :3, :3], -1, -2))
            if np.abs(reach).max() < 1e-4 and np.abs(turn).max() < 1e-3:
                break
            axes = frames[..., :3, 2]
            jacobian = np.concatenate([cross(axes, tool[..., None, :3, 3] - frames[..., :3, 3]), axes], axis=-1)
            gram = np.swapaxes(jacobian, -1, -2) @ jacobian + damped
            step = jacobian @ np.linalg.solve(gram, np.concatenate([reach, turn], axis=-1)[..., None])
            joints = np.clip(joints + step[..., 0], self.lower, self.upper)
            frames, tool = self.frames(joints)
        return joints, np.linalg.norm(position - tool[..., :3, 3], axis=-1)


def cross(a: Array, b: Array) -> Array:
    """Return cross products of vectors [..., 3]; np.cross spends most of its time on axis handling."""
    x, y, z = (a[..., k] for k in range(3))
    u, v, w = (b[..., k] for k in range(3))
    return _vectors(y * w - z * v, z * u - x * w, x * v - y * u)


def _transform(origin: dict) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = euler2mat(*origin.get("rpy", (0.0, 0.0, 0.0)))
    pose[:3, 3] = origin.get("xyz", (0.0, 0.0, 0.0))
    return pose
