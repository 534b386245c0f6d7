"""Old sessions moved to where a new kind of object is grasped: what would have happened with an old object of its size.

Grasping knows symmetries. Had an object's neck been 4 cm higher, the same trial 4 cm higher would have felt the same;
had it been twice as heavy, the same trial with twice the force. So a session with an old object, whose successes tell
its grasp, is moved as a whole until that grasp is one that has succeeded with the new object, or near it. The moved
session still holds what its policy did not know at first and how it found out, which is what a policy for new objects
of the kind has to know, and what no few new trials show. Propensity then tells which of the moved sessions resemble the
new ones. Beyond Meta-Q-Learning, which recycles old data as they are: past the training range these say what to do
with other objects. Related work: experience relabelled by symmetry (Y. Lin et al., Invariant Transform Experience
Replay, IEEE Robotics and Automation Letters 2020).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session, taken
from mql_ros.grasping.learning.hindsight import labelled, successful_grasp, successful_trials
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import FORCE, Phase

_TOOL_X, _TOOL_Z, _EFFORT, _PEAK, _WEIGHT, _LAST_FORCE = (
    spaces.OBSERVATION_NAMES.index(name)
    for name in ("tool_x", "tool_z", "finger_effort", "contact_peak", "lifted_weight", "last_force")
)
_GUARD = spaces.OBSERVATION_NAMES.index("guard_stop")
LEAST_WEIGHT = 0.02
"""Lifted weights, in units of observations, are compared from here on."""
LEAST_TRIALS = 2
"""A session of which fewer trials can be moved shows nothing of how its policy found out."""


@dataclass(frozen=True)
class SymmetryConfig:
    """How far around the new successes old sessions are moved: standard deviations.

    Other objects of a kind differ from those tried. One new session alone is taken for one object that is wanted again,
    and old sessions are moved right there.
    """

    place: tuple[float, float] = (0.04, 0.30)
    """Of x and z in units of action entries: 4 mm and 4 cm."""
    force: float = 0.15
    """In units of action entries: a factor of 1.3."""
    weight: float = 0.2
    """Of the logarithm: a factor of 1.2."""


def shifted_sessions(
    old: Replay, new: Replay, count: int, rng: np.random.Generator, config: SymmetryConfig | None = None
) -> Replay | None:
    """Up to `count` old sessions, drawn evenly over tasks, moved to the new successes and labelled with their own.

    What cannot be moved is drawn again, so objects that are hard to move are rarer.

    None where no new trial succeeded, or no old session can be moved.
    """
    config = config or SymmetryConfig()
    tried = list(new.sessions())
    targets = [grasp for session in tried if (grasp := _grasp(session)) is not None]
    spread = np.array([*config.place, config.force, config.weight]) * (len(tried) > 1)
    sources: dict[str, list[tuple[Session, NDArray[np.float64]]]] = {}
    for session in old.sessions() if targets else ():
        if (grasp := _grasp(session)) is not None:
            sources.setdefault(session.task, []).append((session, grasp))
    moved: list[Session] = []
    names = sorted(sources)
    for _ in range(20 * count if names else 0):
        of_task = sources[names[rng.integers(len(names))]]
        session, grasp = of_task[rng.integers(len(of_task))]
        target = targets[rng.integers(len(targets))] + rng.normal(size=4) * spread
        target[:3] = np.clip(target[:3], -1.0, 1.0)
        there = move(session, target - grasp)
        if there is not None and successful_grasp(there) is not None:
            moved.append(labelled(there))
        if len(moved) == count:
            break
    return Replay.of(moved, *old.sizes) if moved else None


def move(session: Session, way: NDArray[np.float64]) -> Session | None:
    """The session with an object that differs by `way` [4]: x and z of its grasp and finger force, in units of action
    entries, and the logarithm of its weight. Trials whose actions would leave [-1, 1] are left out; None where fewer
    than two remain."""
    action, seen, after = session.action.copy(), session.observation.copy(), session.next_observation.copy()
    phase = seen[:, : len(Phase)].argmax(axis=1)
    action[phase == Phase.PLACE, :2] += way[:2]
    action[phase != Phase.PLACE, FORCE] += way[2]
    # Before a trial's first decision the tool is at home, and the fingers have not closed before its second is over.
    _move_observations(seen, way, placed=phase != Phase.PLACE, closed=phase == Phase.LIFT, lifted=phase < 0)
    _move_observations(after, way, placed=phase >= 0, closed=phase != Phase.PLACE, lifted=phase == Phase.LIFT)
    impossible = np.unique(session.block[np.abs(action).max(axis=1) > 1.0])
    rows = np.flatnonzero(~np.isin(session.block, impossible))
    if len(rows) < LEAST_TRIALS * spaces.DECISIONS_PER_TRIAL:
        return None
    there = replace(session, action=np.clip(action, -1.0, 1.0), observation=seen, next_observation=after)
    _, block = np.unique(session.block[rows], return_inverse=True)
    return taken(there, rows, block)


def _move_observations(
    seen: NDArray[np.float32], way: NDArray[np.float64], *, placed: NDArray, closed: NDArray, lifted: NDArray
) -> None:
    """In place, rows [n, O]: where the tool was placed, where the fingers had closed, where the arm had lifted."""
    force, weight = np.exp(0.5 * way[2] * np.log(spaces.FORCE_HIGH / spaces.FORCE_LOW)), np.exp(way[3])
    seen[placed, _TOOL_X] += way[0]
    seen[placed, _TOOL_Z] += way[1]
    seen[closed, _LAST_FORCE] += way[2]
    seen[closed, _EFFORT] = _scaled(seen[closed, _EFFORT], force)
    carries = lifted | (closed & (seen[:, _GUARD] == 0.0))  # else the tool had come down on something
    seen[carries, _PEAK] = _scaled(seen[carries, _PEAK], weight)
    seen[lifted, _WEIGHT] *= weight
    np.clip(seen, -spaces.OBSERVATION_LIMIT, spaces.OBSERVATION_LIMIT, out=seen)


def _scaled(value: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """A force of an observation, there log(1 + N) / 3, times a factor."""
    return np.log1p(factor * np.expm1(3.0 * value)) / 3.0


def _grasp(session: Session) -> NDArray[np.float64] | None:
    """[4] the mean of the session's successes, in the units of `move`; None where it has none."""
    grasp = successful_grasp(session)
    if grasp is None:
        return None
    lifts = successful_trials(session)[:, Phase.LIFT]
    weight = max(float(np.median(session.next_observation[lifts, _WEIGHT])), LEAST_WEIGHT)
    return np.array([*grasp.tool, grasp.lifting[FORCE], np.log(weight)], dtype=np.float64)
