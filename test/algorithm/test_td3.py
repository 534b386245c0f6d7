"""The update rule: what it learns, what it touches, and that it repeats."""

import numpy as np
import pytest
import torch
from helpers.algorithm import (
    assert_same_state,
    filled_replay,
    make_session,
    small_learner,
    toy_learner,
    toy_replay,
    toy_score,
)

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.td3 import Proximal, TD3Config, actor_loss, critic_loss, td_target


def train(learner, replay, updates, seed=0, blocks=16):
    rng = np.random.default_rng(seed)
    for _ in range(updates):
        learner.update(replay.sample(blocks, rng))
    return rng


@pytest.mark.slow
def test_solves_a_task_whose_optimum_is_hidden_and_only_with_context():
    replay = toy_replay()
    scores = {}
    for use_context in (True, False):
        learner = toy_learner(use_context)
        train(learner, replay, 300, blocks=32)
        scores[use_context] = toy_score(learner)
    # Knowing the hidden number is worth 1; the best constant action is worth 1 - 0.7^2 = 0.51.
    assert scores[True] > 0.85
    assert scores[False] < 0.6


def test_two_trainings_with_one_seed_are_bitwise_equal():
    learners = [small_learner(seed=3) for _ in range(2)]
    for learner in learners:
        train(learner, filled_replay(), 12)
    assert_same_state(learners[0].state_dict(), learners[1].state_dict())
    other = small_learner(seed=4)
    assert not torch.equal(other.actor.layers[0].weight, small_learner(seed=3).actor.layers[0].weight)


def test_a_resumed_training_equals_an_uninterrupted_one():
    replay = filled_replay()
    whole = small_learner()
    train(whole, replay, 11, seed=0)
    first = small_learner()
    rng = train(first, replay, 5, seed=0)
    resumed = small_learner(seed=99)
    resumed.load_state_dict(first.state_dict())
    for _ in range(6):
        resumed.update(replay.sample(16, rng))
    assert_same_state(whole.state_dict(), resumed.state_dict())


def test_a_saved_state_does_not_change_with_the_learner():
    learner, replay = small_learner(), filled_replay()
    train(learner, replay, 3)
    state = learner.state_dict()
    other = small_learner(seed=8)
    other.load_state_dict(state)
    train(learner, replay, 3)
    train(other, replay, 3)
    again = small_learner(seed=9)
    again.load_state_dict(state)
    train(again, replay, 3)
    assert_same_state(other.state_dict(), again.state_dict())


def test_target_is_the_published_formula():
    learner, replay = small_learner(), filled_replay()
    batch = replay.sample(8, np.random.default_rng(0))
    context, noise = torch.randn(len(batch), 6), 10.0 * torch.randn(batch.action.shape)
    target = td_target(learner.actor_target, learner.critic_target, batch, context, noise, TD3Config(discount=0.9))
    action = learner.actor(batch.next_observation, context)
    action = (action + (0.2 * noise).clamp(-0.5, 0.5)).clamp(-1, 1)
    first, second = learner.critic(batch.next_observation, context, action)
    expected = batch.reward + 0.9 * (1 - batch.terminal) * torch.minimum(first, second)
    torch.testing.assert_close(target, expected)
    assert not target.requires_grad


def test_time_limits_are_bootstrapped_and_true_ends_are_not():
    rng = np.random.default_rng(0)
    replay = Replay(3, 2, 1)
    replay.add(make_session(rng, steps=40))
    batch = replay.gather(replay.transition_indices())
    learner = small_learner()
    context, noise = torch.zeros(len(batch), 6), torch.zeros_like(batch.action)
    target = td_target(learner.actor_target, learner.critic_target, batch, context, noise, TD3Config())
    ended, went_on = batch.terminal > 0, batch.terminal == 0
    assert torch.equal(target[ended], batch.reward[ended])
    assert torch.all(target[went_on] != batch.reward[went_on])


def test_actor_value_term_trains_neither_encoder_nor_critics():
    learner, replay = small_learner(td3=TD3Config(policy_delay=1)), filled_replay()
    batch = replay.sample(8, np.random.default_rng(0))
    context, _ = learner.contexts(batch)
    loss, _ = actor_loss(learner.actor, learner.critic, batch, context)
    gradients = torch.autograd.grad(loss, list(learner.encoder.parameters()), allow_unused=True)
    assert all(gradient is None for gradient in gradients)
    before = learner.state_dict()
    for group in learner.critic_optimizer.param_groups:
        group["lr"] = 0.0
    learner.update(batch)
    assert not torch.equal(before["actor"]["layers.0.weight"], learner.actor.layers[0].weight)
    for name in ("critic", "encoder"):
        assert_same_state(before[name], dict(getattr(learner, name).state_dict()))


