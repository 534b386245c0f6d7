"""One case of an evaluation: an object and a seed, on which every method is tried in one process.

The simulator judges a trial, not the reward: an object counts as lifted if it has risen and is clear of the table. No
agent is told. Where a policy remembers its successes, it goes by the reward, as on a real arm.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, AdaptationResult, adapt
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle
from mql_ros.algorithm.q_learning import QLearner
from mql_ros.evaluation.methods import METHODS
from mql_ros.evaluation.suites import identity
from mql_ros.grasping.learning.grasp_policy import grasp_learner_of
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import PolicyAgent, run_session, successes
from mql_sim.benches import BENCHES
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session

if TYPE_CHECKING:
    from mql_ros.rollouts.rollout import Agent

FIRST_TEST = 1000
"""Number of the first placement of the test trials, however many new trials went before."""


@dataclass(frozen=True)
class Case:
    """One object and seed, on which every method is tried."""

    bundle: str
    object_name: str
    """Name or file of the object; the seed draws the hidden properties of a random one."""
    seed: int
    methods: tuple[str, ...]
    new_trials: int
    """Trials before the test, which methods adapt on; every method goes on with what it experienced in them."""
    test_trials: int
    adaptation: AdaptationConfig
    reference: str | None = None
    """Bundle of the method `reference`."""
    robot: str = "panda"
    """Name or file of the arm's profile."""
    bench: str = "usual"
    """Name of the bench on which all trials take place."""


@lru_cache(maxsize=2)
def _bundle_and_replay(path: str) -> tuple[PolicyBundle, Callable[[], Replay]]:
    """A worker meets the same bundle in every case, and only reads its replay, which is made when first needed."""
    bundle = load_bundle(Path(path))
    return bundle, lru_cache(maxsize=1)(bundle.make_replay)


def run_case(task: GraspTask, case: Case) -> dict[str, Any]:
    """Return outcomes and adaptation by method, and under `new` the outcomes of the policy's new trials.

    Each method has `successes` [1][test trials] and `new` [new trials]. A session whose object does not come to rest in
    view counts as failures of every method, and `unseen` says so. `judged` counts the trials of all methods in which
    the reward saw a lift that was none (`false_lifts`) or missed one (`missed_lifts`).
    """
    run = CaseRun(task, case)
    results: dict[str, Any] = {"new": run.outcomes(run.new_trials, case.new_trials)}
    for name in case.methods:
        results[name] = run.test(METHODS[name].act(run))
    return results | {"unseen": run.unseen, "judged": run.judged}


@dataclass
class Trials:
    """A session, and the simulator's verdict on each of its trials."""

    session: Session
    lifted: list[bool] = field(default_factory=list)


@dataclass
class PolicyUnderTest:
    """Who acts in the test trials of a method."""

    agent: Agent
    new_trials: Trials | None
    """The new trials that the agent has experienced."""
    adaptation: AdaptationResult | None = None


class CaseRun:
    """One `Case`: its object, the policy's new trials, and what methods build on them.

    Every method sees the same placements, hidden properties and noise, in the new trials and in the test.
    """

    def __init__(self, task: GraspTask, case: Case) -> None:
        self.task, self.case = task, case
        self.bundle, self.meta_replay = _bundle_and_replay(case.bundle)
        self.seed = zlib.crc32(identity(case.object_name).encode()) % 1_000_000 * 1000 + case.seed
        self.thing = thing_of_session(case.object_name, self.seed)
        self.learner = grasp_learner_of(self.bundle)
        self.unseen = False
        self.judged = {"trials": 0, "false_lifts": 0, "missed_lifts": 0}
        self.new_trials = self.explore(self.policy(self.learner))

    def explore(self, agent: Agent) -> Trials | None:
        """The new trials of an agent."""
        return self._run(agent, self.case.new_trials, 0) if self.case.new_trials else None

    def _run(self, agent: Agent, trials: int, first_trial: int) -> Trials | None:
        """Trials of an agent from a placement on; None where the object does not come to rest in view."""
        lifted: list[bool] = []
        session = run_session(
            self.task, self.thing, self.seed, trials, agent, BENCHES[self.case.bench], first_trial,
            after_trial=lambda: lifted.append(self.task.truly_lifted),
        )  # fmt: skip
        if session is None:
            self.unseen = True
            return None
        rewarded = successes(session)
        self.judged["trials"] += trials
        self.judged["false_lifts"] += int(np.sum(rewarded & ~np.array(lifted)))
        self.judged["missed_lifts"] += int(np.sum(~rewarded & np.array(lifted)))
        return Trials(session, lifted)

    def policy(self, learner: QLearner) -> PolicyAgent:
        """The policy of a learner with an empty history."""
        return PolicyAgent(learner, self.bundle.history_blocks, self.seed)

    def going_on(self, learner: QLearner, adaptation: AdaptationResult | None = None) -> PolicyUnderTest:
        """The policy of a learner, which goes on with the new trials."""
        agent = self.policy(learner)
        if self.new_trials is not None:
            agent.remember(self.new_trials.session)
        return PolicyUnderTest(agent, self.new_trials, adaptation)

    def on_its_own(self, agent: Agent) -> PolicyUnderTest:
        """An agent that makes new trials of its own, at the same placements, and goes on."""
        return PolicyUnderTest(agent, self.explore(agent))

    def adapted(self, settings: AdaptationConfig) -> PolicyUnderTest:
        """The policy adapted on the new trials; without any it stays as it is."""
        learner = grasp_learner_of(self.bundle)
        if self.new_trials is None:
            return self.going_on(learner)
        sizes = spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, self.bundle.history_blocks, spaces.VIEW_SIZE
        found = adapt(learner, self.meta_replay(), Replay.of([self.new_trials.session], *sizes), settings)
        return self.going_on(learner, found)

    def test(self, acting: PolicyUnderTest) -> dict[str, Any]:
        """Outcomes of the test trials, those of the new ones, and the figures of an adaptation."""
        trials = self.case.test_trials
        return {
            "successes": [self.outcomes(self._run(acting.agent, trials, FIRST_TEST), trials)],
            "new": self.outcomes(acting.new_trials, self.case.new_trials),
            "adaptation": None if acting.adaptation is None else summary(acting.adaptation),
        }

    @staticmethod
    def outcomes(found: Trials | None, trials: int) -> list[bool]:
        """Success of each trial; a session that could not be run has none."""
        return [False] * trials if found is None else found.lifted


def summary(found: AdaptationResult) -> dict[str, Any]:
    """The figures of an adaptation as JSON."""
    names = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "parameter_distance", "seconds")
    figures = {name: float(getattr(found, name)) for name in names}
    return {k: v if np.isfinite(v) else None for k, v in figures.items()} | {
        "overlap": found.overlap,
        "new_transitions": found.new_transitions,
        "mean_importance_ratio": {name: round(ratio, 5) for name, ratio in found.mean_importance_ratio.items()},
        "reasons": list(found.reasons),
    }
