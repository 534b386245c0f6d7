"""Rigid shapes: convex parts that touch, a surface that is seen, and the moments of their volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from mql_ros.grasping.types import Array

SIDES = 32
"""Flat sides of a cylinder."""
RINGS = 5
"""Rings of vertices on a half sphere, pole and equator included."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Integrals over a volume, about the origin of its frame."""

    volume: float
    """m^3."""
    first: Array
    """Integral of x [3], m^4."""
    second: Array
    """Integral of x x^T [3, 3], m^5."""

    @property
    def center(self) -> Array:
        """Centre of the volume [3], m."""
        return self.first / self.volume

    def inertia(self, mass: float) -> Array:
        """Inertia about the centre [3, 3], kg m^2, of a mass (kg) that fills the volume evenly."""
        spread = self.second / self.volume - np.outer(self.center, self.center)
        return np.asarray(mass * (np.trace(spread) * np.eye(3) - spread))

    def transformed(self, pose: Array) -> Moments:
        """Moments of the volume after an affine map [4, 4]."""
        linear, shift = pose[:3, :3], pose[:3, 3]
        factor, moved = abs(float(np.linalg.det(linear))), linear @ self.first
        cross = np.outer(moved, shift)
        second = linear @ self.second @ linear.T + cross + cross.T + self.volume * np.outer(shift, shift)
        return Moments(factor * self.volume, factor * (moved + self.volume * shift), factor * second)


@dataclass(frozen=True, eq=False)
class Solid:
    """A rigid shape in a frame of its own."""

    parts: tuple[Array, ...]
    """Vertices [n, 3] of each convex part, m."""
    vertices: Array
    """Vertices of the surface [v, 3], m."""
    faces: NDArray[np.int64]
    """Triangles of the surface [f, 3], counter-clockwise as seen from outside."""
    moments: Moments
    """Of the volume; where parts are joined by hand, what two of them share counts twice."""

    def bounds(self) -> Array:
        """Lowest and highest coordinates of the convex parts [2, 3], m."""
        points = np.concatenate(self.parts)
        return np.array([points.min(axis=0), points.max(axis=0)])

    def transformed(self, pose: Array) -> Solid:
        """The shape after an affine map [4, 4], which may scale and mirror."""
        faces = self.faces[:, ::-1] if np.linalg.det(pose[:3, :3]) < 0 else self.faces
        parts = tuple(_mapped(pose, part) for part in self.parts)
        return Solid(parts, _mapped(pose, self.vertices), faces, self.moments.transformed(pose))

    def moved(self, shift: Sequence[float] | Array) -> Solid:
        """The shape after a translation [3], m."""
        pose = np.eye(4)
        pose[:3, 3] = shift
        return self.transformed(pose)

    def scaled(self, factor: float) -> Solid:
        """The shape after a uniform scaling about the origin."""
        return self.transformed(np.diag([factor, factor, factor, 1.0]))


def _mapped(pose: Array, points: Array) -> Array:
    return np.asarray(points @ pose[:3, :3].T + pose[:3, 3])


def convex(vertices: Array) -> Solid:
    """Convex hull of points [n, 3], m.

    Raises:
        scipy.spatial.QhullError: all points lie in a plane.
    """
    hull = ConvexHull(vertices)
    corners = np.asarray(vertices[hull.vertices], dtype=np.float64)
    number = np.full(len(vertices), -1, dtype=np.int64)
    number[hull.vertices] = np.arange(len(corners))
    faces = number[hull.simplices]
    a, b, c = (corners[faces[:, k]] for k in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), hull.equations[:, :3]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return Solid((corners,), corners, faces, moments(corners, faces))


def moments(corners: Array, faces: NDArray[np.int64]) -> Moments:
    """Moments inside a closed surface: a sum over tetrahedra between its faces [f, 3] and a point of it."""
    inside = corners.mean(axis=0)
    points = corners[faces] - inside
    volumes = np.linalg.det(points) / 6
    sums = points.sum(axis=1)
    second = np.einsum("i,ij,ik->jk", volumes, sums, sums) + np.einsum("i,inj,ink->jk", volumes, points, points)
    about = Moments(float(volumes.sum()), volumes @ sums / 4, second / 20)
    pose = np.eye(4)
    pose[:3, 3] = inside
    return about.transformed(pose)


def combined(solids: Sequence[Solid]) -> Solid:
    """One shape made of several in the same frame."""
    offsets = np.cumsum([0] + [len(solid.vertices) for solid in solids])
    total = Moments(
        sum(solid.moments.volume for solid in solids),
        np.sum([solid.moments.first for solid in solids], axis=0),
        np.sum([solid.moments.second for solid in solids], axis=0),
    )
    return Solid(
        tuple(part for solid in solids for part in solid.parts),
        np.concatenate([solid.vertices for solid in solids]),
        np.concatenate([solid.faces + offset for solid, offset in zip(solids, offsets, strict=False)]),
        total,
    )


def box(size: Sequence[float]) -> Solid:
    """A box about the origin with full edges [3], m."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return convex(signs * np.asarray(size, dtype=np.float64) / 2)


def frustum(rings: Sequence[tuple[float, float]]) -> Solid:
    """Convex hull of circles about the z axis, given as (z, radius), m; a cylinder has two of one radius."""
    return convex(np.concatenate([circle(radius, z) for z, radius in rings]))


def cylinder(radius: float, length: float) -> Solid:
    """A cylinder along z about the origin, m."""
    return frustum([(-length / 2, radius), (length / 2, radius)])


def capsule(radius: float, length: float) -> Solid:
    """A cylinder along z about the origin, closed by half spheres that are not part of its length, m."""
    angles = np.linspace(0.0, np.pi / 2, RINGS)
    half = [(length / 2 + radius * np.sin(angle), radius * np.cos(angle)) for angle in angles]
    return frustum([*half, *((-z, r) for z, r in half)])


def sphere(radius: float) -> Solid:
    """A sphere about the origin, m, as a polyhedron of the same volume."""
    rough = capsule(radius, 0.0)
    return rough.scaled((4 / 3 * np.pi * radius**3 / rough.moments.volume) ** (1 / 3))


def circle(radius: float, z: float) -> Array:
    """Polygon [SIDES, 3] at height z with the area of a circle about the z axis, m."""
    if radius < 1e-9:
        return np.array([[0.0, 0.0, z]])
    step = 2 * np.pi / SIDES
    angles = step * np.arange(SIDES)
    outer = radius * np.sqrt(step / np.sin(step))
    return np.column_stack([outer * np.cos(angles), outer * np.sin(angles), np.full(SIDES, z)])


def wall(rings: Sequence[tuple[float, float]], thickness: float, pieces: int = 16) -> Solid:
    """An open round wall about the z axis: outer radius at heights (z, radius), m, in flat pieces of a thickness, m."""
    found = []
    edges = 2 * np.pi * np.arange(pieces + 1) / pieces
    for (z0, r0), (z1, r1) in pairwise(rings):
        for left, right in pairwise(edges):
            corners = [
                [r * np.cos(angle), r * np.sin(angle), z]
                for z, outer in ((z0, r0), (z1, r1))
                for r in (outer, outer - thickness)
                for angle in (left, right)
            ]
            found.append(convex(np.array(corners)))
    return combined(found)
