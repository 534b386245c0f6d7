"""An arm with other joints, topics and gripper messages, under the policy of a robot that its profile allows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from helpers.graph import Graph

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.rollouts.rollout import PolicyAgent, run_session
from mql_ros.ros.policies.policy_loading import check_bundle, load_policy
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session


def test_the_policy_of_a_panda_acts_on_a_ur5e_as_in_one_process(make_graph: Callable[..., Graph], bundle: Path) -> None:
    profile = load_profile("ur5e_hardware")
    with make_graph("ur5e", robot="ur5e_hardware", lockstep=True, object="mug", seed=3) as graph:
        transitions = graph.client.run_trials(2, new_session=True, seconds_per_trial=90)
        topics = (profile.topics.arm_command, profile.topics.gripper_command)
        assert all(graph.client.counts[topic] > 20 for topic in topics)
    robots = (profile.name, *profile.policies_from)
    policy, task = load_policy(check_bundle(bundle, *robots), *robots), GraspTask(profile)
    session = run_session(task, thing_of_session("mug", 3), 3, 2, PolicyAgent(policy.learner, policy.history_blocks))
    task.world.close()
    assert np.array_equal(np.array([t.action for t in transitions], dtype=np.float32), session.action)
    assert np.array_equal(np.array([t.observation for t in transitions], dtype=np.float32), session.observation)
