"""Observation and action spaces of the grasping task: three decisions a trial, blind to the object."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from mql_ros.grasping.types import Array

TASK_NAME = "grasp-3"
"""Name of task and spaces; a policy bundle for another one is refused. Change it when anything here changes."""


class Phase(IntEnum):
    """The three decisions of a trial, in order."""

    PLACE = 0
    """Move above a point of the object and descend, guarded by the contact force."""
    CLOSE = 1
    """Correct the place by up to 3 cm and close with a force."""
    LIFT = 2
    """Lift by 12 cm with a force and a speed."""


DECISIONS_PER_TRIAL = len(Phase)
ACTION_SIZE = 4
FORCE = 2
"""Entry of CLOSE and LIFT actions that holds the finger force."""
OBSERVATION_NAMES = (
    "phase_place", "phase_close", "phase_lift",
    "tool_x", "tool_z", "finger_width", "finger_effort", "guard_stop", "contact_peak", "contact_x",
    "object_height", "object_shift", "object_tilt", "lifted_weight", "last_force",
)  # fmt: skip
OBSERVATION_SIZE = len(OBSERVATION_NAMES)
OBSERVATION_LIMIT = 5.0
"""Entries are clipped to it, either way."""
TOOL = slice(OBSERVATION_NAMES.index("tool_x"), OBSERVATION_NAMES.index("tool_z") + 1)
"""Entries of an observation that hold the place of the tool."""

X_MIDDLE, X_RANGE = 0.04, 0.09
Z_MIDDLE, Z_RANGE = 0.150, 0.135
CORRECTION = 0.03
FORCE_LOW, FORCE_HIGH = 1.0, 40.0
SPEED_LOW, SPEED_HIGH = 0.12, 0.40
LIFT_HEIGHT = 0.12
SUCCESS_HEIGHT = 0.05
"""An object counts as lifted when it is this far above where it stood at the end of the trial, m."""


@dataclass(frozen=True)
class Place:
    """Where to put the tool in the object's frame, m."""

    x: float
    z: float


def place_from_action(action: Array) -> Place:
    """The grasp point in the object frame that a PLACE action [4] in [-1, 1] asks for."""
    return Place(X_MIDDLE + X_RANGE * float(action[0]), Z_MIDDLE + Z_RANGE * float(action[1]))


def correction_from_action(action: Array) -> Place:
    """The shift of the tool that a CLOSE action asks for, m."""
    return Place(CORRECTION * float(action[0]), CORRECTION * float(action[1]))


def force_from_action(action: Array) -> float:
    """Finger force of a CLOSE or LIFT action, N (logarithmic between 1 and 40)."""
    share = 0.5 * (float(action[2]) + 1.0)
    return float(FORCE_LOW * (FORCE_HIGH / FORCE_LOW) ** share)


def speed_from_action(action: Array) -> float:
    """Lifting speed of a LIFT action, m/s."""
    return SPEED_LOW + (SPEED_HIGH - SPEED_LOW) * 0.5 * (float(action[3]) + 1.0)


def action_for(
    *,
    place: Place | None = None,
    correction: Place | None = None,
    force: float | None = None,
    speed: float | None = None,
) -> Array:
    """The inverse of the functions above: an action [4] in [-1, 1], zero where nothing is asked for."""
    action = np.zeros(ACTION_SIZE)
    if place is not None:
        action[:2] = (place.x - X_MIDDLE) / X_RANGE, (place.z - Z_MIDDLE) / Z_RANGE
    if correction is not None:
        action[:2] = correction.x / CORRECTION, correction.z / CORRECTION
    if force is not None:
        action[2] = 2 * np.log(force / FORCE_LOW) / np.log(FORCE_HIGH / FORCE_LOW) - 1
    if speed is not None:
        action[3] = 2 * (speed - SPEED_LOW) / (SPEED_HIGH - SPEED_LOW) - 1
    return np.clip(action, -1.0, 1.0)


def sanitized(action: Array) -> Array:
    """An action that may be executed: float64 [4], inside [-1, 1]; raises ValueError when it is not finite."""
    action = np.asarray(action, dtype=np.float64).reshape(ACTION_SIZE)
    if not np.isfinite(action).all():
        raise ValueError("the policy's action is not finite; nothing was sent to the arm")
    return np.clip(action, -1.0, 1.0)


_HEIGHT = OBSERVATION_NAMES.index("object_height")
_WIDTH = OBSERVATION_NAMES.index("finger_width")
HEIGHT_SCALE = 0.1
WIDTH_SCALE = 0.04


def is_success(final_observation: Array) -> bool:
    """Whether the observation after the last decision of a trial shows the object held up."""
    lifted = final_observation[_HEIGHT] * HEIGHT_SCALE >= SUCCESS_HEIGHT
    return bool(lifted and (final_observation[_WIDTH] + 1) * WIDTH_SCALE > 0.003)
