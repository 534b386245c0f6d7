"""The grasping policy: proposed actions, judged by the critic with what was seen, felt and remembered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.policy_bundle import PolicyBundle
from mql_ros.algorithm.q_learning import QLearner, QLearningConfig
from mql_ros.grasping.learning import candidates, proposals
from mql_ros.grasping.learning.networks import GraspCritic, GraspEncoder, GraspNetworkConfig
from mql_ros.grasping.perception.height_map import Heights
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import Array

COPIES = 5
"""Variations of a grasp that succeeded which are proposed again."""
REMEMBERED = 2
"""The latest successes that are carried over to a new view."""


@dataclass(frozen=True)
class Exploration:
    """How trials are explored."""

    share: float = 0.0
    """Probability that a decision is not the best one."""
    uniform: float = 0.4
    """Of these, the part drawn evenly from the proposals; the others are drawn by value."""
    temperature: float = 0.15
    """Of the values in draws by value (Gumbel noise is added to value / temperature)."""


NO_EXPLORATION = Exploration()


@dataclass(frozen=True)
class Choice:
    """What was decided between, for reports."""

    actions: Array
    """Proposed actions [K, A]."""
    values: Array
    """Their values [K]."""
    chosen: int


def grasp_learner(
    network: GraspNetworkConfig, config: QLearningConfig | None = None, seed: int = 0, device: str = "cpu"
) -> QLearner:
    """A learner with fresh networks of the grasping task."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, critic = GraspEncoder(network), GraspCritic(network)
    return QLearner(network, encoder, critic, config, seed, device)


def grasp_learner_of(bundle: PolicyBundle, device: str = "cpu") -> QLearner:
    """The grasping policy that was saved. Raises UserError where the bundle holds none, or is damaged."""
    network = bundle.configuration("network", GraspNetworkConfig)
    return bundle.restore(grasp_learner(network, bundle.configuration("learning", QLearningConfig), device=device))


class GraspPolicy:
    """Acts in one session, an observation at a time; remembers where grasps succeeded on the object.

    The same calls with the same seed give the same bits.
    """

    def __init__(self, learner: QLearner, seed: int = 0, exploration: Exploration | None = None) -> None:
        self.learner = learner
        self.exploration = exploration or NO_EXPLORATION
        self.choice: Choice | None = None
        """The latest decision."""
        self._rng = np.random.default_rng([seed, 61])
        self._won: list[tuple[Heights, Array]] = []
        self._total = 0.0
        self._grasp: Array | None = None

    def act(self, observation: Array, context: NDArray[np.float32]) -> Array:
        """The action [A] for an observation [O] and a context [C]."""
        rng, exploration = self._rng, self.exploration
        actions = np.asarray(self.learner.critic.propose(observation, rng))
        if spaces.phase_of(observation) is Phase.PLACE:
            self._view = spaces.heights_of(observation)
            if self._won:
                actions = np.concatenate([actions, proposals.placing_actions(self._copies())])
        actions = actions.astype(np.float32).astype(np.float64)
        _, values = self.learner.choose(observation, context, actions)
        best = int(np.argmax(values))
        if exploration.share > 0.0 and rng.random() < exploration.share:
            if rng.random() < exploration.uniform:
                best = int(rng.integers(len(actions)))
            else:
                best = int(np.argmax(values / exploration.temperature + rng.gumbel(size=len(values))))
        self.choice = Choice(actions, values.astype(np.float64), best)
        return np.asarray(actions[best])

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Remember where the fingers were [A] if the trial succeeded."""
        self._total += reward
        if spaces.phase_of(observation) is Phase.CLOSE:  # what was placed: CLOSE comes next
            self._grasp = spaces.grasps_of(action)
        if done:
            if self._total >= SUCCESS_RETURN and self._grasp is not None:
                self._won = [*self._won, (spaces.heights_of(observation), self._grasp)][-REMEMBERED:]
            self._total, self._grasp = 0.0, None

    def _copies(self) -> Array:
        found = [candidates.carried_over(grasp, view, self._view) for view, grasp in self._won]
        return np.concatenate([candidates.around(grasp, self._rng, COPIES) for grasp in found])
