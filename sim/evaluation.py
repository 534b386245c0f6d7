"""How a policy does on objects, with and without context and adaptation, on matched seeds and in one process."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.adaptation import AdaptationConfig, adapt, control_arms
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle
from mql_ros.algorithm.replay import Replay
from mql_ros.algorithm.session import Session
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.grasping import spaces
from mql_sim.catalogue import find_object
from mql_sim.environment import GraspTask
from mql_sim.rollout import PolicyBehaviour, run_session, successes

ARMS = ("no-context", "context", "fine-tune", "uniform-replay", "replay-only", "mql")
"""`no-context`: the actor with its context zeroed; `context`: no adaptation; the others: `adaptation.control_arms`."""


@dataclass(frozen=True)
class Trial:
    """One object and seed, on which every arm is tried."""

    bundle: str
    object_name: str
    seed: int
    arms: tuple[str, ...]
    new_trials: int
    """Trials with exploration noise whose data the arms adapt on; every arm carries their history on."""
    test_trials: int
    noise: float
    adaptation: AdaptationConfig


@lru_cache(maxsize=1)
def _bundle_and_replay(path: str) -> tuple[PolicyBundle, Callable[[], Replay]]:
    """A worker meets the same bundle in every trial, and only reads its replay, which is made when first needed."""
    bundle = load_bundle(Path(path))
    return bundle, lru_cache(maxsize=1)(bundle.make_replay)


def run_trial(task: GraspTask, trial: Trial) -> dict[str, Any]:
    """Success of each test trial for each arm, and what each adaptation found."""
    bundle, meta_replay = _bundle_and_replay(trial.bundle)
    learner = bundle.make_learner()
    spec = find_object(trial.object_name)
    base = zlib.crc32(trial.object_name.encode()) % 1_000_000 * 1000 + 2 * trial.seed
    history = None
    if trial.new_trials > 0:
        explorer = PolicyBehaviour(learner, bundle.history_blocks, trial.noise, base)
        history = run_session(task, spec, base, trial.new_trials, explorer)
    arms = control_arms(trial.adaptation)
    result: dict[str, Any] = {"new": [] if history is None else [bool(v) for v in successes(history)]}
    for arm in trial.arms:
        acting, found = learner, None
        if arm == "no-context":
            acting = _without_context(learner)
        elif arm != "context" and history is not None:
            acting = bundle.make_learner()
            found = adapt(acting, meta_replay(), _replay_of(history, bundle.history_blocks), arms[arm])
        behaviour = PolicyBehaviour(acting, bundle.history_blocks)
        if history is not None:
            behaviour.remember(history)
        won = successes(run_session(task, spec, base + 1, trial.test_trials, behaviour))
        result[arm] = {"successes": [bool(v) for v in won], "adaptation": None if found is None else summary(found)}
    return result


def summary(found: Any) -> dict[str, Any]:
    """The figures of an adaptation as JSON."""
    names = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "parameter_distance", "seconds")
    figures = {name: float(getattr(found, name)) for name in names}
    return {k: v if np.isfinite(v) else None for k, v in figures.items()} | {
        "overlap": found.overlap,
        "new_transitions": found.new_transitions,
        "reasons": list(found.reasons),
    }


def _without_context(learner: TD3Learner) -> TD3Learner:
    config: NetworkConfig = replace(learner.network_config, use_context=False)
    blind = TD3Learner(config, learner.config)
    blind.load_state_dict(learner.state_dict())
    return blind


def _replay_of(session: Session, history_blocks: int) -> Replay:
    replay = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, history_blocks, capacity=len(session))
    replay.add(session)
    return replay
