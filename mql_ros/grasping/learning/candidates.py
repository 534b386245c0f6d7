"""Candidates for a grasp: places and headings at which the seen shape could lie between the fingers.

A grasp is x, y, z (m, about the view's centre and above the table) and a heading (rad) [4]. The tool points down: its
x axis runs along the pads, (cos, sin) of the heading in the base frame, and the fingers close along y, (sin, -cos).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.perception.height_map import CELL, CELLS, HeightMap, Heights, register, sample
from mql_ros.grasping.types import Array

LOWEST = 0.012
"""Least height of the tool above the table, m."""
ABOVE_TABLE = 0.006
"""Cells lower than this hold nothing, m."""
_ALONG = np.array([-0.008, 0.0, 0.008])
_ACROSS = np.arange(-0.056, 0.0561, 0.004)
_STEP = 0.004
_MIDDLE = len(_ACROSS) // 2
OPENING = 0.080
FITS = 0.066
"""Widest seen shape that a candidate closes on, m; the map blurs edges by a cell."""


def profiles(heights: Heights, grasps: Array) -> Array:
    """Greatest height [n, 29] (m) along lines across the fingers through grasps [n, 4]."""
    c, s = np.cos(grasps[:, 3])[:, None, None], np.sin(grasps[:, 3])[:, None, None]
    along, across = _ALONG[None, :, None], _ACROSS[None, None, :]
    x = grasps[:, 0, None, None] + c * along + s * across
    y = grasps[:, 1, None, None] + s * along - c * across
    return np.asarray(sample(heights, x, y).max(axis=1), dtype=np.float64)


def _between(profile: Array, grasps: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    """Occupied steps [n, 29], width (m) and middle (m across) of the shape that each grasp's centre lies in."""
    # At its lowest a pad also holds what rises less above the table than its middle.
    occupied = profile > np.where(grasps[:, 2:3] > LOWEST, grasps[:, 2:3] + 0.004, ABOVE_TABLE)
    end = np.zeros((len(grasps), 1), dtype=bool)
    right = np.argmin(np.concatenate([occupied[:, _MIDDLE:], end], axis=1), axis=1)
    left = np.argmin(np.concatenate([occupied[:, _MIDDLE::-1], end], axis=1), axis=1)
    return occupied, (right + left - 1) * _STEP, (right - left) * _STEP / 2


def antipodal(heights: Heights, rng: np.random.Generator, count: int = 400) -> tuple[Array, Array]:
    """Grasps [n, 4] that fit the seen shape between the fingers, the best first, and their scores [n]."""
    cells = np.argwhere(heights > ABOVE_TABLE)
    if len(cells) == 0:
        return np.zeros((0, 4)), np.zeros(0)
    drawn = cells[rng.integers(len(cells), size=count)]
    places = (drawn - CELLS / 2 + 0.5) * CELL + rng.uniform(-CELL / 2, CELL / 2, (count, 2))
    yaw = rng.uniform(-np.pi / 2, np.pi / 2, count)
    top = heights[drawn[:, 0], drawn[:, 1]]
    z = np.maximum(LOWEST, top - rng.choice([0.012, 0.02, 0.03, 0.04], count))
    grasps = np.column_stack([places, z, yaw])
    _, _, middle = _between(profiles(heights, grasps), grasps)
    grasps[:, 0] += np.sin(yaw) * middle
    grasps[:, 1] -= np.cos(yaw) * middle
    profile = profiles(heights, grasps)
    occupied, width, middle = _between(profile, grasps)
    fingers = (np.abs(_ACROSS) >= 0.039) & (np.abs(_ACROSS) <= 0.053)
    free = (profile[:, fingers] < grasps[:, 2:3] + 0.002).all(axis=1)
    valid = occupied[:, _MIDDLE] & (width <= FITS) & (width > 0.003) & free & (np.abs(middle) < 0.006)
    depth = np.where(occupied, profile, 0.0).max(axis=1) - grasps[:, 2]
    grasps, width, depth = grasps[valid], width[valid], depth[valid]
    away = np.hypot(grasps[:, 0], grasps[:, 1])
    score = -away / 0.03 + np.minimum(depth, 0.03) / 0.02 - width / 0.08 - 0.5 * (depth > 0.05)
    order = np.argsort(-score, kind="stable")
    return grasps[order], score[order]


def scattered(heights: Heights, rng: np.random.Generator, count: int) -> Array:
    """Grasps [count, 4] anywhere on the seen shape, with any heading."""
    cells = np.argwhere(heights > ABOVE_TABLE)
    if len(cells) == 0:
        cells = np.array([[CELLS // 2, CELLS // 2]])
    drawn = cells[rng.integers(len(cells), size=count)]
    places = (drawn - CELLS / 2 + 0.5) * CELL + rng.uniform(-0.012, 0.012, (count, 2))
    z = np.maximum(LOWEST, heights[drawn[:, 0], drawn[:, 1]] - rng.uniform(0.008, 0.045, count))
    return np.column_stack([places, z, rng.uniform(-np.pi / 2, np.pi / 2, count)])


def carried_over(grasp: Array, old: HeightMap | Heights, new: HeightMap | Heights) -> Array:
    """A grasp [4] on an old view, moved to where the same part lies in a new one."""
    found = register(_heights(old), _heights(new))
    place = found.move(grasp[:2])
    turn = (grasp[3] + found.angle + np.pi / 2) % np.pi - np.pi / 2
    return np.array([place[0], place[1], grasp[2], turn])


def _heights(view: HeightMap | Heights) -> Heights:
    return view.heights if isinstance(view, HeightMap) else view


def around(grasp: Array, rng: np.random.Generator, count: int) -> Array:
    """A grasp [4] and small variations of it [count, 4]."""
    spread = rng.normal(size=(count, 4)) * [0.003, 0.003, 0.003, 0.06]
    spread[0] = 0.0
    near = grasp + spread
    near[:, 2] = np.maximum(near[:, 2], LOWEST)
    return near


def top_below(heights: Heights, place: Array, yaw: float) -> float:
    """Greatest height (m above the table) that the open hand passes over at a place [2] (m) and heading (rad)."""
    along, across = np.meshgrid(np.linspace(-0.012, 0.012, 5), np.linspace(-0.055, 0.055, 23))
    c, s = np.cos(yaw), np.sin(yaw)
    return float(sample(heights, place[0] + c * along + s * across, place[1] + s * along - c * across).max())
