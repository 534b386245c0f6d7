"""The methods of `mql evaluate` in the simulator, with the shipped policy and few updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mql_ros.algorithm.adaptation.adapt import adapt
from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.evaluation import cases, methods
from mql_ros.evaluation.cases import Case, run_case
from mql_ros.evaluation.methods import METHODS, train_from_scratch
from mql_ros.evaluation.suites import find_task
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import Demonstrator, run_session
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object, training_names

BUNDLE = str(Path(__file__).resolve().parents[2] / "models" / "grasp")
SMALL = NetworkConfig(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, context_size=8, hidden_sizes=(32, 32))


@pytest.fixture(scope="module")
def task() -> Iterator[GraspTask]:
    made = GraspTask(load_profile("panda"))
    yield made
    made.world.close()


@pytest.fixture(scope="module")
def new(task: GraspTask) -> Replay:
    """Three trials of a scripted teacher."""
    spec = find_object("can")
    session = run_session(task, spec, 0, 3, Demonstrator(spec, lambda rng: spec, 0), with_teacher=True)
    replay = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, 2, capacity=len(session))
    replay.add(session)
    return replay


def weights(learner) -> list[torch.Tensor]:
    return [tensor for network in learner.networks.values() for tensor in network.state_dict().values()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def test_from_scratch_depends_on_the_new_trials_and_the_seed_alone(new: Replay) -> None:
    one, two, other = (train_from_scratch(SMALL, TD3Config(), new, 3, seed) for seed in (1, 1, 2))
    assert same(one, two)
    assert not same(one, other)
    # The bundle's own clone weight would make something else of it than TD3.
    imitating = TD3Config(clone_weight=5.0)
    assert same(one, train_from_scratch(SMALL, imitating, new, 3, 1))


def test_from_scratch_learns_the_value_of_its_trials(new: Replay) -> None:
    """The critics of many updates predict the rewards of the last decisions better than those of none."""
    batch = new.gather(new.transition_indices())
    last = batch.terminal > 0.0
    errors = []
    for updates in (0, 200):
        learner = train_from_scratch(SMALL, TD3Config(), new, updates, 1)
        with torch.no_grad():
            context, _ = learner.contexts(batch)
            value = learner.critic.first(batch.observation, context, batch.action)
        errors.append(float((value - batch.reward)[last].square().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_without_new_trials_the_networks_stay_untrained() -> None:
    empty = Replay(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, 2, capacity=1)
    assert same(*(train_from_scratch(SMALL, TD3Config(), empty, updates, 1) for updates in (0, 5)))


@pytest.mark.slow
def test_every_method_runs_and_fewer_new_trials_are_a_prefix_of_more(
    task: GraspTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "FROM_SCRATCH_UPDATES", 2)
    settings, exploration = load_adaptation(
        ["new_updates=1", "recycling_updates=1", "batch_blocks=8", "pool_blocks=50"]
    )
    case = Case(BUNDLE, "bottle", 3, tuple(METHODS), 2, 1, 1, exploration, settings, reference=BUNDLE)
    few = run_case(task, case)
    assert all(np.shape(few[method]["successes"]) == (1, 1) for method in METHODS)
    nothing = run_case(task, replace(case, new_trials=0, methods=("context", "mql", "from-scratch")))
    assert nothing["mql"] == nothing["context"], "nothing to adapt to"
    more = run_case(task, replace(case, new_trials=4, methods=("context",)))
    assert more["new"][:2] == few["new"] and len(more["new"]) == 4


@pytest.mark.slow
def test_of_a_kind_some_are_tried_and_others_tested(task: GraspTask, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[str, int]] = []
    remembered: list[str] = []

    def watched(task: GraspTask, spec, seed: int, trials: int, behaviour, **more):
        tried.append((spec.name, trials))
        session = run_session(task, spec, seed, trials, behaviour, **more)
        return Session(**{**vars(session), "reward": np.where(session.terminal, 0.9, session.reward)})

    def adapted(learner, meta, new: Replay, config, symmetry):
        remembered.extend(session.task for session in new.sessions())
        assert all(np.isfinite(session.teacher_action).all() for session in new.sessions()), "each has its own labels"
        return adapt(learner, meta, new, config, symmetry)

    monkeypatch.setattr(cases, "run_session", watched)
    monkeypatch.setattr(cases, "adapt", adapted)
    settings, exploration = load_adaptation(
        ["new_updates=1", "recycling_updates=1", "batch_blocks=8", "pool_blocks=50", "symmetry_sessions=20"]
    )
    kind = find_task("kind-0002")
    case = Case(BUNDLE, "kind-0002", 0, ("context", "repeat", "mql"), 5, 1, 2, exploration, settings)
    found = run_case(task, case)
    assert len(found["new"]) == 5
    assert tried[:4] == [(spec.name, count) for spec, count in zip(kind.tried, (1, 1, 1, 2), strict=True)]
    assert tried[4:] == [(spec.name, 2) for spec in kind.tested] * 3
    assert remembered == [spec.name for spec in kind.tried]
    for method in case.methods:
        assert np.shape(found[method]["successes"]) == (len(kind.tested), 2)
        assert found[method]["new"] == found["new"], "all methods share the new trials"
    assert set(found["mql"]["adaptation"]["mean_importance_ratio"]) <= set(training_names())
