"""How a policy does on objects, with and without context and adaptation, on matched seeds and in one process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, AdaptationResult, ablations, adapt
from mql_ros.algorithm.adaptation.exploration import ExplorationConfig, HistoryLibrary
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.evaluation.from_scratch import FROM_SCRATCH_UPDATES, train_from_scratch
from mql_ros.grasping.learning.grasp_search import GraspSearch, successful_grasps
from mql_ros.grasping.learning.hindsight import mean_grasp, with_hindsight_labels
from mql_ros.grasping.learning.transport import transported
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.types import Array
from mql_ros.rollouts.rollout import Behaviour, PolicyBehaviour, Repeat, run_session, successes
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_task

ARMS = (
    "reference", "no-context", "context", "repeat", "fine-tune", "uniform-replay", "replay-only", "untransported",
    "unweighted", "mql", "from-scratch",
)  # fmt: skip
"""`reference`: another policy, not adapted; `no-context`: the actor with its context zeroed; `context`: no adaptation;
`repeat`: no learning, the mean of the new trials' successes over and over, the context's policy where there is none;
`from-scratch`: single-task TD3 on the new trials; the others: `adaptation.ablations`."""


@dataclass(frozen=True)
class Trial:
    """One object and seed, on which every arm is tried."""

    bundle: str
    object_name: str
    """Name of an object or of a kind (`mql_sim.objects.catalogue.find_task`)."""
    seed: int
    arms: tuple[str, ...]
    new_trials: int
    """Trials with exploration noise whose data the arms adapt on; every arm carries their history on."""
    adaptations: int
    """The new trials are divided among so many adaptations; each begins with the meta-trained policy and takes all the
    data so far, and the policy that it makes explores next."""
    test_trials: int
    exploration: ExplorationConfig
    """How the new trials are explored."""
    adaptation: AdaptationConfig
    reference: str | None = None
    """Bundle of the arm `reference`."""
    robot: str = "panda"
    """Name or file of the profile of the arm that tries."""


@lru_cache(maxsize=1)
def _bundle_and_replay(path: str) -> tuple[PolicyBundle, Callable[[], Replay]]:
    """A worker meets the same bundle in every trial, and only reads its replay, which is made when first needed."""
    bundle = load_bundle(Path(path))
    return bundle, lru_cache(maxsize=1)(bundle.make_replay)


@lru_cache(maxsize=1)
def _library(path: str) -> HistoryLibrary:
    bundle, meta_replay = _bundle_and_replay(path)
    return HistoryLibrary(bundle.make_learner().encoder, meta_replay(), success_return=SUCCESS_RETURN)


@lru_cache(maxsize=1)
def _old_grasps(path: str) -> Array:
    return successful_grasps(_bundle_and_replay(path)[1]().sessions())


def run_trial(task: GraspTask, trial: Trial) -> dict[str, Any]:
    """Success of each test trial with each tested object for each arm, and what each adaptation found."""
    return _Evaluation(task, trial).run()


class _Evaluation:
    """One `Trial`: the new trials once, then every arm."""

    def __init__(self, task: GraspTask, trial: Trial) -> None:
        self.task, self.trial = task, trial
        self.bundle, self.meta_replay = _bundle_and_replay(trial.bundle)
        self.new = find_task(trial.object_name)
        self.base = zlib.crc32(trial.object_name.encode()) % 1_000_000 * 1000 + 2 * trial.seed
        self.library = _library(trial.bundle) if trial.exploration.recall > 0.0 and trial.new_trials else None
        self.settings = ablations(trial.adaptation)
        self.learner = self.bundle.make_learner()
        shares = trial.adaptations if self.new.one_object else len(self.new.tried)
        self.parts = _parts(trial.new_trials, shares)
        self.untouched: list[Session] = []
        for count in self.parts:
            self.untouched.append(self._explore(self.learner, self.untouched, count))

    def run(self) -> dict[str, Any]:
        """The outcome of every arm by its name, and under `new` that of the new trials."""
        result: dict[str, Any] = {"new": _won(self.untouched)}
        for arm in self.trial.arms:
            acting, history, found, behaviour = self.learner, self.untouched, None, None
            if arm == "reference":
                assert self.trial.reference is not None
                acting = load_bundle(Path(self.trial.reference)).make_learner()
            elif arm == "no-context":
                acting = _without_context(self.learner)
            elif arm == "from-scratch":
                network, td3 = self.bundle.network_config, self.bundle.td3_config
                acting = train_from_scratch(network, td3, self._data(history), FROM_SCRATCH_UPDATES, self.base)
            elif arm == "repeat":
                grasp = mean_grasp(self._data(history).sessions())
                behaviour = None if grasp is None else Repeat(grasp)
            elif arm != "context":
                acting, history, found = self._adapted(self.settings[arm])
            result[arm] = {
                "successes": self._test(acting, history, behaviour),
                "new": _won(history),
                "adaptation": None if found is None else summary(found),
            }
        return result

    def _explore(self, learner: TD3Learner, past: list[Session], trials: int) -> Session:
        """The next new trials: with one object the session goes on, with a kind its next member begins anew."""
        # The stream of the first part is that of a session in one part.
        seed = self.base + 7919 * len(past)
        guide = GraspSearch(_old_grasps(self.trial.bundle), seed) if self.trial.exploration.search else None
        history_blocks, exploration = self.bundle.history_blocks, self.trial.exploration
        explorer = PolicyBehaviour(learner, history_blocks, exploration, seed, self.library, guide)
        if self.new.one_object:
            done = sum(len(part) for part in past) // spaces.DECISIONS_PER_TRIAL
            _remember(explorer, past)
            return run_session(self.task, self.new.tried[0], self.base, trials, explorer, first_trial=done)
        if guide is not None:
            for session in past:
                guide.remember_kin(session)
        return run_session(self.task, self.new.tried[len(past)], seed, trials, explorer)

    def _adapted(self, settings: AdaptationConfig) -> tuple[TD3Learner, list[Session], AdaptationResult | None]:
        """The adapted policy, the new trials that it goes by, and what the last adaptation found."""
        # One object may be adapted to after each part; a kind is when all of its members have been tried.
        marks = range(1, len(self.parts) + 1) if self.new.one_object else [len(self.parts)] if self.parts else []
        acting, found = self.learner, None
        # What the policy before did first is the same for every arm; each goes on with what it made of it.
        history = self.untouched[: marks[0]] if marks else []
        for mark in marks:
            for count in self.parts[len(history) : mark]:
                history = [*history, self._explore(acting, history, count)]
            acting = self.bundle.make_learner()
            found = adapt(acting, self.meta_replay(), self._data(history), settings, transported)
        return acting, history, found

    def _test(self, acting: TD3Learner, history: list[Session], behaviour: Behaviour | None) -> list[list[bool]]:
        """Of each tested object; one that was tried goes on with its history, another begins with an empty one."""
        outcomes = []
        for number, spec in enumerate(self.new.tested):
            policy = PolicyBehaviour(acting, self.bundle.history_blocks)
            if self.new.one_object:
                _remember(policy, history)
            seed = self.base + 1 + 101 * number
            outcomes.append(_won([run_session(self.task, spec, seed, self.trial.test_trials, behaviour or policy)]))
        return outcomes

    def _data(self, parts: list[Session]) -> Replay:
        """Parts with one object are one session, parts with several are one each; labelled."""
        size = max(1, sum(map(len, parts)))
        replay = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, self.bundle.history_blocks, capacity=size)
        identifier = -1
        for part in parts:
            if identifier >= 0 and self.new.one_object:
                replay.extend(identifier, part)
            else:
                identifier = replay.add(part)
        return with_hindsight_labels(replay)


def _won(parts: list[Session]) -> list[bool]:
    return [bool(won) for part in parts for won in successes(part)]


def _parts(trials: int, adaptations: int) -> list[int]:
    """How many new trials come before each of the adaptations."""
    marks = [trials * number // adaptations for number in range(adaptations + 1)]
    return [last - first for first, last in pairwise(marks) if last > first]


def _remember(behaviour: PolicyBehaviour, history: list[Session]) -> None:
    for part in history:
        behaviour.remember(part)


def summary(found: Any) -> dict[str, Any]:
    """The figures of an adaptation as JSON."""
    names = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "parameter_distance", "seconds")
    figures = {name: float(getattr(found, name)) for name in names}
    return {k: v if np.isfinite(v) else None for k, v in figures.items()} | {
        "overlap": found.overlap,
        "new_transitions": found.new_transitions,
        "rolled_back": found.rolled_back,
        "transported_sessions": found.transported_sessions,
        "mean_importance_ratio": {name: round(ratio, 5) for name, ratio in found.mean_importance_ratio.items()},
        "reasons": list(found.reasons),
    }


def _without_context(learner: TD3Learner) -> TD3Learner:
    config: NetworkConfig = replace(learner.network_config, use_context=False)
    blind = TD3Learner(config, learner.config)
    blind.load_state_dict(learner.state_dict())
    return blind
