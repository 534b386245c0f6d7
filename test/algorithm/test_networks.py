"""Shapes, ranges and the configuration of the networks."""

import pytest
import torch
from algorithm_cases import A, O, small_learner

from mql_ros.algorithm.networks import NetworkConfig


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("embedding_size", [0, 8])
def test_shapes_and_ranges(layer_norm, embedding_size):
    learner = small_learner(critic_layer_norm=layer_norm, embedding_size=embedding_size)
    outputs = learner.encoder(torch.randn(5, 7, A + 1 + O + 1))
    assert outputs.shape == (5, 8, 6)
    assert torch.all(outputs[:, 0] == 0.0)
    assert learner.encoder(torch.zeros(5, 0, A + 1 + O + 1)).shape == (5, 1, 6)
    observation = 100.0 * torch.randn(5, 8, O)
    action = learner.actor(observation, outputs)
    assert action.shape == (5, 8, A)
    assert action.abs().max() <= 1.0
    first, second = learner.critic(observation, outputs, action)
    assert first.shape == second.shape == (5, 8)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(learner.critic.first(observation, outputs, action), first)
    single, _ = learner.critic(observation[0, 0], outputs[0, 0], action[0, 0])
    torch.testing.assert_close(single, first[0, 0], rtol=1e-4, atol=1e-4)


def test_the_two_critics_share_nothing():
    learner = small_learner()
    first, _ = learner.critic(torch.randn(4, O), torch.randn(4, 6), torch.randn(4, A))
    first.sum().backward()
    for parameter in learner.critic.parameters():
        assert torch.all(parameter.grad[1] == 0.0)


def test_without_context_nothing_depends_on_it():
    learner = small_learner(use_context=False)
    observation, action = torch.randn(4, O), torch.randn(4, A)
    one, two = torch.randn(4, 6), torch.randn(4, 6)
    assert torch.equal(learner.actor(observation, one), learner.actor(observation, two))
    assert torch.equal(learner.critic(observation, one, action)[0], learner.critic(observation, two, action)[0])
    assert torch.all(learner.encoder(torch.randn(2, 3, A + 1 + O + 1)) == 0.0)


def test_dropout_is_active_only_with_a_generator():
    learner = small_learner(critic_dropout=0.5)
    inputs = torch.randn(4, O), torch.randn(4, 6), torch.randn(4, A)
    assert torch.equal(learner.critic(*inputs)[0], learner.critic(*inputs)[0])
    generator = torch.Generator().manual_seed(0)
    dropped = learner.critic(*inputs, generator)[0]
    assert not torch.equal(dropped, learner.critic(*inputs)[0])
    assert torch.equal(dropped, learner.critic(*inputs, generator.manual_seed(0))[0])


@pytest.mark.parametrize(
    "change", [dict(context_size=0), dict(hidden_sizes=()), dict(critic_dropout=1.0), dict(embedding_size=-1)]
)
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        NetworkConfig(O, A, **change)
