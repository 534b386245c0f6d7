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

from mql_ros.algorithm.adaptation import AdaptationConfig, adapt, control_arms
from mql_ros.algorithm.exploration import ExplorationConfig, HistoryLibrary
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle
from mql_ros.algorithm.replay import Replay
from mql_ros.algorithm.session import Session
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.grasping import spaces
from mql_ros.grasping.grasp_search import GraspSearch, successful_grasps
from mql_ros.grasping.hindsight import SuccessfulGrasp, successful_grasp, with_hindsight_labels
from mql_ros.grasping.reward import SUCCESS_RETURN
from mql_ros.grasping.types import Array
from mql_sim.catalogue import find_object
from mql_sim.environment import GraspTask
from mql_sim.from_scratch import FROM_SCRATCH_UPDATES, train_from_scratch
from mql_sim.rollout import Behaviour, PolicyBehaviour, Repeat, run_session, successes

ARMS = (
    "reference", "no-context", "context", "repeat", "fine-tune", "uniform-replay", "replay-only", "mql", "from-scratch",
)  # fmt: skip
"""`reference`: another policy, not adapted; `no-context`: the actor with its context zeroed; `context`: no adaptation;
`repeat`: no learning, the mean of the new trials' successes over and over, the context's policy where there is none;
`from-scratch`: single-task TD3 on the new trials; the others: `adaptation.control_arms`."""


@dataclass(frozen=True)
class Trial:
    """One object and seed, on which every arm is tried."""

    bundle: str
    object_name: str
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
    """Success of each test trial for each arm, and what each adaptation found."""
    bundle, meta_replay = _bundle_and_replay(trial.bundle)
    spec = find_object(trial.object_name)
    base = zlib.crc32(trial.object_name.encode()) % 1_000_000 * 1000 + 2 * trial.seed
    library = _library(trial.bundle) if trial.exploration.recall > 0.0 and trial.new_trials else None
    settings = control_arms(trial.adaptation)

    def explore(learner: TD3Learner, past: list[Session], trials: int) -> Session:
        done = sum(len(part) for part in past) // spaces.DECISIONS_PER_TRIAL
        # The stream of the first part is that of a session in one part.
        seed = base + 7919 * len(past)
        guide = GraspSearch(_old_grasps(trial.bundle), seed) if trial.exploration.search else None
        explorer = PolicyBehaviour(learner, bundle.history_blocks, trial.exploration, seed, library, guide)
        _remember(explorer, past)
        return run_session(task, spec, base, trials, explorer, first_trial=done)

    learner = bundle.make_learner()
    parts = _parts(trial.new_trials, trial.adaptations)
    untouched: list[Session] = []
    for count in parts:
        untouched.append(explore(learner, untouched, count))
    result: dict[str, Any] = {"new": [bool(v) for part in untouched for v in successes(part)]}
    for arm in trial.arms:
        acting, history, found = learner, untouched, None
        if arm == "reference":
            assert trial.reference is not None
            acting = load_bundle(Path(trial.reference)).make_learner()
        elif arm == "no-context":
            acting = _without_context(learner)
        elif arm == "from-scratch":
            nothing = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, bundle.history_blocks, capacity=1)
            own = _replay_of(untouched, bundle.history_blocks) if untouched else nothing
            acting = train_from_scratch(bundle.network_config, bundle.td3_config, own, FROM_SCRATCH_UPDATES, base)
        elif arm not in ("context", "repeat"):
            # What the policy before did first is the same for every arm; each goes on with what it made of it.
            history = untouched[:1]
            for number in range(len(parts)):
                if number:
                    history = [*history, explore(acting, history, parts[number])]
                acting = bundle.make_learner()
                found = adapt(acting, meta_replay(), _replay_of(history, bundle.history_blocks), settings[arm])
        policy = PolicyBehaviour(acting, bundle.history_blocks)
        _remember(policy, history)
        behaviour: Behaviour = policy
        if arm == "repeat" and untouched and (grasp := _what_succeeded(untouched, bundle.history_blocks)) is not None:
            behaviour = Repeat(grasp)
        won = successes(run_session(task, spec, base + 1, trial.test_trials, behaviour))
        result[arm] = {
            "successes": [bool(v) for v in won],
            "new": [bool(v) for part in history for v in successes(part)],
            "adaptation": None if found is None else summary(found),
        }
    return result


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
        "mean_importance_ratio": {name: round(ratio, 5) for name, ratio in found.mean_importance_ratio.items()},
        "reasons": list(found.reasons),
    }


def _without_context(learner: TD3Learner) -> TD3Learner:
    config: NetworkConfig = replace(learner.network_config, use_context=False)
    blind = TD3Learner(config, learner.config)
    blind.load_state_dict(learner.state_dict())
    return blind


def _what_succeeded(parts: list[Session], history_blocks: int) -> SuccessfulGrasp | None:
    return successful_grasp(next(iter(_replay_of(parts, history_blocks).sessions())))


def _replay_of(parts: list[Session], history_blocks: int) -> Replay:
    replay = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, history_blocks, capacity=sum(map(len, parts)))
    identifier = replay.add(parts[0])
    for part in parts[1:]:
        replay.extend(identifier, part)
    return with_hindsight_labels(replay)