def test_weights_scale_each_transition_in_both_losses():
    learner, replay = small_learner(), filled_replay()
    batch = replay.sample(8, np.random.default_rng(0))
    context, _ = learner.contexts(batch)
    target = torch.randn(len(batch))
    for loss_of in (
        lambda: critic_loss(learner.critic, batch, context, target)[0],
        lambda: actor_loss(learner.actor, learner.critic, batch, context)[0],
    ):
        batch.weight = torch.zeros(len(batch))
        assert loss_of().detach() == 0.0
        parts = []
        for half in (batch.index % 2 == 0, batch.index % 2 == 1):
            batch.weight = half.float()
            parts.append(loss_of())
        batch.weight = torch.ones(len(batch))
        torch.testing.assert_close(parts[0] + parts[1], loss_of())


def test_actor_and_targets_follow_every_second_update():
    learner, replay = small_learner(), filled_replay()
    rng = np.random.default_rng(0)
    before = learner.state_dict()
    learner.update(replay.sample(8, rng))
    for name in ("actor", "actor_target", "critic_target"):
        assert_same_state(before[name], dict(getattr(learner, name).state_dict()))
    learner.update(replay.sample(8, rng))
    for name in ("critic", "actor"):
        for key, old in before[name + "_target"].items():
            online, target = getattr(learner, name).state_dict()[key], learner.state_dict()[name + "_target"][key]
            torch.testing.assert_close(target, old + 0.005 * (online - old))
            assert not torch.equal(online, old)


def test_proximal_term_pulls_towards_the_reference():
    replay = filled_replay()

    def distance(coefficient):
        learner = small_learner()
        anchor = learner.proximal_term(coefficient)
        rng = np.random.default_rng(0)
        for _ in range(40):
            learner.update(replay.sample(16, rng), proximal=anchor)
        pairs = [
            (now, before)
            for name, group in learner.parameters().items()
            for now, before in zip(group, anchor.reference[name], strict=True)
        ]
        return float(sum((now.detach() - before).square().sum() for now, before in pairs)) ** 0.5

    free, loose, tight = distance(0.0), distance(0.3), distance(30.0)
    assert tight < loose < free
    assert tight < 0.5 * free


def test_proximal_gradient_is_lambda_times_the_distance():
    replay = filled_replay()
    batch = replay.sample(16, np.random.default_rng(0))
    steps = []
    for coefficient in (0.0, 2.0):
        learner = small_learner(td3=TD3Config(gradient_clip=1e9, policy_delay=1))
        reference = {name: [p.detach() + 0.1 for p in group] for name, group in learner.parameters().items()}
        learner.update(batch, proximal=Proximal(coefficient, reference))
        steps.append({name: [p.grad.clone() for p in group] for name, group in learner.parameters().items()})
    for name, gradients in steps[0].items():
        for plain, anchored in zip(gradients, steps[1][name], strict=True):
            if name == "actor":  # its loss is taken after the critics moved, which the term itself influences
                continue
            torch.testing.assert_close(anchored - plain, torch.full_like(plain, -0.2), rtol=1e-3, atol=1e-4)


def test_acting_is_deterministic_and_bounded():
    learner = small_learner()
    observation, context = np.ones(3, dtype=np.float32), np.ones(6, dtype=np.float32)
    action = learner.act(observation, context)
    assert action.shape == (2,) and action.dtype == np.float32
    np.testing.assert_array_equal(action, learner.act(observation, context))
    assert np.all(np.abs(learner.act(1e6 * observation, context)) <= 1.0)


@pytest.mark.parametrize("change", [dict(discount=1.5), dict(polyak=0.0), dict(policy_delay=0)])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="must be"):
        TD3Config(**change)


def test_a_frozen_encoder_does_not_move_and_everything_else_does():
    learner = small_learner(td3=TD3Config(learn_context=False))
    before = learner.state_dict()
    train(learner, filled_replay(), 8)
    after = learner.state_dict()
    assert_same_state(before["encoder"], after["encoder"])
    for name in ("actor", "critic"):
        assert not torch.equal(next(iter(before[name].values())), next(iter(after[name].values())))
