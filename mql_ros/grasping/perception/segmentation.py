"""Finding one object on a table of known height in a depth image.

The table is levelled first: a plane through what lies near its height corrects errors of the camera's height, roll and
pitch. What stands above it is divided into clusters, and the one nearest the workspace's middle is the object.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mql_ros.grasping.perception.camera import CameraModel, Depth, PerceptionError, check_size
from mql_ros.grasping.types import Array

LOW = 0.05
"""What is lower than this after the lift lies on the table, m."""
_GRID = 0.01
"""Side of the cells whose neighbourhood makes a cluster, m."""
_SMALLEST = 1e-4
"""Least area of a cluster, m^2; what is smaller is noise."""
_OUTERMOST = 2
"""Points beyond an object's extents on each side."""
_ALIKE, _ALIKE_LIMITS = 4.0, (0.003, 0.015)
"""Depth differences that are noise, in its standard deviations, and between which bounds, m."""
_LEAST_VALID = 0.3
"""Least share of pixels with a measurement in the workspace."""
_NEAR_TABLE = 0.035
"""Points nearer to the table's height than this may belong to it, m."""
_LEAST_TABLE = 0.05
"""Least share of the workspace's points that belong to the table."""
_FEWEST, _LEAST_SPREAD = 12, 0.015
"""Points that a plane needs, and their least standard deviation in any direction, m."""
_TRIMMING = ((0.035, 0.035), (0.010, 0.025), (0.006, 0.015), (0.004, 0.010), (0.004, 0.008))
"""How far above and below the last plane points may be for the next one, m: nothing lies below a table."""
_LARGEST_OFFSET, _LARGEST_TILT = 0.025, 0.14
"""Largest correction of the camera's pose, m and rad."""


@dataclass(frozen=True)
class Workspace:
    """The box over the table in which objects are searched, in the robot's base frame, m.

    Its ceiling lies below the hand of an arm that waits at home, which excludes the arm.
    """

    lower: Array
    """Least x and y [2]."""
    upper: Array
    """Largest x and y [2]."""
    table: float = 0.0
    """Height of the table."""
    ceiling: float = 0.30
    """Height above which nothing belongs to an object."""
    margin: float = 0.005
    """Height above the table from which a point belongs to an object."""

    @staticmethod
    def about(middle: Array, half: float = 0.2) -> Workspace:
        """The box that extends `half` (m) from its middle x and y [2]."""
        return Workspace(middle - half, middle + half)

    @property
    def middle(self) -> Array:
        """Its middle x and y [2], m; the object nearest to it is chosen."""
        return (self.lower + self.upper) / 2


@dataclass(frozen=True)
class Segment:
    """The points of one object."""

    points: Array
    """[n, 3], m, base frame; z above the levelled table."""
    centre: Array
    """Middle of its extents along x and y [2], m."""
    others: int
    """Number of other clusters in the workspace."""


def segment(depth: Depth, camera: CameraModel, workspace: Workspace, largest: float) -> Segment:
    """Points of the object nearest the workspace's middle, and the number of others.

    `largest` is its greatest extent along x and y, m. Raises PerceptionError if there is no such object.
    """
    standing = _standing(depth, camera, workspace)
    chosen, others = _nearest_cluster(standing, workspace)
    points = standing.points[chosen]
    _check_whole(points, workspace)
    if standing.at_border[chosen].any():
        raise PerceptionError("at_border", "the object reaches the border of the image; move it or the camera")
    # The outermost points may be noise.
    ordered = np.partition(points[:, :2], (_OUTERMOST, len(points) - 1 - _OUTERMOST), axis=0)
    low, high = ordered[_OUTERMOST], ordered[-1 - _OUTERMOST]
    if (high - low).max() > largest:
        raise PerceptionError(
            "too_large",
            f"the object nearest the middle is {(high - low).max() * 1000:.0f} mm long; at most "
            f"{largest * 1000:.0f} mm can be grasped: remove it, or part what touches",
        )
    return Segment(points, (low + high) / 2, others)


def low_points(depth: Depth, camera: CameraModel, workspace: Workspace) -> Array:
    """Points [n, 3] (m, base frame) of everything on the table that is lower than LOW; none if the table is clear.

    What the gripper holds after the lift is higher. PerceptionError says why the image does not tell.
    """
    standing = _standing(depth, camera, replace(workspace, ceiling=workspace.table + LOW))
    label, large = _clusters(standing, workspace)
    points = standing.points[np.isin(label, large)]
    return np.asarray(points + np.array([0.0, 0.0, workspace.table]))


@dataclass(frozen=True)
class _Standing:
    """The points above the table within the workspace."""

    points: Array
    """[n, 3], m, base frame; z above the levelled table."""
    at_border: NDArray[np.bool_]
    """Whether a point lies at the border of the image [n]."""
    least: int
    """Fewest points of a cluster; what has fewer is noise."""


