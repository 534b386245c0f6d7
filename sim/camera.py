"""A simulated depth camera: triangles and a table through an own z-buffer, and what a real camera adds to that.

Triangles are drawn exactly, one row of pixels after the other, all at once in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from transforms3d.euler import euler2mat

from mql_ros.grasping.motion.kinematics import cross
from mql_ros.grasping.perception.camera import CameraModel, Depth
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array

_NEAREST = 0.05
"""Triangles that come nearer to the camera than this are not drawn, m."""
_STRIP = 32
"""Rows of an image that are looked at together for what has no measurement."""
_HAND = np.array([0.06, 0.20])
"""Size of the hand across and along the closing direction of its fingers, m."""
_FINGERS = 0.06
"""Length of the fingers below the hand, m."""


@dataclass(frozen=True)
class Surface:
    """A closed or open surface of triangles."""

    vertices: Array
    """[v, 3], m."""
    faces: NDArray[np.integer]
    """Indices of vertices [f, 3]; their order does not matter: both sides are seen."""

    def moved(self, position: Array, turn: Array) -> Surface:
        """The surface after a rotation [3, 3] and a translation [3], m."""
        return Surface(self.vertices @ np.transpose(turn) + position, self.faces)

    @staticmethod
    def joined(surfaces: Sequence[Surface]) -> Surface:
        """One surface of the triangles of several."""
        starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces)])
        faces = [surface.faces + start for surface, start in zip(surfaces, starts, strict=False)]
        return Surface(np.concatenate([surface.vertices for surface in surfaces]), np.concatenate(faces))


@dataclass(frozen=True)
class DepthNoise:
    """What a depth camera adds to and loses from its image."""

    deviation: float = 0.0015
    """Standard deviation of the depth, m."""
    quadratic_from: float = 0.0
    """Distance at which `deviation` holds, growing with the square of the distance, m; 0: it is the same everywhere."""
    quantum: float = 0.001
    """Step of the depth, m; 0 for none."""
    missing: float = 0.02
    """Share of pixels without a measurement anywhere."""
    edge: float = 0.01
    """Depth differences between neighbouring pixels that count as an edge, m."""
    missing_at_edges: float = 0.3
    """Share of pixels without a measurement on either side of an edge."""
    grazing: float = 1.45
    """Angle between ray and surface normal beyond which there is no measurement, rad."""


@dataclass(frozen=True)
class Miscalibration:
    """Standard deviations of the error of a camera's calibrated pose, along and about each axis."""

    shift: float = 0.003
    """m."""
    turn: float = 0.0
    """rad, about a point in view: a calibration against targets on the table is best there."""

    def misplaced(self, camera: CameraModel, about: Array, rng: np.random.Generator) -> CameraModel:
        """The camera where it truly is, if it is believed to be here; the turn is about a point [3], m."""
        numbers = rng.standard_normal(6)
        error = np.eye(4)
        error[:3, :3] = euler2mat(*(self.turn * numbers[3:]))
        error[:3, 3] = about - error[:3, :3] @ about + self.shift * numbers[:3]
        return camera.moved(error)


def render(camera: CameraModel, surfaces: Sequence[Surface], table: float = 0.0) -> Depth:
    """Exact depth image [height, width] (m) of surfaces in the base frame on an endless table at a height, m.

    Pixels that see neither are NaN.
    """
    # Inverse depth is linear in the pixel's coordinates on every plane, so it needs no division before the end.
    with np.errstate(divide="ignore"):
        inverse = camera.plane(np.array([0.0, 0.0, 1.0])) / np.float32(table - camera.pose[2, 3])
    np.maximum(inverse, 0.0, out=inverse)
    for surface in surfaces:
        _draw(inverse, camera, surface)
    with np.errstate(divide="ignore"):
        depth = 1.0 / inverse
    depth[inverse <= 0.0] = np.nan
    return depth


def window(camera: CameraModel, points: Array, margin: float = 0.04) -> CameraModel:
    """The camera of the part of the image that shows points [n, 3] and a margin about them, m (base frame).

    The table in the margin tells the perception how the table lies.
    """
    low, high = points.min(axis=0) - [margin, margin, 0.0], points.max(axis=0) + [margin, margin, 0.0]
    x, y, z = np.meshgrid(*np.stack([low, high], axis=1))
    pixels, _ = camera.project(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    size = np.array([camera.width, camera.height])
    first = np.clip(np.floor(pixels.min(axis=0)).astype(int), 0, size - 1)
    last = np.clip(np.ceil(pixels.max(axis=0)).astype(int) + 1, first + 1, size)
    return camera.cropped(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))


