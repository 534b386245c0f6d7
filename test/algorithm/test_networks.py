"""Shapes, ranges and the configuration of the networks."""

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, filled_replay, small_learner

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


@pytest.mark.parametrize("change", [dict(context_size=0), dict(hidden_sizes=()), dict(embedding_size=-1)])
def test_impossible_sizes_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        NetworkConfig(O, A, **change)


@pytest.mark.parametrize("embedding_size", [0, 8])
def test_the_recurrent_pass_by_hand_is_that_of_torch(embedding_size):
    encoder = small_learner(embedding_size=embedding_size).encoder
    items, lengths = torch.randn(9, 7, A + 1 + O + 1), torch.tensor([0, 7, 3, 1, 7, 0, 5, 2, 6])
    inputs = items if encoder.embedding is None else torch.tanh(encoder.embedding(items))
    expected = torch.cat([torch.zeros(9, 1, 6), encoder.gru(inputs)[0]], dim=1)
    asked = (torch.arange(8) <= lengths[:, None])[..., None]
    found, expected = (torch.where(asked, outputs, 0.0) for outputs in (encoder(items, lengths), expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    pull, parameters = torch.randn_like(found), list(encoder.parameters())
    gradients = [torch.autograd.grad((outputs * pull).sum(), parameters) for outputs in (found, expected)]
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    # All items are encoded where no lengths are given, none where every window is empty.
    torch.testing.assert_close(encoder(items), encoder(items, torch.full((9,), 7)), rtol=0, atol=0)
    assert torch.all(encoder(items, torch.zeros(9, dtype=torch.int64)) == 0.0)


def test_an_update_encodes_no_more_of_a_window_than_it_looks_up():
    learner = small_learner()
    batch = filled_replay().sample(12, np.random.default_rng(0))
    whole, seen = learner.encoder(batch.items), []
    learner.encoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[1]))
    context, after = learner.contexts(batch)
    assert torch.all(seen[0] <= batch.items.shape[1]) and torch.any(seen[0] < batch.items.shape[1])
    torch.testing.assert_close(context, whole[batch.row, batch.position])
    goes_on = batch.terminal == 0.0
    torch.testing.assert_close(after[goes_on], whole[batch.next_row, batch.next_position][goes_on])
