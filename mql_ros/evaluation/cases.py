"""One case of an evaluation: an object and a seed, on which every method is tried in one process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, adapt
from mql_ros.algorithm.adaptation.config import ExplorationConfig
from mql_ros.algorithm.adaptation.exploration import HistoryLibrary
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session, joined
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.evaluation.methods import METHODS, PolicyUnderTest
from mql_ros.evaluation.suites import find_task
from mql_ros.grasping.learning.grasp_search import GraspSearch, successful_grasps
from mql_ros.grasping.learning.hindsight import labelled
from mql_ros.grasping.learning.symmetry import shifted_sessions
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.types import Array
from mql_ros.rollouts.rollout import PolicyAgent, run_session, successes
from mql_sim.environment import GraspTask


@dataclass(frozen=True)
class Case:
    """One object and seed, on which every method is tried."""

    bundle: str
    object_name: str
    """Name of an object or of a kind (`suites.find_task`)."""
    seed: int
    methods: tuple[str, ...]
    new_trials: int
    """Trials with exploration noise whose data the methods adapt on; every method carries their history on."""
    adaptations: int
    """The new trials are divided among so many adaptations; each begins with the meta-trained policy and takes all the
    data so far, and the policy that it makes explores next."""
    test_trials: int
    exploration: ExplorationConfig
    """How the new trials are explored."""
    adaptation: AdaptationConfig
    reference: str | None = None
    """Bundle of the method `reference`."""
    robot: str = "panda"
    """Name or file of the arm's profile."""


@lru_cache(maxsize=1)
def _bundle_and_replay(path: str) -> tuple[PolicyBundle, Callable[[], Replay]]:
    """A worker meets the same bundle in every case, and only reads its replay, which is made when first needed."""
    bundle = load_bundle(Path(path))
    return bundle, lru_cache(maxsize=1)(bundle.make_replay)


@lru_cache(maxsize=1)
def _library(path: str) -> HistoryLibrary:
    bundle, meta_replay = _bundle_and_replay(path)
    return HistoryLibrary(bundle.make_learner().encoder, meta_replay(), success_return=SUCCESS_RETURN)


@lru_cache(maxsize=1)
def _old_grasps(path: str) -> Array:
    return successful_grasps(_bundle_and_replay(path)[1]().sessions())


def run_case(task: GraspTask, case: Case) -> dict[str, Any]:
    """Return outcomes and adaptation by method, and under `new` the outcomes of the new trials.

    Each method has `successes` [tested objects][test trials] and `new` [new trials].
    """
    run = CaseRun(task, case)
    return {"new": _won(run.new_trials)} | {name: _outcome(run, METHODS[name].act(run)) for name in case.methods}


def _outcome(run: CaseRun, tested: PolicyUnderTest) -> dict[str, Any]:
    return {
        "successes": run.test(tested),
        "new": _won(tested.history),
        "adaptation": None if tested.adaptation is None else summary(tested.adaptation),
    }


class CaseRun:
    """One `Case`: its new trials, made once and alike for every method, and what methods build on them."""

    def __init__(self, task: GraspTask, case: Case) -> None:
        self.task, self.case = task, case
        self.bundle, self.meta_replay = _bundle_and_replay(case.bundle)
        self.new = find_task(case.object_name)
        self.base = zlib.crc32(case.object_name.encode()) % 1_000_000 * 1000 + 2 * case.seed
        self.library = _library(case.bundle) if case.exploration.recall > 0.0 and case.new_trials else None
        self.learner = self.bundle.make_learner()
        shares = case.adaptations if self.new.one_object else len(self.new.tried)
        self.parts = _parts(case.new_trials, shares)
        self.new_trials: list[Session] = []
        """What the meta-trained policy did in the new trials; one session a part."""
        for count in self.parts:
            self.new_trials.append(self._explore(self.learner, self.new_trials, count))

    def _explore(self, learner: TD3Learner, past: list[Session], trials: int) -> Session:
        """The next new trials: with one object the session goes on, with a kind its next member begins anew."""
        # The stream of the first part is that of a session in one part.
        seed = self.base + 7919 * len(past)
        guide = GraspSearch(_old_grasps(self.case.bundle), seed) if self.case.exploration.search else None
        history_blocks, exploration = self.bundle.history_blocks, self.case.exploration
        explorer = PolicyAgent(learner, history_blocks, exploration, seed, self.library, guide)
        if self.new.one_object:
            done = sum(len(part) for part in past) // spaces.DECISIONS_PER_TRIAL
            _remember(explorer, past)
            return run_session(self.task, self.new.tried[0], self.base, trials, explorer, first_trial=done)
        if guide is not None:
            for session in past:
                guide.remember_related(session)
        return run_session(self.task, self.new.tried[len(past)], seed, trials, explorer)

    def adapted(self, settings: AdaptationConfig) -> PolicyUnderTest:
        """Adapt with these settings as often as the case requires, each time with all the new trials so far."""
        # One object may be adapted to after each part; a kind is when all of its members have been tried.
        marks = range(1, len(self.parts) + 1) if self.new.one_object else [len(self.parts)] if self.parts else []
        acting, found = self.learner, None
        # What the policy before did first is the same for every method; each goes on with what it made of it.
        history = self.new_trials[: marks[0]] if marks else []
        for mark in marks:
            for count in self.parts[len(history) : mark]:
                history = [*history, self._explore(acting, history, count)]
            acting = self.bundle.make_learner()
            found = adapt(acting, self.meta_replay(), self.replay_of(history), settings, shifted_sessions)
        return PolicyUnderTest(acting, history, found)

    def test(self, tested: PolicyUnderTest) -> list[list[bool]]:
        """Outcomes [tested objects][test trials]; an object that was tried goes on with its history."""
        outcomes = []
        for number, spec in enumerate(self.new.tested):
            policy = PolicyAgent(tested.learner, self.bundle.history_blocks)
            if self.new.one_object:
                _remember(policy, tested.history)
            seed = self.base + 1 + 101 * number
            agent = tested.agent or policy
            outcomes.append(_won([run_session(self.task, spec, seed, self.case.test_trials, agent)]))
        return outcomes

    def sessions_of(self, parts: list[Session]) -> list[Session]:
        """New trials by session: parts with one object are one session, parts with several are one each."""
        return [joined(parts)] if parts and self.new.one_object else parts

    def replay_of(self, parts: list[Session]) -> Replay:
        """Replay of new trials, labelled."""
        sessions = [labelled(session) for session in self.sessions_of(parts)]
        return Replay.of(sessions, spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, self.bundle.history_blocks)


def _won(parts: list[Session]) -> list[bool]:
    return [bool(won) for part in parts for won in successes(part)]


def _parts(trials: int, adaptations: int) -> list[int]:
    """How many new trials come before each of the adaptations."""
    marks = [trials * number // adaptations for number in range(adaptations + 1)]
    return [last - first for first, last in pairwise(marks) if last > first]


def _remember(agent: PolicyAgent, history: list[Session]) -> None:
    for part in history:
        agent.remember(part)


def summary(found: Any) -> dict[str, Any]:
    """The figures of an adaptation as JSON."""
    names = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "parameter_distance", "seconds")
    figures = {name: float(getattr(found, name)) for name in names}
    return {k: v if np.isfinite(v) else None for k, v in figures.items()} | {
        "overlap": found.overlap,
        "new_transitions": found.new_transitions,
        "symmetry_sessions": found.symmetry_sessions,
        "mean_importance_ratio": {name: round(ratio, 5) for name, ratio in found.mean_importance_ratio.items()},
        "reasons": list(found.reasons),
    }
