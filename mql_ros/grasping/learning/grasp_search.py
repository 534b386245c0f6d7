"""Search for a first grasp of a new object: where old objects and the policy suggest it, and not where it failed.

Hidden is the grasp (place of the tool along x and z of the object's frame, finger force) that would lift the object.
Prior: successful grasps of old objects, the policy's own proposals, and a little of everywhere. Evidence is what each
trial felt: nothing between the fingers speaks against places nearby, something held for them; what slipped wants more
force and what gave way less; where the guard stopped the descent, the object is in the way of everything below.
The next trial goes where most probability is within reach: Bayesian search, as for a lost object
(B. O. Koopman, The Theory of Optimal Search, Operations Research 1957; L. D. Stone, Theory of Optimal Search, 1975).
Beyond Meta-Q-Learning, whose exploration is noise on the policy's actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.learning.hindsight import successful_grasp
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import HELD_WIDTH, SUCCESS_RETURN, RewardConfig
from mql_ros.grasping.task.spaces import FORCE, Phase
from mql_ros.grasping.types import Array

_WIDTH = spaces.OBSERVATION_NAMES.index("finger_width")
_GUARD = spaces.OBSERVATION_NAMES.index("guard_stop")
_GRADES = RewardConfig()


class Felt(Enum):
    """How a trial ended, as far as it can be felt."""

    EMPTY = "the fingers met nothing"
    GAVE_WAY = "something was between the fingers and gave way as they closed"
    PRESSED = "something was touched before closing, then nothing was held: crushed, or only pressed from above"
    SLIPPED = "something was held and lost while lifting"
    LIFTED = "the object was lifted"


@dataclass(frozen=True)
class GraspSearchConfig:
    """Settings of the search. Lengths in units of action entries: a place entry of 1 is 9 cm in x, 13.5 cm in z."""

    after_failures: int = 2
    """The policy alone, with exploration noise, tries so often before the search begins."""
    share: float = 0.8
    """Part of the trials from then on that it leads; the others follow the policy, which has learned from them too."""
    spread: tuple[float, float, float] = (0.30, 0.15, 0.35)
    """Standard deviation of the prior around the policy's proposal."""
    old_spread: tuple[float, float, float] = (0.15, 0.12, 0.20)
    """The same around each old grasp: how far a new object may lie from old ones."""
    old_share: float = 0.5
    """Part of the prior that comes from old grasps."""
    related_share: float = 1.0
    """Weight of the successes with one object of the same kind, where that of all old grasps is 1."""
    anywhere_share: float = 0.1
    """Part of the prior that is even over all actions; the rest is around the policy's proposal."""
    reach: tuple[float, float] = (0.17, 0.20)
    """How far off in place a grasp may be and still hold."""
    window: float = 0.15
    """How far off the force may be, either way, before the object slips or gives way."""
    sharpness: float = 0.06
    """Width of these two edges."""
    trust: float = 0.9
    """Probability that a grasp at the right place feels as it should."""
    false_touch: float = 0.2
    """Probability of feeling something where the right part of the object is not."""
    particles: int = 1000
    candidates: int = 150


def successful_grasps(sessions: Iterable[Session]) -> Array:
    """[n, 3] the mean successful grasp of each session that has one: place and force in units of actions."""
    grasps = [grasp for session in sessions if (grasp := successful_grasp(session)) is not None]
    found = [[*grasp.tool, grasp.lifting[FORCE]] for grasp in grasps]
    return np.array(found, dtype=np.float64).reshape(-1, 3)


