"""The critic of the grasping policy: what it shares between actions is what it would compute for each alone."""

import numpy as np
import pytest
import torch

from mql_ros.grasping.learning import proposals
from mql_ros.grasping.learning.grasp_policy import grasp_learner
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.grasping.task import spaces


@pytest.mark.parametrize("phase", [1, 2])
def test_the_greatest_value_is_that_of_the_best_action_that_may_follow(phase):
    rng, learner = np.random.default_rng(0), grasp_learner(GraspNetworkConfig())
    observation = torch.from_numpy(rng.normal(size=(5, spaces.OBSERVATION_SIZE)).astype(np.float32))
    observation[:, spaces.VIEW_SIZE : spaces.VIEW_SIZE + 3] = torch.eye(3)[phase]
    context = torch.from_numpy(rng.normal(size=(5, learner.network_config.context_size)).astype(np.float32))
    propose = proposals.next_closing if phase == 1 else proposals.next_lifting
    actions = propose(observation[:, spaces.VIEW_SIZE :]).flatten(1, 2)
    with torch.no_grad():
        every = learner.critic(observation, context, actions).amin(dim=0).amax(dim=1)
        assert torch.allclose(learner.critic.greatest(observation, context), every, atol=1e-5)


def test_a_critic_without_context_does_not_read_it():
    rng = np.random.default_rng(1)
    learner = grasp_learner(GraspNetworkConfig(use_context=False))
    observation = torch.from_numpy(rng.normal(size=(2, spaces.OBSERVATION_SIZE)).astype(np.float32))
    action = torch.zeros(2, 3, spaces.ACTION_SIZE)
    contexts = [torch.full((2, learner.network_config.context_size), fill) for fill in (0.0, 1.0)]
    with torch.no_grad():
        one, other = (learner.critic(observation, context, action) for context in contexts)
    assert torch.equal(one, other)
