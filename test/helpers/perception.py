"""Depth images of boxes on a table, ray by ray, for tests of what is seen without the simulator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mql_ros.grasping.perception.camera import CameraModel, Depth
from mql_ros.grasping.perception.segmentation import Workspace
from mql_ros.grasping.types import Array

WORKSPACE = Workspace(np.array([0.30, -0.25]), np.array([0.72, 0.25]))
MIDDLE = np.array([0.51, 0.0, 0.0])


@dataclass(frozen=True)
class Box:
    """A box that stands on the table."""

    x: float
    y: float
    size: tuple[float, float, float]
    yaw: float = 0.0
    base: float = 0.0
    """Height of its underside, m."""


def camera(width: int = 320, height: int = 240, focal_length: float = 320.0) -> CameraModel:
    """A camera in front of the arm, over the table."""
    return CameraModel.looking_at(np.array([0.85, 0.0, 0.8]), MIDDLE, width, height, focal_length)


def depth_of(model: CameraModel, boxes: list[Box], table: float = 0.0, noise: float = 0.0, seed: int = 0) -> Depth:
    """Depth image of boxes on an endless table, with Gaussian noise of a standard deviation, m."""
    rows, columns = (values.ravel() for values in np.indices((model.height, model.width)))
    start = model.pose[:3, 3]
    rays = model.points(columns, rows, np.ones(len(rows))) - start
    depth = np.where(rays[:, 2] < 0, (table - start[2]) / rays[:, 2], np.nan)
    for box in boxes:
        cosine, sine = np.cos(box.yaw), np.sin(box.yaw)
        turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        half = np.array(box.size) / 2
        depth = np.fmin(depth, _hits(turn @ (start - [box.x, box.y, box.base + half[2]]), rays @ turn.T, half))
    depth += noise * np.random.default_rng(seed).standard_normal(len(depth))
    return depth.reshape(model.height, model.width).astype(np.float32)


def _hits(start: Array, rays: Array, half: Array) -> Array:
    """Where rays [n, 3] from a point enter a box about the origin, in multiples of the rays; infinity if nowhere."""
    with np.errstate(divide="ignore"):
        first, second = (-half - start) / rays, (half - start) / rays
    entry, leaving = np.minimum(first, second).max(axis=1), np.maximum(first, second).min(axis=1)
    return np.where(entry < leaving, entry, np.inf)