def _standing(depth: Depth, camera: CameraModel, workspace: Workspace) -> _Standing:
    check_size(depth, camera)
    left, top, width, height = _workspace_part(camera, workspace)
    bottom, right = camera.height - 1 - top, camera.width - 1 - left
    depth, camera = depth[top : top + height, left : left + width], camera.cropped(left, top, width, height)
    _check_valid(depth)
    depth = _smooth(depth)
    camera = _levelled(depth, camera, workspace)
    heights = depth * camera.plane(np.array([0.0, 0.0, 1.0]))
    heights += np.float32(camera.pose[2, 3] - workspace.table)
    rows, columns = np.nonzero((heights > workspace.margin) & (heights < workspace.ceiling - workspace.table))
    points = camera.points(columns, rows, depth[rows, columns])
    points[:, 2] -= workspace.table
    x, y = points[:, 0], points[:, 1]
    within = (x >= workspace.lower[0]) & (x < workspace.upper[0]) & (y >= workspace.lower[1]) & (y < workspace.upper[1])
    points, rows, columns = points[within], rows[within], columns[within]
    at_border = (rows == -top) | (rows == bottom) | (columns == -left) | (columns == right)
    distance = float(camera.project(np.array([[*workspace.middle, workspace.table]]))[1][0])
    spacing = distance**2 / (camera.fx * camera.fy)
    return _Standing(points, at_border, max(2 * _OUTERMOST + 1, round(_SMALLEST / spacing)))


def _workspace_part(camera: CameraModel, workspace: Workspace) -> tuple[int, int, int, int]:
    """First column and row, width and height of the part of an image that shows the workspace."""
    x, y, z = np.meshgrid(*np.stack([workspace.lower, workspace.upper], 1), [workspace.table, workspace.ceiling])
    pixels, depths = camera.project(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    size = np.array([camera.width, camera.height])
    if (depths > 0.01).all():
        first = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, size)
        last = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, 0, size)
    else:  # a camera within or beside the box
        first, last = np.zeros(2, int), size if (depths > 0.01).any() else np.zeros(2, int)
    if (last - first < 8).any():
        raise PerceptionError("out_of_view", "the camera does not see the workspace; check the camera's pose")
    return int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1])


def _check_valid(depth: Depth) -> None:
    """Raise PerceptionError if too few pixels have a measurement."""
    valid = np.count_nonzero(depth > 0.0) / depth.size
    if valid < _LEAST_VALID:
        raise PerceptionError(
            "no_depth",
            f"{valid:.0%} of the depth image's pixels at the workspace have a measurement; at least "
            f"{_LEAST_VALID:.0%} are needed: check distance and light",
        )


def _smooth(depth: Depth) -> Depth:
    """Mean of each pixel and those of its eight neighbours whose depth differs by no more than noise.

    A pixel with fewer than two such neighbours is no measurement: it flies between two surfaces.
    """
    alike = float(np.clip(_ALIKE * _noise(depth), *_ALIKE_LIMITS))
    height, width = depth.shape
    padded = np.full((height + 2, width + 2), -1e3, np.float32)
    middle = padded[1:-1, 1:-1]
    np.copyto(middle, depth, where=depth > 0.0)
    total, count = np.zeros_like(padded), np.ones(padded.shape, np.uint8)
    difference, near = np.empty_like(depth), np.empty(depth.shape, bool)
    size = np.empty_like(depth)
    here = slice(1, height + 1), slice(1, width + 1)
    # Each pair of neighbours once: a pixel and those before and below it.
    for down, across in ((0, 1), (1, -1), (1, 0), (1, 1)):
        there = slice(1 + down, height + 1 + down), slice(1 + across, width + 1 + across)
        np.subtract(padded[there], middle, out=difference)
        np.less(np.abs(difference, out=size), alike, out=near)
        difference *= near
        total[here] += difference
        total[there] -= difference
        count[here] += near
        count[there] += near
    total /= count
    total += padded
    known = (middle > 0.0) & (count[here] >= 3)
    return np.where(known, total[here], np.float32(np.nan))


def _noise(depth: Depth) -> float:
    """Standard deviation of the depth's noise, m, from second differences along rows: slopes do not count."""
    rows = depth[::4]
    bends = np.abs(rows[:, 2:] - 2 * rows[:, 1:-1] + rows[:, :-2])
    bends = bends[np.isfinite(bends)]
    return float(np.median(bends)) / (0.6745 * 6**0.5) if bends.size else 0.0


