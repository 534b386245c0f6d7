"""Observation and action spaces of grasping: what the camera saw, what the arm felt, three decisions a trial."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.perception import height_map
from mql_ros.grasping.types import Array

TASK_NAME = "grasp-seen-1"
"""Name of task and spaces; a policy bundle for another one is refused. Change it when anything here changes."""


class Phase(IntEnum):
    """The three decisions of a trial, in order."""

    PLACE = 0
    """Move above a point of what was seen and descend with a heading, guarded by the contact force."""
    CLOSE = 1
    """Correct the place along and across the fingers and in height, then close with a force."""
    LIFT = 2
    """Lift with a force and a speed."""


DECISIONS_PER_TRIAL = len(Phase)
ACTION_NAMES = ("x", "y", "z", "yaw", "force", "speed")
"""PLACE reads x, y, z, yaw; CLOSE x (along the fingers), y (across them), z, force; LIFT force and speed."""
ACTION_SIZE = len(ACTION_NAMES)
FORCE = ACTION_NAMES.index("force")

VIEW_CELLS, CELL = height_map.CELLS, height_map.CELL
"""Cells of the height map along each side, and the side of one, m."""
VIEW_SIZE = VIEW_CELLS * VIEW_CELLS
VIEW_SCALE = 0.1
"""An entry of the view is a height over it, m."""

SIGNAL_NAMES = (
    "phase_place", "phase_close", "phase_lift",
    "tool_x", "tool_y", "tool_z", "tool_cos", "tool_sin",
    "finger_width", "effort_peak", "effort", "touch_width",
    "guard_stop", "contact_peak", "contact_x", "contact_y", "side_force",
    "weight", "lift_torque_x", "lift_torque_y", "last_force", "top",
)  # fmt: skip
"""Tool place relative to the view's centre, base axes; cos and sin of twice the heading; contact, side force and
torques along the tool's axes (x along the fingers' pads, y across them)."""
SIGNAL_SIZE = len(SIGNAL_NAMES)
SIGNAL = {name: number for number, name in enumerate(SIGNAL_NAMES)}
"""Index of each signal among the signals."""
OBSERVATION_SIZE = VIEW_SIZE + SIGNAL_SIZE
SIGNAL_LIMIT = 5.0
"""Signals are clipped to it, either way."""
PLACE_SCALE, HEIGHT_SCALE, WIDTH_SCALE = 0.05, 0.1, 0.04
WEIGHT_SCALE = 5.0
"""The signal `weight` is the force over it, N."""

REACH = 0.09
"""Largest distance of a grasp from the view's centre along x and y, m."""
Z_LOW, Z_HIGH = 0.005, 0.305
CORRECTION = 0.02
"""Largest correction of CLOSE along each axis, m."""
FORCE_LOW, FORCE_HIGH = 1.0, 40.0
SPEED_LOW, SPEED_HIGH = 0.12, 0.40
LIFT_SPEED = 0.2
"""Speed of those who do not choose one, m/s."""
LIFT_HEIGHT = 0.12


def view_entries(heights: NDArray[np.float32]) -> Array:
    """Entries [1024] for a height map [32, 32], m: whole millimetres, so that one byte holds a cell."""
    return np.clip(np.rint(heights.astype(np.float64) * 1000.0), 0.0, 255.0).ravel() / (1000.0 * VIEW_SCALE)


def heights_of(observation: Array) -> NDArray[np.float32]:
    """The height map [32, 32] (m) in an observation [O]."""
    cells = np.asarray(observation[:VIEW_SIZE]) * VIEW_SCALE
    return cells.reshape(VIEW_CELLS, VIEW_CELLS).astype(np.float32)


def grasp_action(x: float, y: float, z: float, yaw: float) -> Array:
    """The PLACE action [6] for a grasp point about the view's centre and above the table (m) and a heading (rad)."""
    turn = (yaw + np.pi / 2) % np.pi - np.pi / 2
    middle, half = 0.5 * (Z_LOW + Z_HIGH), 0.5 * (Z_HIGH - Z_LOW)
    action = np.array([x / REACH, y / REACH, (z - middle) / half, turn / (np.pi / 2), 0.0, 0.0])
    return np.clip(action, -1.0, 1.0)


def grasps_of(actions: Array) -> Array:
    """Grasps [..., 4] (x, y, z m and yaw rad about the view's centre) that PLACE actions [..., 6] ask for."""
    scale = np.array([REACH, REACH, 0.5 * (Z_HIGH - Z_LOW), np.pi / 2])
    return np.asarray(actions)[..., :4] * scale + np.array([0.0, 0.0, 0.5 * (Z_LOW + Z_HIGH), 0.0])


def closing_action(along: float, across: float, up: float, force: float) -> Array:
    """The CLOSE action [6] for a correction along the tool's axes and up (m) and a force (N)."""
    shift = np.array([along, across, up]) / CORRECTION
    return np.clip(np.array([*shift, 0.0, force_entry(force), 0.0]), -1.0, 1.0)


def lifting_action(force: float, speed: float) -> Array:
    """The LIFT action [6] for a force (N) and a speed (m/s)."""
    share = 2.0 * (speed - SPEED_LOW) / (SPEED_HIGH - SPEED_LOW) - 1.0
    return np.clip(np.array([0.0, 0.0, 0.0, 0.0, force_entry(force), share]), -1.0, 1.0)


def trial_actions(grasp: Array, force: float, deeper: float = 0.0) -> list[Array]:
    """The three actions [6] of a grasp [4] with a force (N), closing so much deeper (m)."""
    close, lift = closing_action(0.0, 0.0, -deeper, force), lifting_action(force, LIFT_SPEED)
    return [grasp_action(*(float(value) for value in grasp)), close, lift]


def phase_of(observation: Array) -> Phase:
    """The decision that comes next in an observation [O]."""
    return Phase(int(np.argmax(observation[VIEW_SIZE : VIEW_SIZE + len(Phase)])))


def force_entry(force: float) -> float:
    """The entry in [-1, 1] for a finger force, N."""
    return float(2.0 * np.log(force / FORCE_LOW) / np.log(FORCE_HIGH / FORCE_LOW) - 1.0)


def force_from_action(action: Array) -> float:
    """Finger force of a CLOSE or LIFT action, N (logarithmic between 1 and 40)."""
    return float(FORCE_LOW * (FORCE_HIGH / FORCE_LOW) ** (0.5 * (float(action[FORCE]) + 1.0)))


def speed_from_action(action: Array) -> float:
    """Lifting speed of a LIFT action, m/s."""
    return SPEED_LOW + (SPEED_HIGH - SPEED_LOW) * 0.5 * (float(action[5]) + 1.0)


def sanitized(action: Array) -> Array:
    """An action that may be executed: float64 [6], inside [-1, 1]; raises ValueError when it is not finite."""
    action = np.asarray(action, dtype=np.float64).reshape(ACTION_SIZE)
    if not np.isfinite(action).all():
        raise ValueError("the policy's action is not finite; nothing was sent to the arm")
    return np.clip(action, -1.0, 1.0)
