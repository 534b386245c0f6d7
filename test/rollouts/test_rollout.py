"""Sessions of trials in simulation: what they depend on, and what counts as a success."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from helpers.rollouts import WorkersHere

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.learning.baselines import Scripted
from mql_ros.grasping.learning.grasp_policy import grasp_learner
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.rollouts.rollout import run_session, successes
from mql_ros.rollouts.workers import Job, PolicyWeights
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session


@pytest.fixture(scope="module")
def task() -> GraspTask:
    workers = WorkersHere("panda", 1)
    assert workers.task is not None
    return workers.task


def session_of(task: GraspTask, name: str, seed: int, trials: int = 1) -> Session:
    session = run_session(task, thing_of_session(name, seed), seed, trials, Scripted(seed))
    assert session is not None
    return session


def test_a_session_does_not_depend_on_what_the_world_did_before(task: GraspTask) -> None:
    first = session_of(task, "random-003", 5)
    session_of(task, "random-100", 6)
    again = session_of(task, "random-003", 5)
    for field in fields(Session):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(again, field.name), err_msg=field.name)


def test_sessions_of_a_policy_come_in_the_order_of_the_jobs() -> None:
    policy = PolicyWeights.of(grasp_learner(GraspNetworkConfig(context_size=8)), 2)
    jobs = [Job("random-003", 5, 1), Job("random-100", 6, 1)]
    sessions = WorkersHere("panda", 1).run(jobs, policy)
    assert [session and session.task for session in sessions] == [job.object_name for job in jobs]


def test_a_trial_succeeds_by_its_own_rewards(task: GraspTask) -> None:
    session = session_of(task, "random-003", 5, trials=3)
    session.reward[:] = [0.0, 0.1, 0.8, 0.0, 0.1, -0.3, 0.1, 0.2, 0.7]
    assert successes(session).tolist() == [True, False, True]