def _levelled(depth: Depth, camera: CameraModel, workspace: Workspace) -> CameraModel:
    """The camera at the pose that makes the table level and as high as it is."""
    stride = max(1, int((depth.size / 2000) ** 0.5))
    part = depth[::stride, ::stride]
    rows, columns = np.nonzero(part > 0.0)
    middle, half = np.array([*workspace.middle, workspace.table]), (workspace.upper - workspace.lower) / 2
    x, y, z = (camera.points(columns * stride, rows * stride, part[rows, columns]) - middle).T
    within = (np.abs(x) < half[0]) & (np.abs(y) < half[1])
    near = np.stack([np.ones(len(z)), x, y, z])[:, within & (np.abs(z) < _NEAR_TABLE)]
    if near.shape[1] < max(_FEWEST, _LEAST_TABLE * np.count_nonzero(within)):
        raise PerceptionError(
            "no_table",
            f"{near.shape[1]} of {np.count_nonzero(within)} points in the workspace lie within "
            f"{_NEAR_TABLE * 1000:.0f} mm of the table's height; check the camera's pose and that height",
        )
    plane = np.zeros(3)
    for above, below in _TRIMMING:
        residual = near[3] - plane @ near[:3]
        fitted = _plane_of((near * ((residual < above) & (residual > -below))) @ near.T)
        if fitted is None:
            return camera  # too little of the table is in view to fit its plane
        plane = fitted
    offset, tilt = float(plane[0]), float(np.hypot(plane[1], plane[2]))
    if abs(offset) > _LARGEST_OFFSET or tilt > _LARGEST_TILT:
        raise PerceptionError(
            "no_table",
            f"the table seems {offset * 1000:.0f} mm too high and tilted by {np.degrees(tilt):.1f} degrees; check "
            "the camera's pose",
        )
    upward = np.array([-plane[1], -plane[2], 1.0]) / np.sqrt(1.0 + tilt**2)
    ahead = np.array([1.0, 0.0, plane[1]])
    ahead -= (ahead @ upward) * upward
    ahead /= np.linalg.norm(ahead)
    turn = np.stack([ahead, np.cross(upward, ahead), upward])
    correction = np.eye(4)
    correction[:3, :3] = turn
    correction[:3, 3] = middle - turn @ (middle + [0.0, 0.0, offset])
    return camera.moved(correction)


def _plane_of(moments: Array) -> Array | None:
    """Height at the origin (m) and slopes along x and y of the plane with the least squared distances in height.

    `moments` [4, 4] are sums of the products of (1, x, y, z) over points; None if these lie too near to a line.
    """
    count = moments[0, 0]
    if count < _FEWEST:
        return None
    middle = moments[0, 1:] / count
    (xx, xy, xz), (_, yy, yz), _ = moments[1:, 1:] / count - np.outer(middle, middle)
    determinant = xx * yy - xy * xy
    if determinant < (xx + yy) * _LEAST_SPREAD**2:
        return None
    along_x, along_y = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
    return np.array([middle[2] - along_x * middle[0] - along_y * middle[1], along_x, along_y])


def _clusters(standing: _Standing, workspace: Workspace) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The label of each point's cluster [n], and the labels of the clusters that are large enough."""
    cells = ((standing.points[:, :2] - workspace.lower) / _GRID).astype(int)
    occupied = np.zeros(np.ceil((workspace.upper - workspace.lower) / _GRID).astype(int) + 1, dtype=bool)
    occupied[cells[:, 0], cells[:, 1]] = True
    labels, _ = ndimage.label(occupied, structure=np.ones((3, 3)))
    label = labels[cells[:, 0], cells[:, 1]]
    return label, np.flatnonzero(np.bincount(label, minlength=1) >= standing.least)


def _nearest_cluster(standing: _Standing, workspace: Workspace) -> tuple[NDArray[np.intp], int]:
    """Indices of the points of the cluster nearest the workspace's middle, and the number of other clusters."""
    points, (label, large) = standing.points, _clusters(standing, workspace)
    if not large.size:
        raise PerceptionError(
            "empty_table",
            f"nothing stands more than {workspace.margin * 1000:.0f} mm above the table; put an object there",
        )
    sizes = np.bincount(label)[large]
    places = np.stack([np.bincount(label, points[:, axis])[large] for axis in (0, 1)], 1) / sizes[:, None]
    nearest = large[np.argmin(np.linalg.norm(places - workspace.middle, axis=1))]
    return np.flatnonzero(label == nearest), len(large) - 1


def _check_whole(points: Array, workspace: Workspace) -> None:
    """Raise PerceptionError if an object reaches the border of the workspace."""
    room = np.minimum(points[:, :2] - workspace.lower, workspace.upper - points[:, :2]).min()
    if room < _GRID / 2:
        raise PerceptionError(
            "at_border", "the object nearest the middle reaches the border of the workspace; move it to the middle"
        )