def measured(depth: Depth, camera: CameraModel, noise: DepthNoise, rng: np.random.Generator) -> Depth:
    """What the camera reports of an exact depth image [height, width], m; NaN without a measurement."""
    chance = rng.random(depth.shape, dtype=np.float32)
    lost = np.empty(depth.shape, dtype=bool)
    for top in range(0, camera.height, _STRIP):  # strips stay in the processor's cache: twice as fast
        rows = slice(max(top - 1, 0), min(top + _STRIP + 1, camera.height))
        found = _lost(depth[rows], camera, rows.start, noise, chance[rows])
        lost[top : top + _STRIP] = found[top - rows.start :][:_STRIP]
    seen = rng.standard_normal(depth.shape, dtype=np.float32)
    seen *= np.float32(noise.deviation)
    if noise.quadratic_from > 0.0:
        seen *= np.square(depth * np.float32(1 / noise.quadratic_from))
    seen += depth
    if noise.quantum > 0.0:
        seen *= np.float32(1 / noise.quantum)
        np.rint(seen, out=seen)
        seen *= np.float32(noise.quantum)
    seen[lost] = np.nan
    return seen


def box_surface(lower: Array, upper: Array) -> Surface:
    """An upright box between two corners [3], m."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)])
    quads = np.array([[0, 1, 3, 2], [4, 5, 7, 6], [0, 1, 5, 4], [2, 3, 7, 6], [0, 2, 6, 4], [1, 3, 7, 5]])
    return Surface(np.where(corners, upper, lower), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


@lru_cache
def _rod_faces(sides: int) -> NDArray[np.intp]:
    """Faces of a prism with the vertices of one end after those of the other."""
    here, there = np.arange(sides), (np.arange(sides) + 1) % sides
    walls = [[here, there, here + sides], [there, there + sides, here + sides]]
    ends = [[np.zeros(sides, int) + base, here + base, there + base] for base in (0, sides)]
    return np.concatenate([np.stack(corners, axis=1) for corners in (*walls, *ends)])


def rod_surface(start: Array, end: Array, radius: float, sides: int = 8) -> Surface:
    """A prism of `sides` sides about the line between two points [3], longer by the radius at both ends, m."""
    axis = (end - start) / np.linalg.norm(end - start)
    across = cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angles = np.arange(sides) * (2 * np.pi / sides)
    ring = radius * (np.outer(np.cos(angles), across) + np.outer(np.sin(angles), cross(axis, across)))
    return Surface(np.concatenate([ring + start - radius * axis, ring + end + radius * axis]), _rod_faces(sides))


def arm_surface(profile: RobotProfile, joints: Array) -> Surface:
    """The arm at joint positions [n] (rad) as rods along its links, a box for the hand and two open fingers."""
    frames, tool = profile.chain.frames(joints)
    places = np.concatenate([np.zeros((1, 3)), frames[:, :3, 3]])
    radius = profile.clearance.link_radius
    rods = [rod_surface(start, end, radius) for start, end in pairwise(places) if np.linalg.norm(end - start) > radius]
    # The tool's z axis points from the hand to the fingertips and the fingers close along y.
    length = float(tool[:3, 2] @ (tool[:3, 3] - places[-1]))
    (x, y), opening = _HAND / 2, profile.max_width / 2
    parts = [box_surface(np.array([-x, -y, -max(length, _FINGERS + 0.05)]), np.array([x, y, -_FINGERS]))]
    for near, far in ((opening, opening + 0.02), (-opening - 0.02, -opening)):
        parts.append(box_surface(np.array([-0.01, near, -_FINGERS]), np.array([0.01, far, 0.0])))
    return Surface.joined([*rods, *(part.moved(tool[:3, 3], tool[:3, :3]) for part in parts)])


def _draw(inverse: Depth, camera: CameraModel, surface: Surface) -> None:
    """Draw triangles into an image of inverse depths [height, width], 1/m, in place."""
    height, width = inverse.shape
    pixels, depths = camera.project(surface.vertices)
    u, v, w = (values[surface.faces] for values in (pixels[:, 0], pixels[:, 1], 1.0 / depths))
    # A pixel belongs to a triangle if its centre does, with half-open ends, so that neighbours share no pixel.
    first = np.maximum(np.ceil(v.min(axis=1)), 0).astype(np.intp)
    last = np.minimum(np.ceil(v.max(axis=1)), height).astype(np.intp)
    wide = np.ceil(u.min(axis=1)) < np.ceil(u.max(axis=1))
    shown = wide & (first < last) & (depths[surface.faces].min(axis=1) > _NEAREST)
    u, v, w, first, last = u[shown], v[shown], w[shown], first[shown], last[shown]
    order = np.argsort(v, axis=1)
    (u0, u1, u2), (v0, v1, v2), (w0, w1, w2) = (np.take_along_axis(x, order, axis=1).T for x in (u, v, w))
    with np.errstate(divide="ignore", invalid="ignore"):
        long, upper, lower = (u2 - u0) / (v2 - v0), (u1 - u0) / (v1 - v0), (u2 - u1) / (v2 - v1)
        area = (u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)
        along_u = ((w1 - w0) * (v2 - v0) - (w2 - w0) * (v1 - v0)) / area
        along_v = ((u1 - u0) * (w2 - w0) - (u2 - u0) * (w1 - w0)) / area
    offset = w0 - along_u * u0 - along_v * v0
    # One entry for each row of each triangle: between its long side and one of the two short ones.
    which, row = _expanded(first, last - first)
    down = row - v0[which]
    side = u0[which] + down * long[which]
    above = row < v1[which]
    other = np.where(above, u0[which] + down * upper[which], u1[which] + (row - v1[which]) * lower[which])
    left = np.maximum(np.ceil(np.minimum(side, other)), 0).astype(np.intp)
    right = np.minimum(np.ceil(np.maximum(side, other)), width).astype(np.intp)
    # One entry for each pixel of each row.
    entry, column = _expanded(left, np.maximum(right - left, 0))
    slope, base = along_u[which].astype(np.float32), (along_v[which] * row + offset[which]).astype(np.float32)
    values = slope[entry] * column.astype(np.float32) + base[entry]
    np.maximum.at(inverse.ravel(), (row * width)[entry] + column, values)


def _expanded(starts: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices k and values start[k], start[k] + 1, ..., as many as counts[k], one after the other."""
    which = np.repeat(np.arange(len(counts)), counts)
    ahead = np.cumsum(counts) - counts
    return which, np.arange(len(which)) + (starts - ahead)[which]


