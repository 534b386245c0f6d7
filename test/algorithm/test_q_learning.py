"""Q-learning by sampled maximisation: what it learns, what it touches, and that it repeats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.algorithm import (
    TOY_GOALS,
    assert_same_state,
    filled_replay,
    grid_learner,
    small_q_learner,
    toy_reward,
)

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay, Session, block_numbers
from mql_ros.algorithm.learner import Proximal
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle
from mql_ros.algorithm.q_learning import ProposingCritic, QLearningConfig, q_loss, q_target

HISTORY = 6
"""Past blocks of the replays here, more than a session of them has."""


def sessions_replay(seed=0):
    return filled_replay(seed, history_blocks=HISTORY)


def train(learner, replay, updates, seed=0, sessions=6):
    rng = np.random.default_rng(seed)
    for _ in range(updates):
        learner.update(replay.sample_sessions(sessions, rng, shuffled=0.5))
    return rng


# A trial of three decisions. What the first one did is seen later, and only the end is rewarded: by how near the first
# action was to a hidden number g, and the last one to -g. Earlier trials alone tell g.

TRIALS, DECISIONS = 3, 3
GRID = np.linspace(-1.0, 1.0, 11)[:, None]


def trial_reward(actions, goal):
    return 0.5 * (toy_reward(actions[0], goal) + toy_reward(actions[2], -goal))


def observation(decision, first):
    return np.array([float(decision), first])


def hidden_task(sessions=200):
    rng, replay = np.random.default_rng(0), Replay(2, 1, TRIALS - 1)
    done = np.arange(TRIALS * DECISIONS) % DECISIONS == DECISIONS - 1
    for number in range(sessions):
        goal = TOY_GOALS[number % 2]
        action = rng.uniform(-1, 1, (TRIALS, DECISIONS))
        seen = [[observation(k, action[t, 0] if k else 0.0) for k in range(DECISIONS + 1)] for t in range(TRIALS)]
        reward = np.zeros((TRIALS, DECISIONS))
        reward[:, -1] = [trial_reward(actions, goal) for actions in action]
        replay.add(
            Session(
                task=f"goal {goal}",
                observation=np.array([one for trial in seen for one in trial[:-1]]),
                action=action.reshape(-1, 1),
                reward=reward.ravel(),
                next_observation=np.array([one for trial in seen for one in trial[1:]]),
                done=done,
                terminal=done,
                block=block_numbers(done),
            )
        )
    return replay


def score(learner):
    """Mean reward of the last trial over both goals; the actions of the first trial are random."""
    rng, rewards = np.random.default_rng(1), []
    for goal in TOY_GOALS * 4:
        tracker = ContextTracker(learner.encoder, TRIALS - 1, 1, 2)
        for trial in range(TRIALS):
            actions = []
            for decision in range(DECISIONS):
                seen = observation(decision, actions[0] if actions else 0.0)
                action, _ = learner.choose(seen, tracker.context, learner.critic.propose(seen, rng))
                actions.append(float(action[0]) if trial else float(rng.uniform(-1, 1)))
                done = decision == DECISIONS - 1
                reward = trial_reward(actions, goal) if done else 0.0
                tracker.append([actions[-1]], reward, observation(decision + 1, actions[0]), done)
        rewards.append(reward)
    return float(np.mean(rewards))


def test_solves_a_task_whose_optimum_is_hidden_and_only_with_context():
    replay, scores = hidden_task(), {}
    config = QLearningConfig(learning_rate=4e-3, polyak=0.03, value_low=-1.0, weight_decay=0.0)
    for use_context in (True, False):
        network = NetworkConfig(2, 1, context_size=8, hidden_sizes=(48,), use_context=use_context, embedding_size=16)
        learner = grid_learner(network, GRID, config)
        train(learner, replay, 500, sessions=24)
        scores[use_context] = score(learner)
    # Knowing the hidden number is worth 1; the best constant action is worth 1 - 0.7^2 = 0.51.
    assert scores[True] > 0.85, scores
    assert scores[False] < 0.6, scores


class FixedCritic(ProposingCritic):
    """Logits that were written down: [2, M, K] for the actions of every observation."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, observation, context, action):
        return self.logits[:, : len(observation), : action.shape[1]]

    def greatest(self, observation, context):
        return self.logits[:, : len(observation)].amin(dim=0).amax(dim=1)


def batch_of(*terminal, rewards):
    batch = sessions_replay().gather(sessions_replay().transition_indices()[: len(terminal)])
    batch.terminal, batch.reward = torch.tensor(terminal), torch.tensor(rewards)
    return batch


