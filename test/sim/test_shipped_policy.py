"""The policy in models/: with the trials so far in mind it lifts development objects, without them it does not."""

from dataclasses import replace

import numpy as np
import pytest

from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.core.resources import share_path
from mql_ros.grasping.learning.grasp_policy import grasp_learner, grasp_learner_of
from mql_ros.rollouts.rollout import PolicyAgent, run_session
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import development_names, thing_of_session

TRIALS = 6


def lifts(task: GraspTask, agent: PolicyAgent, name: str, seed: int) -> list[bool]:
    """Whether each trial of a session has lifted the object."""
    found: list[bool] = []
    thing = thing_of_session(name, seed)
    run_session(task, thing, seed, TRIALS, agent, after_trial=lambda: found.append(task.truly_lifted))
    return found


@pytest.mark.slow
def test_the_shipped_policy_lifts_objects_from_what_it_felt_before(task: GraspTask) -> None:
    bundle = load_bundle(share_path("models", "grasp"))
    learner = grasp_learner_of(bundle)
    forgetful = grasp_learner(replace(learner.network_config, use_context=False))
    forgetful.load_state_dict(learner.state_dict())
    names = development_names()[:8]
    with_context, without = (
        np.array([lifts(task, PolicyAgent(one, bundle.history_blocks, k), name, k) for k, name in enumerate(names)])
        for one in (learner, forgetful)
    )
    late = with_context[:, 3:].mean()
    assert late > 0.7 and late > with_context[:, 0].mean()
    assert late > without[:, 3:].mean() + 0.2
