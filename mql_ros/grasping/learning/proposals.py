"""Actions among which the policy chooses: grasps where the shape fits, corrections, forces, speeds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mql_ros.grasping.learning import candidates
from mql_ros.grasping.perception.height_map import Heights
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import Array

FORCES = 12
"""Forces among which the policy chooses."""
NEXT_FORCES = 8
"""Forces among which targets of the learning rule look for the best."""
CORRECTIONS = np.array(
    [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1], [0, 0, -2]], dtype=np.float64
) * (0.008 / spaces.CORRECTION)
"""Corrections [8, 3] of CLOSE, as entries of an action: none, and 8 mm along, across and up, 16 mm down."""
LIFTS = np.array([(change, speed) for change in (0.0, 0.15, -0.15) for speed in (-1.0, -0.3, 0.6)])
"""Changes of the force entry and speed entries of LIFT [9, 2]."""


def placing(heights: Heights, rng: np.random.Generator, fitting: int = 48, anywhere: int = 16) -> Array:
    """PLACE actions [n, 6]: the best fitting grasps, others that fit, and some anywhere."""
    grasps, _ = candidates.antipodal(heights, rng)
    if len(grasps) > fitting:
        rest = rng.choice(np.arange(fitting // 2, len(grasps)), fitting - fitting // 2, replace=False)
        grasps = np.concatenate([grasps[: fitting // 2], grasps[rest]])
    return placing_actions(np.concatenate([grasps, candidates.scattered(heights, rng, anywhere)]))


def placing_actions(grasps: Array) -> Array:
    """PLACE actions [n, 6] for grasps [n, 4]."""
    return np.stack([spaces.grasp_action(*grasp) for grasp in grasps])


def closing(forces: Array) -> Array:
    """CLOSE actions [8 * f, 6] for force entries [f]: every correction with every force."""
    actions = np.zeros((len(CORRECTIONS), len(forces), spaces.ACTION_SIZE))
    actions[..., :3] = CORRECTIONS[:, None]
    actions[..., spaces.FORCE] = forces
    return actions.reshape(-1, spaces.ACTION_SIZE)


def force_grid(shift: float = 0.0) -> Array:
    """Force entries [12] spread over the range, shifted by a part of their distance."""
    return np.clip(np.linspace(-1.0, 1.0, FORCES) + shift * 2.0 / (FORCES - 1), -1.0, 1.0)


def lifting(force: float) -> Array:
    """LIFT actions [9, 6] about the force entry of the grip."""
    actions = np.zeros((len(LIFTS), spaces.ACTION_SIZE))
    actions[:, spaces.FORCE] = np.clip(force + LIFTS[:, 0], -1.0, 1.0)
    actions[:, 5] = LIFTS[:, 1]
    return actions


def proposals(observation: Array, rng: np.random.Generator) -> Array:
    """Actions [n, 6] to choose from for an observation [O]."""
    phase = spaces.phase_of(observation)
    if phase is Phase.PLACE:
        return placing(spaces.heights_of(observation), rng)
    if phase is Phase.CLOSE:
        return closing(force_grid(rng.uniform(-0.5, 0.5)))
    return lifting(float(observation[spaces.VIEW_SIZE + spaces.SIGNAL["last_force"]]))


_CLOSING = torch.from_numpy(closing(np.linspace(-1.0, 1.0, NEXT_FORCES)).astype(np.float32))
_CLOSING = _CLOSING.reshape(len(CORRECTIONS), NEXT_FORCES, spaces.ACTION_SIZE)
_LIFTS = torch.from_numpy(LIFTS.astype(np.float32))


def next_closing(signals: Tensor) -> Tensor:
    """CLOSE actions [M, 8, 8, 6], a row for each correction, of which targets take the best after signals [M, S]."""
    return _CLOSING[None].expand(len(signals), -1, -1, -1)


def next_lifting(signals: Tensor) -> Tensor:
    """LIFT actions [M, 1, 9, 6] of which targets take the best, about the forces in signals [M, S]."""
    actions = signals.new_zeros(len(signals), 1, len(_LIFTS), spaces.ACTION_SIZE)
    force = signals[:, spaces.SIGNAL["last_force"], None, None]
    actions[..., spaces.FORCE] = (force + _LIFTS[:, 0]).clamp(-1.0, 1.0)
    actions[..., 5] = _LIFTS[:, 1]
    return actions
