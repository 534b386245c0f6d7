"""Search for a first grasp of a new object: where old objects and the policy suggest it, and not where it failed.

Hidden is the grasp (place of the tool along x and z of the object's frame, finger force) that would lift the object.
Successful grasps of old objects and the policy's own proposals are the prior; what a trial felt is evidence: nothing
between the fingers makes places nearby unlikely, something held makes them likely, a grip that was lost rules out its
force there. The next trial goes where most probability is within reach: Bayesian search, as for a lost object
(B. O. Koopman, The Theory of Optimal Search, Operations Research 1957; L. D. Stone, Theory of Optimal Search, 1975).
Beyond Meta-Q-Learning, whose exploration is noise on the policy's actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.session import Session
from mql_ros.grasping import spaces
from mql_ros.grasping.reward import HELD_WIDTH, SUCCESS_RETURN, RewardConfig
from mql_ros.grasping.spaces import Phase
from mql_ros.grasping.types import Array

_TOOL = slice(spaces.OBSERVATION_NAMES.index("tool_x"), spaces.OBSERVATION_NAMES.index("tool_z") + 1)
_WIDTH = spaces.OBSERVATION_NAMES.index("finger_width")
FORCE = 2
"""Entry of CLOSE and LIFT actions that holds the finger force."""
_GRADES = RewardConfig()


@dataclass(frozen=True)
class GraspSearchConfig:
    """Settings of the search. Lengths in units of action entries: a place entry of 1 is 9 cm in x, 13.5 cm in z."""

    after_failures: int = 2
    """The policy alone, with exploration noise, tries so often before the search begins."""
    after_success: float = 0.8
    """Part of the trials after a first success that stay near what succeeded; the others follow the policy."""
    spread: tuple[float, float, float] = (0.30, 0.15, 0.35)
    """Standard deviation of the prior around the policy's proposal."""
    old_spread: tuple[float, float, float] = (0.15, 0.12, 0.20)
    """The same around each old grasp: how far a new object may lie from old ones."""
    reach: tuple[float, float, float] = (0.17, 0.20, 0.15)
    """How far off a grasp may be and still lift."""
    old_share: float = 0.5
    """Part of the prior that comes from old grasps."""
    trust: float = 0.9
    """Probability that a grasp with the right parameters succeeds."""
    false_touch: float = 0.1
    """How often something else than the right part of the object is between the fingers, relative to the right one."""
    particles: int = 1000
    candidates: int = 150


def successful_grasps(sessions: Iterable[Session]) -> Array:
    """[n, 3] the mean successful grasp of each session that has one: place and force in units of actions."""
    found = []
    for session in sessions:
        steps = np.arange(len(session.block)).reshape(-1, spaces.DECISIONS_PER_TRIAL)
        won = session.reward[steps].sum(axis=1) >= SUCCESS_RETURN
        if won.any():
            lifts = steps[won, Phase.LIFT]
            found.append([*session.observation[lifts, _TOOL].mean(axis=0), session.action[lifts, FORCE].mean()])
    return np.array(found, dtype=np.float64).reshape(-1, 3)