class GraspSearch:
    """Guides the exploration of one session on one object (a `mql_ros.algorithm.adaptation.exploration.Guide`)."""

    def __init__(self, old_grasps: Array, seed: int, config: GraspSearchConfig | None = None) -> None:
        """`old_grasps` as from `successful_grasps`; raises ValueError when there is none."""
        if len(old_grasps) == 0:
            raise ValueError("No old grasp succeeded, so there is no prior to search by; explore by noise alone.")
        self._old, self._config = old_grasps, config or GraspSearchConfig()
        self._knows_related, self._related_copies = False, max(1, round(self._config.related_share * len(old_grasps)))
        self._rng = np.random.default_rng([seed, 29])
        self._felt: list[tuple[Array, Felt]] = []
        """Each trial's grasp [3] and how it ended."""
        self._closed: Array = np.zeros(3)
        """Grasp of the present trial when the fingers had closed; whether something was held then, and else what."""
        self._holds, self._unheld = False, Felt.EMPTY
        self._stopped: list[Array] = []
        """[2] places where the guard stopped a descent."""
        self._aim: Array | None = None
        """[3] what the present trial tries, None where it follows the policy."""
        self._total = 0.0

    def remember_related(self, session: Session) -> None:
        """Take in, before the first trial, a session with another object of the same kind.

        Where it succeeded the prior follows it, and its failures are forgotten. Where it did not, they count as though
        they had been this object's. The search begins at once: related objects differ less than old ones do.
        """
        self._knows_related = True
        grasps = successful_grasps([session])
        if len(grasps):
            copies = np.repeat(grasps, self._related_copies, axis=0)
            self._old = np.concatenate([self._old, copies])
            return
        for row in range(len(session)):
            done = bool(session.done[row])
            self.learn(session.action[row], float(session.reward[row]), session.next_observation[row], done)

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
            here = observation[spaces.TOOL]
            way = (self._aim[:2] - here) * (spaces.X_RANGE, spaces.Z_RANGE)
            proposed[:2] = spaces.action_for(correction=spaces.Place(*way.tolist()))[:2]
            self._aim[2] = proposed[FORCE] = self._choose_force(self._aim, float(policy_action[FORCE]))
        else:
            proposed[FORCE] = self._aim[2]
        return proposed

    def learn(self, action: Array, reward: float, next_observation: Array, done: bool) -> None:
        """Take in what came of an action [4]: its reward and the observation [15] that followed."""
        self._total += reward
        if done:
            grasp = np.array([*self._closed[:2], action[FORCE]])
            if self._total >= SUCCESS_RETURN:
                self._felt.append((grasp, Felt.LIFTED))
            else:
                self._felt.append((grasp, Felt.SLIPPED) if self._holds else (self._closed, self._unheld))
            self._total = 0.0
        elif next_observation[Phase.CLOSE] > 0.0:
            if next_observation[_GUARD] > 0.0:
                self._stopped.append(np.array(next_observation[spaces.TOOL]))
        else:
            self._closed = np.array([*next_observation[spaces.TOOL], action[FORCE]])
            self._holds = (next_observation[_WIDTH] + 1.0) * spaces.WIDTH_SCALE > HELD_WIDTH
            lost = reward < 0.5 * (_GRADES.touch + _GRADES.lost)
            pressed = reward < 0.75 * _GRADES.lost - 0.25 * _GRADES.touch
            self._unheld = Felt.PRESSED if pressed else Felt.GAVE_WAY if lost else Felt.EMPTY

    def _searches(self) -> bool:
        lifted = any(felt is Felt.LIFTED for _, felt in self._felt)
        begins = lifted or self._knows_related or len(self._felt) >= self._config.after_failures
        return begins and bool(self._rng.random() < self._config.share)

    def _choose_aim(self, policy_action: Array) -> Array:
        """The particle with most probability within reach."""
        config, rng, count = self._config, self._rng, self._config.particles
        points = self._old[rng.integers(len(self._old), size=count)] + rng.normal(size=(count, 3)) * config.old_spread
        kind = np.arange(count) / count - config.old_share
        own, anywhere = kind >= config.anywhere_share, (kind >= 0.0) & (kind < config.anywhere_share)
        # The policy's force is not known yet.
        points[own, :2] = policy_action[:2] + rng.normal(size=(int(own.sum()), 2)) * config.spread[:2]
        points[anywhere, :2] = rng.uniform(-1.0, 1.0, size=(int(anywhere.sum()), 2))
        points = np.clip(points, -1.0, 1.0)
        weights = self._likelihood(points)
        drawn = rng.choice(count, size=config.candidates, p=weights / weights.sum())
        return points[drawn[np.argmax(self._lifts(points[drawn], points) @ weights)]].copy()

    def _choose_force(self, aim: Array, proposed: float) -> float:
        config, rng, count = self._config, self._rng, self._config.candidates
        points = np.tile(aim, (2 * count, 1))
        points[:count, 2] = proposed + rng.normal(size=count) * config.spread[2]
        points[count:, 2] = self._old[rng.integers(len(self._old), size=count), 2]
        points[count:, 2] += rng.normal(size=count) * config.old_spread[2]
        points = np.clip(points, -1.0, 1.0)
        return float(points[np.argmax(self._lifts(points, points) @ self._likelihood(points)), 2])

    def _likelihood(self, points: Array) -> NDArray[np.float64]:
        """[n] of all that was felt, were the right grasp at each of the points [n, 3]."""
        config, likelihood = self._config, np.ones(len(points))
        for grasp, felt in self._felt:
            near = self._near(points, grasp[None])[:, 0]
            slips, gives_way = self._edges(points[:, 2], grasp[2])
            there, elsewhere = {
                Felt.EMPTY: (np.zeros(len(points)), 1.0),
                Felt.GAVE_WAY: (gives_way, config.false_touch),
                Felt.PRESSED: (gives_way, 1.0),
                Felt.SLIPPED: (slips, config.false_touch),
                Felt.LIFTED: ((1.0 - slips) * (1.0 - gives_way), 1e-3),
            }[felt]
            there = config.trust * there + (1.0 - config.trust) * elsewhere
            likelihood *= near * there + (1.0 - near) * elsewhere
        for x, z in self._stopped:
            below = points[:, 1] < z - config.reach[1]
            likelihood *= 1.0 - config.trust * below * np.exp(-0.5 * np.square((points[:, 0] - x) / config.reach[0]))
        return likelihood

    def _lifts(self, grasps: Array, points: Array) -> NDArray[np.float64]:
        """[m, n] how likely each of the grasps [m, 3] lifts an object that wants each of the points [n, 3]."""
        slips, gives_way = self._edges(points[None, :, 2], grasps[:, None, 2])
        return self._near(points, grasps).T * (1.0 - slips) * (1.0 - gives_way)

    def _edges(self, wanted: Array, tried: Array) -> tuple[Array, Array]:
        """Probability that a force slips, and that it makes the object give way, where another is wanted."""
        config = self._config
        too_much = np.asarray(tried - wanted, dtype=np.float64)
        slips = 1.0 / (1.0 + np.exp((too_much + config.window) / config.sharpness))
        return slips, 1.0 / (1.0 + np.exp((config.window - too_much) / config.sharpness))

    def _near(self, points: Array, grasps: Array) -> NDArray[np.float64]:
        """[n, m] in (0, 1]: how well the places of grasps [m, 3] do for an object that wants each of the points."""
        away = (points[:, None, :2] - grasps[None, :, :2]) / self._config.reach
        return np.exp(-0.5 * np.square(away).sum(axis=-1))
