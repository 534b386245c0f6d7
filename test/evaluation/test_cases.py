"""The methods of `mql evaluate` in the simulator, with an untrained policy and few updates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.evaluation import OLD_OBJECTS, save_small_policy
from helpers.rollouts import WorkersHere

from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.evaluation import cases
from mql_ros.evaluation.cases import FIRST_TEST, Case, CaseRun, run_case
from mql_ros.evaluation.methods import METHODS
from mql_ros.rollouts.rollout import run_session
from mql_sim.environment import GraspTask

SETTINGS = load_adaptation(["new_updates=1", "recycling_updates=1", "batch_size=2", "pool_size=6"])


@pytest.fixture(scope="module")
def task() -> GraspTask:
    workers = WorkersHere("panda", 1)
    assert workers.task is not None
    return workers.task


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    bundle = str(save_small_policy(tmp_path_factory.mktemp("policy") / "bundle"))
    return Case(bundle, "random-900", 3, ("context",), 0, 2, SETTINGS, reference=bundle)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_tested_on_so_many_trials_after_so_many_new_ones(task: GraspTask, case: Case, method: str) -> None:
    found = run_case(task, replace(case, methods=(method,), new_trials=1, test_trials=1))
    assert np.shape(found[method]["successes"]) == (1, 1) and np.shape(found[method]["new"]) == (1,)
    adaptation = found[method]["adaptation"]
    assert (adaptation is None) == (method not in ("fine-tune", "uniform-replay", "replay-only", "unweighted",
                                                   "no-proximal", "mql"))  # fmt: skip
    assert set((adaptation or {}).get("mean_importance_ratio", ())) <= set(OLD_OBJECTS)


def test_every_method_meets_the_same_placements(task: GraspTask, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first_seen: list[np.ndarray] = []
    first_numbers: list[int] = []

    def watched(task: GraspTask, thing, seed: int, trials: int, agent, first_trial: int = 0):
        session = run_session(task, thing, seed, trials, agent, first_trial=first_trial)
        first_seen.append(session.observation[session.block == first_trial][0])
        first_numbers.append(first_trial)
        return session

    monkeypatch.setattr(cases, "run_session", watched)
    run_case(task, replace(case, methods=("context", "heuristic"), new_trials=1, test_trials=1))
    assert first_numbers == [0, FIRST_TEST, 0, FIRST_TEST]
    np.testing.assert_array_equal(first_seen[0], first_seen[2])
    np.testing.assert_array_equal(first_seen[1], first_seen[3])


def test_without_new_trials_there_is_nothing_to_adapt_to(task: GraspTask, case: Case) -> None:
    found = run_case(task, replace(case, methods=("context", "mql"), test_trials=1))
    assert found["mql"] == found["context"] and found["new"] == [] and found["mql"]["adaptation"] is None


def test_an_object_that_is_not_seen_fails_in_every_trial(
    task: GraspTask, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cases, "run_session", lambda *arguments, **more: None)
    found = run_case(task, replace(case, methods=("context", "mql"), new_trials=3))
    assert found["unseen"] and found["new"] == [False] * 3
    assert found["mql"]["successes"] == [[False, False]] and found["mql"]["adaptation"] is None


def test_a_seed_draws_the_hidden_properties_of_a_random_object(task: GraspTask, case: Case) -> None:
    masses = {CaseRun(task, replace(case, seed=seed)).thing.mass for seed in (0, 1)}
    assert len(masses) == 2
