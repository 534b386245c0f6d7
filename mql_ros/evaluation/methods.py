"""The methods that `mql evaluate` compares: `METHODS` maps a name to what the method acts with.

To add a method, write a function that takes a `CaseRun` and returns a `PolicyUnderTest`, and add one entry to
`METHODS`. An ablation of adaptation needs no function: add its settings to `ablations` (algorithm/adaptation/config.py)
and the entry `Method(ablation(NAME), ...)` here. The command line, the report and the figures take names, colours and
markers from `METHODS`; every marker is unique, so that a figure is readable without colours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mql_ros.algorithm.adaptation.config import ablations

if TYPE_CHECKING:  # a help text lists the methods, and torch takes seconds to import
    from mql_ros.algorithm.adaptation.adapt import AdaptationResult
    from mql_ros.algorithm.experience.replay import Replay
    from mql_ros.algorithm.experience.session import Session
    from mql_ros.algorithm.networks import NetworkConfig
    from mql_ros.algorithm.td3 import TD3Config, TD3Learner
    from mql_ros.evaluation.cases import CaseRun
    from mql_ros.rollouts.rollout import Agent

FROM_SCRATCH_UPDATES = 500
BATCH_BLOCKS = 64
"""Trials in a batch of `from-scratch`: 192 transitions."""


@dataclass(frozen=True)
class PolicyUnderTest:
    """What acts in the test trials of a method."""

    learner: TD3Learner
    history: list[Session]
    """New trials that the context begins with, one session a part."""
    adaptation: AdaptationResult | None = None
    """The last adaptation, or None without any."""
    agent: Agent | None = None
    """Acts in place of the learner's policy, or None."""


@dataclass(frozen=True)
class Method:
    """One method, and how figures draw it."""

    act: Callable[[CaseRun], PolicyUnderTest]
    color: str
    marker: str


def reference(run: CaseRun) -> PolicyUnderTest:
    """Another policy, given as `Case.reference` and not adapted."""
    from mql_ros.algorithm.policy_bundle import load_bundle

    assert run.case.reference is not None
    return PolicyUnderTest(load_bundle(Path(run.case.reference)).make_learner(), run.new_trials)


def no_context(run: CaseRun) -> PolicyUnderTest:
    """The meta-trained actor with its context zeroed."""
    from mql_ros.algorithm.td3 import TD3Learner

    blind = TD3Learner(replace(run.learner.network_config, use_context=False), run.learner.config)
    blind.load_state_dict(run.learner.state_dict())
    return PolicyUnderTest(blind, run.new_trials)


def context(run: CaseRun) -> PolicyUnderTest:
    """The meta-trained policy with context, without adaptation."""
    return PolicyUnderTest(run.learner, run.new_trials)


def repeat(run: CaseRun) -> PolicyUnderTest:
    """The mean of the new trials' successes over and over; the context's policy if nothing succeeded."""
    from mql_ros.grasping.learning.hindsight import mean_grasp
    from mql_ros.rollouts.rollout import Repeat

    grasp = mean_grasp(run.sessions_of(run.new_trials))
    return PolicyUnderTest(run.learner, run.new_trials, agent=None if grasp is None else Repeat(grasp))


def ablation(name: str) -> Callable[[CaseRun], PolicyUnderTest]:
    """Adaptation with the settings of this ablation."""
    return lambda run: run.adapted(ablations(run.case.adaptation)[name])


def from_scratch(run: CaseRun) -> PolicyUnderTest:
    """Single-task TD3 with fresh networks, on the new trials alone."""
    network, td3, new = run.bundle.network_config, run.bundle.td3_config, run.replay_of(run.new_trials)
    return PolicyUnderTest(train_from_scratch(network, td3, new, FROM_SCRATCH_UPDATES, run.base), run.new_trials)


def train_from_scratch(network: NetworkConfig, td3: TD3Config, new: Replay, updates: int, seed: int) -> TD3Learner:
    """Single-task TD3: networks initialised from `seed`, then `updates` updates on the trials in `new`.

    Plain TD3, so without context (with one task there is none to infer) and without imitating anybody; `network` gives
    the sizes of actor and critics, `td3` the rest of the settings. Without any new trial the networks stay untrained.
    """
    from mql_ros.algorithm.td3 import TD3Learner

    plain = replace(td3, clone_weight=0.0)
    learner = TD3Learner(replace(network, use_context=False), plain, seed=seed)
    rng = np.random.default_rng([seed, 41])
    for _ in range(updates if len(new) else 0):
        learner.update(new.sample(BATCH_BLOCKS, rng))
    return learner


METHODS = {
    "reference": Method(reference, "#444444", "P"),
    "no-context": Method(no_context, "#8a8f98", "v"),
    "context": Method(context, "#0072b2", "o"),
    "repeat": Method(repeat, "#009e73", "p"),
    "fine-tune": Method(ablation("fine-tune"), "#e69f00", "s"),
    "uniform-replay": Method(ablation("uniform-replay"), "#56b4e9", "^"),
    "replay-only": Method(ablation("replay-only"), "#cc79a7", "*"),
    "no-symmetry": Method(ablation("no-symmetry"), "#f0a884", "h"),
    "unweighted": Method(ablation("unweighted"), "#f0e442", "<"),
    "mql": Method(ablation("mql"), "#d55e00", "D"),
    "from-scratch": Method(from_scratch, "#000000", "X"),
}
"""All methods by name. Colours that colour-blind people can distinguish (Okabe and Ito 2008)."""
