"""A pinhole depth camera: its model, the decoding of its images, and the points that pixels stand for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.motion.kinematics import cross
from mql_ros.grasping.types import Array

Depth = NDArray[np.float32]
"""A depth image [height, width]: distance along the optical axis, m; NaN without a measurement."""
Numbers = NDArray[np.floating] | NDArray[np.integer]

_FARTHEST = 50.0
"""A median depth beyond this, m, means that the image is in mm."""
_ENCODINGS = {"16UC1": ("u2", 0.001), "mono16": ("u2", 0.001), "32FC1": ("f4", 1.0)}
"""Type of a pixel and its unit in m."""


class PerceptionError(Exception):
    """The image or the scene does not show one object to grasp; the message is one sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        """One of REASONS."""


REASONS = (
    "camera_info", "camera_pose", "encoding", "size", "units", "out_of_view", "no_depth", "no_table", "empty_table",
    "at_border", "too_large", "moving",
)  # fmt: skip
"""Short names of what can be wrong, as `PerceptionError.reason` gives them."""


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera without distortion; the centre of its first pixel has the coordinates (0, 0)."""

    width: int
    """Columns of its images."""
    height: int
    """Rows of its images."""
    fx: float
    """Focal length along a row, pixels."""
    fy: float
    """Focal length along a column, pixels."""
    cx: float
    """Column of the optical axis."""
    cy: float
    """Row of the optical axis."""
    pose: Array
    """Optical frame (z forward, x right, y down) in the robot's base frame [4, 4], m."""

    def __post_init__(self) -> None:
        numbers = np.array([self.fx, self.fy, self.cx, self.cy])
        if self.width < 1 or self.height < 1 or not np.isfinite(numbers).all() or min(self.fx, self.fy) <= 0.0:
            raise PerceptionError(
                "camera_info",
                f"the camera info gives {self.width} x {self.height} pixels and focal lengths {self.fx:g}, "
                f"{self.fy:g}; expected positive numbers: calibrate the camera",
            )
        turn = self.pose[:3, :3] if np.shape(self.pose) == (4, 4) else np.full((3, 3), np.nan)
        # Written so that NaN is no rotation either; np.allclose and np.cross would cost more than an image.
        straight = np.abs(turn @ turn.T - np.eye(3)).max() <= 1e-3 and turn[2] @ cross(turn[0], turn[1]) > 0.0
        if not straight or not np.isfinite(self.pose).all():
            raise PerceptionError("camera_pose", "the camera's pose is no rigid transform [4, 4]; give one in m")

    @staticmethod
    def looking_at(position: Array, target: Array, width: int, height: int, focal_length: float) -> CameraModel:
        """A camera at `position` [3] whose optical axis meets `target` [3] (m, base frame), the image upright.

        `focal_length` is in pixels. A camera that looks straight down has the base's x axis upwards in its image.
        """
        forward = np.subtract(target, position, dtype=float)
        if not np.linalg.norm(forward) > 0.0:
            raise PerceptionError("camera_pose", "the camera looks at the place where it is; give another target")
        forward /= np.linalg.norm(forward)
        upward = np.array([0.0, 0.0, 1.0]) if np.hypot(forward[0], forward[1]) > 1e-6 else np.array([1.0, 0.0, 0.0])
        right = np.cross(forward, upward)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.column_stack([right, np.cross(forward, right), forward, position])
        return CameraModel(width, height, focal_length, focal_length, (width - 1) / 2, (height - 1) / 2, pose)

    def cropped(self, left: int, top: int, width: int, height: int) -> CameraModel:
        """The camera of the part of its images that begins at a column and a row."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def moved(self, transform: Array) -> CameraModel:
        """The same camera after a rigid transform [4, 4] in the base frame."""
        return replace(self, pose=transform @ self.pose)

    def project(self, points: Array) -> tuple[Array, Array]:
        """Pixel coordinates (column, row) [n, 2] and depths [n] (m) of points [n, 3] in the base frame."""
        seen = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        depths = seen[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = seen[:, :2] * (self.fx, self.fy) / depths[:, None] + (self.cx, self.cy)
        return pixels, depths

    def points(self, columns: Numbers, rows: Numbers, depths: Numbers) -> Array:
        """Points [n, 3] (m, base frame) of pixels at columns [n] and rows [n] with depths [n], m."""
        rays = np.stack([(columns - self.cx) / self.fx, (rows - self.cy) / self.fy, np.ones(len(depths))], axis=1)
        return np.asarray((rays * depths[:, None]) @ self.pose[:3, :3].T + self.pose[:3, 3])

    def plane(self, axis: Array) -> Array:
        """Height of each pixel's ray per metre of depth along an axis [3] of the base frame [height, width], float32.

        A pixel at depth d lies at `d * plane + axis @ position` along the axis; planes of constant height follow.
        """
        x, y, z = axis @ self.pose[:3, :3]
        columns = (np.arange(self.width) - self.cx) * (x / self.fx)
        rows = (np.arange(self.height) - self.cy) * (y / self.fy) + z
        return np.add.outer(rows.astype(np.float32), columns.astype(np.float32))


def decode_depth(data: bytes, encoding: str, width: int, height: int, step: int, big_endian: bool = False) -> Depth:
    """Depth image [height, width] in m from a message's bytes; `step` is the bytes of a row.

    16UC1 holds mm, and 0 without a measurement; 32FC1 holds m, and NaN or infinity without one (REP 118).
    """
    if encoding not in _ENCODINGS:
        raise PerceptionError(
            "encoding", f"the depth image is encoded as '{encoding}'; expected 16UC1 (mm) or 32FC1 (m)"
        )
    kind, unit = _ENCODINGS[encoding]
    dtype = np.dtype((">" if big_endian else "<") + kind)
    if width < 1 or height < 1 or step < width * dtype.itemsize or len(data) != step * height:
        raise PerceptionError(
            "size",
            f"the depth image has {len(data)} bytes in rows of {step}; expected {height} rows of at least "
            f"{width * dtype.itemsize} for {width} x {height} pixels of {encoding}",
        )
    pixels = np.ndarray((height, width), dtype, buffer=data, strides=(step, dtype.itemsize))
    depth = pixels.astype(np.float32)
    depth[~(np.isfinite(depth) & (depth > 0.0))] = np.nan
    depth *= np.float32(unit)
    some = depth[::8, ::8]
    some = some[np.isfinite(some)]
    if some.size and np.median(some) > _FARTHEST:
        raise PerceptionError(
            "units", f"the median depth is {np.median(some):.0f} m; a depth image in mm must be encoded as 16UC1"
        )
    return depth


def points_in_base(depth: Depth, camera: CameraModel) -> Array:
    """Points [n, 3] (m, base frame) of all pixels of a depth image that have a measurement, row by row."""
    check_size(depth, camera)
    rows, columns = np.nonzero(depth > 0.0)
    return camera.points(columns, rows, depth[rows, columns])


def check_size(depth: Depth, camera: CameraModel) -> None:
    """Raise PerceptionError if an image and its camera's model have different sizes."""
    if depth.shape != (camera.height, camera.width):
        raise PerceptionError(
            "size",
            f"the depth image has {depth.shape[-1]} x {depth.shape[0]} pixels and its camera info "
            f"{camera.width} x {camera.height}; publish both from the same stream",
        )
