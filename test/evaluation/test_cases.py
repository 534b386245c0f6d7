"""The methods of `mql evaluate` in the simulator, with an untrained policy and few updates."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluation import OLD_OBJECTS, save_small_policy
from helpers.rollouts import WorkersHere

from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.core.resources import share_path
from mql_ros.evaluation import cases
from mql_ros.evaluation.cases import FIRST_TEST, Case, CaseRun, run_case
from mql_ros.evaluation.methods import METHODS
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import run_session
from mql_sim.environment import GraspTask

EXAMPLE = share_path("config", "objects", "example_bracket.obj")
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
    """What is seen and felt as each trial begins is the same for all of them, bit for bit."""
    begun: dict[int, list[np.ndarray]] = {}
    hidden = set()

    def watched(task: GraspTask, thing, seed: int, trials: int, agent, bench, first_trial: int, after_trial):
        session = run_session(task, thing, seed, trials, agent, bench, first_trial, after_trial)
        begun.setdefault(first_trial, []).append(session.observation[np.append(True, session.done[:-1])])
        hidden.add((thing.mass, thing.friction, thing.crush_force, *thing.center_of_mass))
        return session

    monkeypatch.setattr(cases, "run_session", watched)
    run_case(task, replace(case, methods=tuple(METHODS), new_trials=1, test_trials=2))
    assert len(begun[FIRST_TEST]) == len(METHODS) and len(hidden) == 1
    for seen in (*begun[0], *begun[FIRST_TEST]):
        first = begun[0 if len(seen) == 1 else FIRST_TEST][0]
        np.testing.assert_array_equal(seen, first)


def test_no_method_depends_on_those_before_it(task: GraspTask, case: Case) -> None:
    methods = ("oracle", "mql", "no-context", "context", "repeat")
    found = [
        run_case(task, replace(case, methods=order, new_trials=2, test_trials=2))
        for order in (methods, methods[::-1], methods[3:4])
    ]
    for other in found[1:]:
        for method in set(methods) & set(other):
            assert {k: other[method][k] for k in ("successes", "new")} == {
                k: found[0][method][k] for k in ("successes", "new")
            }


def test_the_simulator_judges_not_the_reward(task: GraspTask, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case = replace(case, object_name="can", methods=("oracle",), test_trials=3)
    found = run_case(task, case)
    assert found["oracle"]["successes"] == [[True] * 3]
    assert found["judged"] == {"trials": 3, "false_lifts": 0, "missed_lifts": 0}
    monkeypatch.setattr(GraspTask, "truly_lifted", False)
    found = run_case(task, case)
    assert found["oracle"]["successes"] == [[False] * 3]
    assert found["judged"] == {"trials": 3, "false_lifts": 3, "missed_lifts": 0}


def test_where_a_file_lies_does_not_matter(task: GraspTask, case: Case, tmp_path: Path) -> None:
    copy = tmp_path / "other.obj"
    shutil.copy(EXAMPLE, copy)
    runs = [CaseRun(task, replace(case, object_name=str(path))) for path in (EXAMPLE, copy)]
    assert runs[0].seed == runs[1].seed


def test_a_bench_changes_what_is_seen(task: GraspTask, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def watched(*arguments, **more):
        session = run_session(*arguments, **more)
        seen.append(session.observation[0, : spaces.VIEW_SIZE])
        return session

    monkeypatch.setattr(cases, "run_session", watched)
    for bench in ("usual", "usual", "noisy-depth", "miscalibrated"):
        run_case(task, replace(case, bench=bench, test_trials=1))
    np.testing.assert_array_equal(seen[0], seen[1])
    assert all((view != seen[0]).any() for view in seen[2:])


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
