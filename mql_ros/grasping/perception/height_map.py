"""Height maps: what was seen of one object, how a map is sampled, and how an old one is laid on a new one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.perception.camera import CameraModel, Depth, PerceptionError
from mql_ros.grasping.perception.segmentation import Workspace, segment
from mql_ros.grasping.types import Array

Heights = NDArray[np.float32]
"""Heights above the table [CELLS, CELLS], m, first index along x; 0 for the table and for what was not seen."""

CELLS = 32
"""Cells along each side of a map."""
CELL = 0.005
"""Side of a cell, m."""
SIDE = CELLS * CELL
"""Side of a map, m; larger objects are refused."""
CENTRE_STEP = 2.0**-14
"""Step of a map's centre, m: coarser than single precision, so that a message carries it exactly."""

_STILL = 0.006
"""Distance between the centres of two maps that noise alone explains, m."""
_PAD = 2
"""Empty cells about a map that is sampled."""
_ANGLES = np.arange(48) * (2 * np.pi / 48)
"""Turns tried when maps are registered, rad."""
_SHIFTS = np.arange(-4, 5)
"""Shifts tried along each axis, cells: both maps are centred on the same object."""
_STARTS = 3
"""Turns that are refined."""
_STEPS = np.array([0.02, 0.001, 0.001])
"""Differences for the derivatives of the refinement, rad and m."""


@dataclass(frozen=True)
class HeightMap:
    """What was seen of the object nearest the workspace's middle."""

    heights: Heights
    """[CELLS, CELLS], m above the table, about the centre, along the base frame's x and y."""
    centre: Array
    """x and y of the map's middle in the base frame [2], m: the middle of the object's extents."""
    stamp: float
    """Time of the depth image, s."""
    others: int
    """Number of other objects that were seen and ignored."""

    @property
    def top(self) -> float:
        """Height of the object above the table, m."""
        return float(self.heights.max())


def see(depth: Depth, camera: CameraModel, workspace: Workspace, stamp: float = 0.0) -> HeightMap:
    """Height map of the object nearest the workspace's middle in a depth image [height, width] of any size.

    Raises PerceptionError if there is none.
    """
    found = segment(depth, camera, workspace, SIDE)
    centre = np.rint(found.centre / CENTRE_STEP) * CENTRE_STEP
    return HeightMap(heights_of(found.points, centre), centre, stamp, found.others)


def check_still(earlier: HeightMap, later: HeightMap) -> None:
    """Raise PerceptionError if the object moved between two images."""
    moved = float(np.linalg.norm(later.centre - earlier.centre))
    if moved > _STILL:
        raise PerceptionError(
            "moving", f"the object moved by {moved * 1000:.0f} mm between two images; wait until it lies still"
        )


def heights_of(points: Array, centre: Array) -> Heights:
    """Largest height of points [n, 3] (m, z above the table) in each cell about a centre [2] in x and y.

    A hole one cell wide is filled with the mean of its neighbours.
    """
    cells = np.floor((points[:, :2] - centre) / CELL + CELLS / 2).astype(int)
    inside = ((cells >= 0) & (cells < CELLS)).all(axis=1)
    heights = np.zeros((CELLS, CELLS), np.float32)
    np.maximum.at(heights, (cells[inside, 0], cells[inside, 1]), points[inside, 2].astype(np.float32))
    padded = np.pad(heights, 1)
    before_x, after_x, before_y, after_y = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    neighbours = np.stack([before_x, after_x, before_y, after_y])
    hole = (heights == 0) & (((before_x > 0) & (after_x > 0)) | ((before_y > 0) & (after_y > 0)))
    mean = neighbours.sum(axis=0) / np.maximum((neighbours > 0).sum(axis=0), 1)
    heights[hole] = mean[hole]
    return heights


def sample(heights: Heights, x: Array | Heights, y: Array | Heights) -> Heights:
    """Bilinear heights [...] (m) at places x [...] and y [...] (m) about the map's centre; 0 beyond the map."""
    side = CELLS + 2 * _PAD
    padded = np.zeros((side, side), np.float32)
    padded[_PAD:-_PAD, _PAD:-_PAD] = heights
    flat = padded.ravel()
    i, a = _cell_and_rest(x)
    j, b = _cell_and_rest(y)
    # In place where it can be: the search for grasps samples tens of thousands of places.
    corner = i * side + j
    near, corner = flat.take(corner), corner + 1
    ahead = flat.take(corner)
    ahead -= near
    ahead *= b
    near += ahead
    corner += side - 1
    far = flat.take(corner)
    corner += 1
    ahead = flat.take(corner)
    ahead -= far
    ahead *= b
    far += ahead
    far -= near
    far *= a
    far += near
    return far