def test_target_is_the_reward_and_the_best_of_the_more_careful_critic():
    config = QLearningConfig(discount=0.5, value_low=-1.0, value_high=1.0)
    # Two actions in each of two states that go on; the smaller logits are (0, -1) and (-2, 0).
    critic = FixedCritic(torch.tensor([[[0.0, 3.0], [-2.0, 0.0]], [[1.0, -1.0], [4.0, 2.0]]]))
    batch = batch_of(1.0, 0.0, 0.0, 1.0, rewards=[0.75, 0.25, 0.1, 7.0])
    target = q_target(critic, batch, torch.zeros(4, 6), config)
    # sigmoid(0) lies in the middle of the bounds, at 0.
    torch.testing.assert_close(target, torch.tensor([0.75, 0.25, 0.1, 1.0]))
    batch.terminal[:] = 0.0
    steep = FixedCritic(torch.full((2, 4, 2), 100.0))
    torch.testing.assert_close(q_target(steep, batch, torch.zeros(4, 6), config), torch.tensor([1.0, 0.75, 0.6, 1.0]))


def test_target_calls_the_critic_for_nothing_that_has_ended():
    critic = FixedCritic(torch.full((2, 2, 1), float("nan")))
    target = q_target(critic, batch_of(1.0, 1.0, rewards=[0.5, -3.0]), torch.zeros(2, 6), QLearningConfig())
    assert target.tolist() == [0.5, -0.5]


@pytest.mark.parametrize("value", [-0.4, 0.0, 0.9])
def test_loss_is_least_where_both_values_are_the_target(value):
    config = QLearningConfig()
    share = torch.tensor((value - config.value_low) / (config.value_high - config.value_low))
    logits = torch.logit(share).repeat(2, 3, 1).requires_grad_()
    batch = batch_of(1.0, 1.0, 1.0, rewards=[0.0, 0.0, 0.0])
    target = torch.full((3,), value)
    loss, metrics = q_loss(FixedCritic(logits), batch, torch.zeros(3, 6), target, config)
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)
    assert float(metrics["q_mean"]) == pytest.approx(value, abs=1e-6)
    expected = -(share * torch.log(share) + (1 - share) * torch.log(1 - share))
    torch.testing.assert_close(loss.detach(), expected)


def test_weights_scale_each_transition():
    learner = small_q_learner(dropout=0.0)
    batch = sessions_replay().sample_sessions(4, np.random.default_rng(0))
    context, target = learner.contexts(batch)[0], torch.rand(len(batch))

    def loss(weight):
        batch.weight = weight
        return q_loss(learner.critic, batch, context, target, learner.config)[0]

    half = (batch.index % 2 == 0).float()
    torch.testing.assert_close(loss(half) + loss(1.0 - half), loss(torch.ones(len(batch))))
    assert loss(torch.zeros(len(batch))).detach() == 0.0


def test_two_trainings_with_one_seed_are_bitwise_equal_whatever_else_draws_numbers():
    learners = [small_q_learner(seed=3) for _ in range(2)]
    for number, learner in enumerate(learners):
        torch.manual_seed(number)
        before = torch.get_rng_state()
        train(learner, sessions_replay(), 12)
        assert torch.equal(before, torch.get_rng_state())
    assert_same_state(learners[0].state_dict(), learners[1].state_dict())


def test_a_resumed_training_equals_an_uninterrupted_one():
    replay, whole, first = sessions_replay(), small_q_learner(), small_q_learner()
    train(whole, replay, 11)
    rng = train(first, replay, 5)
    resumed = small_q_learner(seed=99)
    resumed.load_state_dict(first.state_dict())
    for _ in range(6):
        resumed.update(replay.sample_sessions(6, rng, shuffled=0.5))
    assert_same_state(whole.state_dict(), resumed.state_dict())


def test_a_saved_learner_acts_and_learns_on_bit_for_bit(tmp_path):
    learner, replay = small_q_learner(), sessions_replay()
    train(learner, replay, 5)
    save_bundle(tmp_path / "policy", learner, replay=replay, robot={}, task={}, replay_float16=False)
    bundle = load_bundle(tmp_path / "policy")
    assert bundle.configuration("learning", QLearningConfig) == learner.config
    loaded, loaded_replay = bundle.restore(small_q_learner(seed=99)), bundle.make_replay()
    seen, context = np.ones(3), np.linspace(-1, 1, 6)
    actions = learner.critic.propose(seen, np.random.default_rng(0))
    for one, two in zip(learner.choose(seen, context, actions), loaded.choose(seen, context, actions), strict=True):
        np.testing.assert_array_equal(one, two)
    train(learner, replay, 3, seed=1)
    train(loaded, loaded_replay, 3, seed=1)
    assert_same_state(learner.state_dict(), loaded.state_dict())