class GraspSearch:
    """Guides the exploration of one session on one object (a `mql_ros.algorithm.exploration.Guide`)."""

    def __init__(self, old_grasps: Array, seed: int, config: GraspSearchConfig | None = None) -> None:
        """`old_grasps` as from `successful_grasps`; raises ValueError when there is none."""
        if len(old_grasps) == 0:
            raise ValueError("No old grasp succeeded, so there is no prior to search by; explore by noise alone.")
        self._old, self._config = old_grasps, config or GraspSearchConfig()
        self._rng = np.random.default_rng([seed, 29])
        self._reach = np.array(self._config.reach)
        self._empty: list[Array] = []
        self._held: list[Array] = []
        self._lost: list[Array] = []
        self._won: list[Array] = []
        self._aim: Array | None = None
        """[3] what the present trial tries, None where it follows the policy."""
        self._total = 0.0

    def propose(self, observation: Array, policy_action: Array, action: Array) -> Array:
        """The action [4] to take: that of the policy with noise, `action`, with the search's entries in their places.

        `policy_action` [4] is that of the policy without noise, `observation` [15] what it saw.
        """
        phase = Phase(int(np.argmax(observation[:3])))
        if phase is Phase.PLACE:
            self._aim = self._choose_aim(policy_action) if self._searches() else None
        if self._aim is None:
            return action
        proposed = action.copy()
        if phase is Phase.PLACE:
            proposed[:2] = self._aim[:2]
        elif phase is Phase.CLOSE:
            # What the guard or the noise has left undone of the way, and the force for this place.
            here = observation[_TOOL]
            way = (self._aim[:2] - here) * (spaces.X_RANGE, spaces.Z_RANGE)
            proposed[:2] = spaces.action_for(correction=spaces.Place(*way.tolist()))[:2]
            self._aim[2] = proposed[FORCE] = self._choose_force(self._aim, float(policy_action[FORCE]))
        else:
            proposed[FORCE] = self._aim[2]
        return proposed

    def learn(self, action: Array, reward: float, next_observation: Array, done: bool) -> None:
        """Take in what came of an action [4]: its reward and the observation [15] that followed."""
        self._total += reward
        if not done and next_observation[Phase.LIFT] > 0.0:
            self._closed = np.array([*next_observation[_TOOL], action[FORCE]])
            self._holds = (next_observation[_WIDTH] + 1.0) * spaces.WIDTH_SCALE > HELD_WIDTH
            self._touched = reward > 0.5 * _GRADES.touch or reward < 0.5 * (_GRADES.touch + _GRADES.lost)
        if not done:
            return
        lifted = np.array([*self._closed[:2], action[FORCE]])
        if self._total >= SUCCESS_RETURN:
            self._won.append(lifted)
        elif self._holds:
            self._held.append(lifted)
            self._lost.append(lifted)
        elif self._touched:
            self._lost.append(self._closed)
        else:
            self._empty.append(self._closed)
        self._total = 0.0

    def _searches(self) -> bool:
        if self._won:
            return bool(self._rng.random() < self._config.after_success)
        return len(self._empty) + len(self._lost) >= self._config.after_failures

    def _choose_aim(self, policy_action: Array) -> Array:
        """The particle with most probability within reach."""
        config, rng, count = self._config, self._rng, self._config.particles
        old = self._old[rng.integers(len(self._old), size=count)] + rng.normal(size=(count, 3)) * config.old_spread
        points = old.copy()
        own = np.arange(count) >= round(config.old_share * count)
        # The policy's force is not known yet.
        points[own, :2] = policy_action[:2] + rng.normal(size=(int(own.sum()), 2)) * config.spread[:2]
        points = np.clip(points, -1.0, 1.0)
        weights = self._place_evidence(points) * self._force_evidence(points)
        drawn = rng.choice(count, size=config.candidates, p=weights / weights.sum())
        return points[drawn[np.argmax(self._near(points[drawn], points, 3) @ weights)]].copy()

    def _choose_force(self, aim: Array, proposed: float) -> float:
        config, rng, count = self._config, self._rng, self._config.candidates
        points = np.tile(aim, (2 * count, 1))
        points[:count, 2] = proposed + rng.normal(size=count) * config.spread[2]
        points[count:, 2] = self._old[rng.integers(len(self._old), size=count), 2]
        points[count:, 2] += rng.normal(size=count) * config.old_spread[2]
        points = np.clip(points, -1.0, 1.0)
        return float(points[np.argmax(self._near(points, points, 3) @ self._force_evidence(points)), 2])

    def _place_evidence(self, points: Array) -> Array:
        """Likelihood [n] of what was felt at the places tried, were the right grasp at each of the points [n, 3]."""
        likelihood = np.ones(len(points))
        if self._empty:
            likelihood *= np.prod(1.0 - self._config.trust * self._near(points, self._empty, 2), axis=1)
        if self._held:
            likelihood *= self._config.false_touch + self._near(points, self._held, 2).mean(axis=1)
        return likelihood

    def _force_evidence(self, points: Array) -> Array:
        """Likelihood [n] of what was lost and lifted."""
        likelihood = np.ones(len(points))
        if self._lost:
            likelihood *= np.prod(1.0 - self._config.trust * self._near(points, self._lost, 3), axis=1)
        if self._won:
            likelihood *= self._near(points, self._won, 3).sum(axis=1) + 1e-9
        return likelihood

    def _near(self, points: Array, others: list[Array] | Array, entries: int) -> NDArray[np.float64]:
        """[n, m] in (0, 1]: how well a grasp at one of `others` [m, 3] would do for an object that wants `points`."""
        away = (points[:, None, :entries] - np.asarray(others)[None, :, :entries]) / self._reach[:entries]
        return np.exp(-0.5 * np.square(away).sum(axis=-1))