def _cell_and_rest(places: Array | Heights) -> tuple[NDArray[np.int32], Heights]:
    """Index of the padded map's cell before places [...] (m) along an axis, and the part of a cell beyond it."""
    cells = np.multiply(places, 1 / CELL, dtype=np.float32, casting="same_kind")
    cells += np.float32(CELLS / 2 - 0.5 + _PAD)
    np.clip(cells, np.float32(0.0), np.float32(CELLS + 2 * _PAD - 1.5), out=cells)
    index = cells.astype(np.int32)
    cells -= index
    return index, cells


@dataclass(frozen=True)
class Registration:
    """The motion that lays an old map on a new one: a turn about the old map's centre, then a shift."""

    angle: float
    """rad, anticlockwise seen from above."""
    shift: Array
    """From the new map's centre [2], m."""
    residual: float
    """Root mean square of the height differences left, over the cells that either map occupies, m."""

    def move(self, places: Array) -> Array:
        """Places [..., 2] (m) about the new map's centre, from those about the old map's."""
        return np.asarray(places @ _turn(self.angle).T + self.shift)


def register(old: Heights, new: Heights) -> Registration:
    """The turn and shift that lay an old map on a new one of the same object with the least squared difference.

    All turns and whole-cell shifts are compared; the best turns are refined by Gauss-Newton steps.
    """
    x, y = _places()
    cosine, sine = np.cos(_ANGLES)[:, None, None], np.sin(_ANGLES)[:, None, None]
    turned = sample(old, cosine * x + sine * y, cosine * y - sine * x)
    flat = turned.reshape(len(_ANGLES), -1)
    shifted = np.lib.stride_tricks.sliding_window_view(np.pad(new, -_SHIFTS[0]), (CELLS, CELLS)).reshape(-1, CELLS**2)
    per_angle = (flat**2).sum(axis=1)[:, None] - 2 * flat @ shifted.T
    least = per_angle.min(axis=1)
    valleys = np.flatnonzero((least <= np.roll(least, 1)) & (least <= np.roll(least, -1)))
    best = valleys[np.argsort(least[valleys], kind="stable")[:_STARTS]]
    shifts = np.stack(np.unravel_index(per_angle[best].argmin(axis=1), (len(_SHIFTS), len(_SHIFTS))), axis=1)
    motions = np.column_stack([_ANGLES[best], _SHIFTS[shifts] * CELL])
    return _refined(old, new, motions)


def _refined(old: Heights, new: Heights, motions: Array, iterations: int = 6) -> Registration:
    """The best of some motions [n, 3] (angle, shift) after Gauss-Newton steps that keep only improvements."""
    x, y = _places()

    def differences(motions: Array) -> Heights:
        angle, across, along = (motions[..., k, None, None] for k in range(3))
        cosine, sine = np.cos(angle), np.sin(angle)
        u, v = x - across, y - along
        return np.asarray(sample(old, cosine * u + sine * v, cosine * v - sine * u) - new)

    probes = np.concatenate([np.zeros((1, 3)), np.diag(_STEPS)])
    best, least, trial = motions, np.full(len(motions), np.inf), motions
    steps = np.zeros_like(motions)
    for _ in range(iterations):
        moved = differences(trial[:, None] + probes).reshape(len(trial), 4, -1)
        squared = (moved[:, 0] ** 2).sum(axis=1)
        better = squared < least
        best, least = np.where(better[:, None], trial, best), np.minimum(squared, least)
        slopes = (moved[:, 1:] - moved[:, :1]) / _STEPS[:, None]
        gram = slopes @ slopes.swapaxes(1, 2)
        gram += 1e-3 * np.eye(3) * np.diagonal(gram, axis1=1, axis2=2)[:, None] + 1e-12 * np.eye(3)
        newton = -np.linalg.solve(gram, slopes @ moved[:, 0, :, None])[..., 0]
        # A step that did not help is halved and tried again from the best motion.
        steps = np.where(better[:, None], newton, steps / 2)
        trial = best + steps
    k = int(np.argmin(least))
    occupied = max(int(np.count_nonzero((new > 0) | (differences(best[k]) + new > 0))), 1)
    angle = float((best[k, 0] + np.pi) % (2 * np.pi) - np.pi)
    return Registration(angle, best[k, 1:], float(np.sqrt(least[k] / occupied)))


def _places() -> tuple[Array, Array]:
    """x [CELLS, 1] and y [1, CELLS] of the cells' middles about the map's centre, m."""
    middles = np.linspace(CELL / 2, SIDE - CELL / 2, CELLS, dtype=np.float64) - SIDE / 2
    return middles[:, None], middles[None, :]


def _turn(angle: float) -> Array:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])
