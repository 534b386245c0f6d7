"""Forward and inverse kinematics of a serial arm (numpy; the chain comes from the robot profile)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mql_ros.grasping.types import Array


def rotation_from_rpy(roll: float, pitch: float, yaw: float) -> Array:
    """Rotation matrix [3, 3] of fixed-axis roll, pitch, yaw (URDF convention), rad."""
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


def quaternion_to_matrix(quaternion: Array) -> Array:
    """Rotation matrix [3, 3] of a unit quaternion (x, y, z, w)."""
    x, y, z, w = (float(v) for v in quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def yaw_of(quaternion: Array) -> float:
    """Heading of the object's x axis in the base frame's xy plane, rad."""
    x, y, z, w = (float(v) for v in quaternion)
    return float(np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))


def tool_down(yaw: float) -> Array:
    """Tool orientation [3, 3] that points straight down, its x axis along heading `yaw` in the base frame."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])


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
        """Joint frames [n, 4, 4] and tool frame [4, 4] in the base frame for joint positions [n], rad."""
        cosines, sines = np.cos(joints), np.sin(joints)
        turned = self.origins.copy()
        x_axis, y_axis = self.origins[:, :, 0], self.origins[:, :, 1]
        turned[:, :, 0] = x_axis * cosines[:, None] + y_axis * sines[:, None]
        turned[:, :, 1] = y_axis * cosines[:, None] - x_axis * sines[:, None]
        frames = np.empty_like(turned)
        pose = np.eye(4)
        for k in range(len(turned)):
            pose = pose @ turned[k]
            frames[k] = pose
        return frames, pose @ self.tool

    def forward(self, joints: Array) -> tuple[Array, Array]:
        """Tool position [3] (m) and orientation [3, 3] in the base frame."""
        _, tool = self.frames(joints)
        return tool[:3, 3], tool[:3, :3]

    def positions(self, joints: Array) -> Array:
        """Tool positions [m, 3] (m, base frame) for many joint positions [m, n] at once."""
        cosines, sines = np.cos(joints)[..., None], np.sin(joints)[..., None]
        x_axis, y_axis = self.origins[:, :3, 0], self.origins[:, :3, 1]
        turned_x, turned_y = x_axis * cosines + y_axis * sines, y_axis * cosines - x_axis * sines
        # From the tool back to the base: a point needs less arithmetic than a frame.
        points = np.broadcast_to(self.tool[:3, 3], (len(joints), 3))
        for k in range(joints.shape[1] - 1, -1, -1):
            x, y, z = points[:, 0:1], points[:, 1:2], points[:, 2:3]
            points = turned_x[:, k] * x + turned_y[:, k] * y + self.origins[k, :3, 2] * z + self.origins[k, :3, 3]
        return points

    def inverse(
        self, position: Array, orientation: Array, start: Array, iterations: int = 12, damping: float = 0.02
    ) -> tuple[Array, float]:
        """Joint positions [n] that bring the tool to a pose, and the position error that is left, m.

        Damped least squares (Nakamura and Hanafusa 1986) from `start`; joint limits are kept by clipping. The
        iteration ends early at an error of 0.1 mm and 1 mrad.
        """
        joints = np.array(start, dtype=np.float64)
        error = np.empty(6)
        for _ in range(iterations):
            frames, tool = self.frames(joints)
            error[:3] = position - tool[:3, 3]
            turn = orientation @ tool[:3, :3].T
            error[3:] = 0.5 * np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
            if np.abs(error[:3]).max() < 1e-4 and np.abs(error[3:]).max() < 1e-3:
                break
            axes = frames[:, :3, 2]
            jacobian = np.concatenate([_cross(axes, tool[:3, 3] - frames[:, :3, 3]), axes], axis=1).T
            gram = jacobian @ jacobian.T
            gram[np.diag_indices(6)] += damping * damping
            joints = np.clip(joints + jacobian.T @ np.linalg.solve(gram, error), self.lower, self.upper)
        _, tool = self.frames(joints)
        return joints, float(np.linalg.norm(position - tool[:3, 3]))


def _cross(a: Array, b: Array) -> Array:
    """Row-wise cross product; np.cross spends most of its time on axis handling."""
    return np.stack(
        [
            a[:, 1] * b[:, 2] - a[:, 2] * b[:, 1],
            a[:, 2] * b[:, 0] - a[:, 0] * b[:, 2],
            a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0],
        ],
        axis=1,
    )


def _transform(origin: dict) -> Array:
    pose = np.eye(4)
    pose[:3, :3] = rotation_from_rpy(*origin.get("rpy", (0.0, 0.0, 0.0)))
    pose[:3, 3] = origin.get("xyz", (0.0, 0.0, 0.0))
    return pose