def test_the_best_of_the_given_actions_is_chosen():
    learner = small_q_learner()
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    chosen, values = learner.choose(np.ones(3), np.ones(6), actions)
    assert values.shape == (50,) and np.all((values > learner.config.value_low) & (values < learner.config.value_high))
    np.testing.assert_array_equal(chosen, actions[np.argmax(values)].astype(np.float32))
    np.testing.assert_array_equal(values, learner.choose(np.ones(3), np.ones(6), actions)[1])


def test_target_network_follows_slowly():
    learner = small_q_learner()
    before = learner.state_dict()["critic_target"]
    train(learner, sessions_replay(), 1)
    for name, target in learner.critic_target.state_dict().items():
        online = learner.critic.state_dict()[name]
        torch.testing.assert_close(target, before[name] + learner.config.polyak * (online - before[name]))
        assert not torch.equal(online, before[name])


def test_proximal_gradient_is_lambda_times_the_distance():
    batch, steps = sessions_replay().sample_sessions(6, np.random.default_rng(0)), []
    for coefficient in (0.0, 2.0):
        learner = small_q_learner(config=QLearningConfig(gradient_clip=1e9))
        reference = {name: [p.detach() + 0.1 for p in group] for name, group in learner.parameters().items()}
        learner.update(batch, proximal=Proximal(coefficient, reference))
        steps.append([p.grad.clone() for group in learner.parameters().values() for p in group])
    for plain, anchored in zip(*steps, strict=True):
        torch.testing.assert_close(anchored - plain, torch.full_like(plain, -0.2), rtol=1e-3, atol=1e-4)


def test_proximal_term_pulls_towards_the_reference():
    replay, distance = sessions_replay(), []
    for coefficient in (0.0, 30.0):
        learner = small_q_learner()
        anchor, rng = learner.proximal_term(coefficient), np.random.default_rng(0)
        for _ in range(40):
            learner.update(replay.sample_sessions(6, rng), proximal=anchor)
        pairs = [
            (now.detach(), before)
            for name, group in learner.parameters().items()
            for now, before in zip(group, anchor.reference[name], strict=True)
        ]
        distance.append(float(sum((now - before).square().sum() for now, before in pairs)) ** 0.5)
    assert distance[1] < 0.5 * distance[0]


def test_a_dropped_context_is_that_of_a_whole_window():
    batch, seen = sessions_replay().sample_sessions(40, np.random.default_rng(0)), []
    learner = small_q_learner(config=QLearningConfig(context_dropout=0.4))
    forward = learner.critic.forward
    learner.critic.forward = lambda observation, context, action: (
        seen.append(context) or forward(observation, context, action)
    )
    learner.update(batch)
    zero = (seen[0] == 0.0).all(dim=1)
    informed = batch.position > 0
    dropped = {int(row) for row in batch.row[zero & informed]}
    kept = {int(row) for row in batch.row[~zero & informed]}
    assert not dropped & kept and len(dropped | kept) == 40
    assert len(dropped) / 40 == pytest.approx(0.4, abs=0.2)


def test_without_any_context_the_encoder_is_not_trained():
    learner = small_q_learner(config=QLearningConfig(context_dropout=1.0, weight_decay=0.0))
    before = learner.state_dict()["encoder"]
    train(learner, sessions_replay(), 3)
    assert_same_state(before, learner.state_dict()["encoder"])


def test_a_frozen_encoder_does_not_move_and_the_critic_does():
    learner = small_q_learner(config=QLearningConfig(learn_context=False))
    before = learner.state_dict()
    train(learner, sessions_replay(), 3)
    after = learner.state_dict()
    assert_same_state(before["encoder"], after["encoder"])
    assert not torch.equal(before["critic"]["heads.0.0.weight"], after["critic"]["heads.0.0.weight"])


def test_other_step_sizes_and_a_frozen_encoder_last_as_long_as_the_adaptation():
    learner = small_q_learner()
    config, before = learner.config, learner.state_dict()["optimizer"]["param_groups"]
    with learner.adapting(step_size=0.5, learn_context=False):
        assert learner.config == replace(config, learn_context=False)
        assert {group["lr"] for group in learner.optimizer.param_groups} == {0.5}
    assert learner.config == config and learner.state_dict()["optimizer"]["param_groups"] == before


@pytest.mark.parametrize(
    "change", [dict(discount=1.5), dict(polyak=0.0), dict(value_low=1.0), dict(context_dropout=-0.1)]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=r"must be|expected"):
        QLearningConfig(**change)
