"""What was seen as point clouds: the object's height map on `object_view`, low points on `table_view`.

A height map is an organised cloud of 32 x 32 points, one for each cell, and comes back bit for bit. Any other cloud of
an object's points, of whoever's segmentation, becomes a height map. A cloud without points says that there is nothing.
"""

from __future__ import annotations

import array
import math

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from mql_ros.grasping.perception.height_map import CELL, CELLS, CENTRE_STEP, SIDE, HeightMap, heights_of
from mql_ros.grasping.types import Array
from mql_ros.ros.messages.encoding import SECOND, MessageError, nanoseconds, time_message, to_nanoseconds

_KINDS = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
_OFFSETS = (np.arange(CELLS) + 0.5) * CELL - SIDE / 2
"""Middles of the cells about the map's centre, m."""


def view_message(view: HeightMap, frame: str) -> PointCloud2:
    """Return a height map as an organised cloud: rows along x, columns along y, z NaN where nothing was seen."""
    points = np.empty((CELLS, CELLS, 3), np.float32)
    points[..., 0] = (view.centre[0] + _OFFSETS)[:, None]
    points[..., 1] = (view.centre[1] + _OFFSETS)[None, :]
    points[..., 2] = np.where(view.heights > 0.0, view.heights, np.float32(np.nan))
    return _cloud(points, to_nanoseconds(view.stamp), frame)


def points_message(points: Array, frame: str, stamp: int) -> PointCloud2:
    """Return points [n, 3] (m) as a cloud with one row; none say that nothing is there."""
    return _cloud(points[None].astype(np.float32), stamp, frame)


def read_view(message: PointCloud2, base_frame: str) -> HeightMap | None:
    """Return the height map of a cloud of the object's points; None if it has no points: the table is empty.

    MessageError if the cloud is in another frame, has no x, y, z, or shows what is too large to be grasped.
    """
    points = read_points(message, base_frame)
    stamp = nanoseconds(message.header.stamp) / SECOND
    grid = points.reshape(message.height, message.width, 3)
    if (found := _map_of(grid)) is not None:
        return HeightMap(found[0], found[1], stamp, 0)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return None
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    if (high - low).max() > SIDE:
        raise MessageError(
            f"object_view shows an object {(high - low).max() * 1000:.0f} mm long; at most {SIDE * 1000:.0f} mm can be "
            "grasped"
        )
    centre = np.rint((low + high) / 2 / CENTRE_STEP) * CENTRE_STEP
    return HeightMap(heights_of(points, centre), centre, stamp, 0)


def read_points(message: PointCloud2, base_frame: str) -> Array:
    """Return all points of a cloud [n, 3], m; MessageError if it is in another frame or has no x, y, z."""
    if message.header.frame_id != base_frame:
        raise MessageError(f"the cloud is in frame '{message.header.frame_id}'; expected '{base_frame}'")
    fields = {field.name: field for field in message.fields}
    order = ">" if message.is_bigendian else "<"
    kinds, offsets = [], []
    for name in "xyz":
        field = fields.get(name)
        if field is None or field.datatype not in _KINDS:
            raise MessageError(f"the cloud has no field '{name}' of floating-point numbers; it has {sorted(fields)}")
        kinds.append(order + _KINDS[field.datatype])
        offsets.append(int(field.offset))
    width, height, size, row = message.width, message.height, message.point_step, message.row_step
    ends = [offset + int(kind[-1]) for kind, offset in zip(kinds, offsets, strict=True)]
    if size < max(ends) or row < width * size or len(message.data) < row * height:
        raise MessageError(f"the cloud holds {len(message.data)} bytes; expected {height} rows of {row}")
    dtype = np.dtype({"names": list("xyz"), "formats": kinds, "offsets": offsets, "itemsize": size})
    raw = np.ndarray((height, width), dtype, buffer=bytes(message.data), strides=(row, size))
    return np.stack([raw[name].astype(np.float64).ravel() for name in "xyz"], axis=1)


def _map_of(grid: Array) -> tuple[np.ndarray, Array] | None:
    """Heights [32, 32] and centre [2] of points [h, w, 3] that `view_message` laid out; None if they are others."""
    if grid.shape[:2] != (CELLS, CELLS):
        return None
    x, y, z = grid[..., 0], grid[..., 1], grid[..., 2]
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    middle = np.array([x.mean(), y.mean()])
    centre = np.rint(middle / CENTRE_STEP) * CENTRE_STEP
    off = max(np.abs(x - centre[0] - _OFFSETS[:, None]).max(), np.abs(y - centre[1] - _OFFSETS[None, :]).max())
    if not off < 1e-6 or not (z > 0.0).any():
        return None
    return np.nan_to_num(z, nan=0.0, posinf=math.nan).astype(np.float32), centre


def _cloud(points: np.ndarray, stamp: int, frame: str) -> PointCloud2:
    height, width, _ = points.shape
    message = PointCloud2(height=height, width=width, point_step=12, row_step=12 * width, is_bigendian=False)
    message.header.stamp = time_message(stamp)
    message.header.frame_id = frame
    message.fields = [
        PointField(name=name, offset=4 * k, datatype=PointField.FLOAT32, count=1) for k, name in enumerate("xyz")
    ]
    message.is_dense = bool(np.isfinite(points).all())
    message.data = array.array("B", points.astype("<f4").tobytes())
    return message