def _lost(depth: Depth, camera: CameraModel, top: int, noise: DepthNoise, chance: Depth) -> NDArray[np.bool_]:
    """Pixels of a strip from row `top` on without a measurement, given a number in [0, 1) for each.

    These lie at edges, at grazing angles, and anywhere.
    """
    inverse = 1.0 / depth
    height, width = depth.shape
    x = ((np.arange(width) - camera.cx) / camera.fx).astype(np.float32)
    y = ((np.arange(height) - (camera.cy - top)) / camera.fy).astype(np.float32)[:, None]
    # Through a pixel and its neighbours goes the plane n . p = d: n / d follows from 1 / depth = n / d . ray.
    normal_x, largest_x = _differences(inverse, 1)
    normal_y, largest_y = _differences(inverse, 0)
    normal_x *= np.float32(camera.fx)
    normal_y *= np.float32(camera.fy)
    normal_z = inverse - normal_x * x
    normal_z -= normal_y * y
    for values in (normal_x, normal_y, normal_z):
        np.square(values, out=values)
    normal_x += normal_y
    normal_x += normal_z
    normal_x *= x * x + (y * y + 1.0)
    np.square(inverse, out=inverse)
    lost = inverse < np.float32(np.cos(noise.grazing) ** 2) * normal_x
    edge = np.maximum(largest_x, largest_y) > np.float32(noise.edge) * inverse
    edge &= chance < noise.missing_at_edges
    lost |= edge
    lost |= chance < noise.missing
    return np.asarray(lost)


def _differences(values: Depth, axis: int) -> tuple[Depth, Depth]:
    """Smaller difference to the pixels before and after along an axis, and size of the larger [height, width]."""

    def part(array: Depth, first: int, last: int | None) -> Depth:
        return array[:, first:last] if axis else array[first:last]

    smaller, larger = np.empty_like(values), np.empty_like(values)
    difference = part(values, 1, None) - part(values, 0, -1)
    size = np.abs(difference)
    for of_all, of_pairs in ((smaller, difference), (larger, size)):
        part(of_all, 0, 1)[:] = part(of_pairs, 0, 1)
        part(of_all, -1, None)[:] = part(of_pairs, -1, None)
    before, after = part(size, 0, -1), part(size, 1, None)
    part(smaller, 1, -1)[:] = np.where(before < after, part(difference, 0, -1), part(difference, 1, None))
    np.maximum(before, after, out=part(larger, 1, -1))
    return smaller, larger
