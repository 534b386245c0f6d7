"""Sessions, learners and an analytic toy task that the algorithm's tests share."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay, Session, block_numbers
from mql_ros.algorithm.networks import ContextEncoder, NetworkConfig
from mql_ros.algorithm.q_learning import ProposingCritic, QLearner
from mql_ros.algorithm.td3 import TD3Config, TD3Learner

O, A = 3, 2  # noqa: E741


def make_session(rng, task="mug", steps=12, block_length=None, end_probability=0.3, time_limits=True):
    """Random experience whose trials end at random, at time limits or for good."""
    done = rng.random(steps) < end_probability
    terminal = done & (rng.random(steps) < 0.5) if time_limits else done
    return Session(
        task=task,
        observation=rng.normal(size=(steps, O)),
        action=rng.uniform(-1, 1, (steps, A)),
        reward=rng.normal(size=steps),
        next_observation=rng.normal(size=(steps, O)),
        done=done,
        terminal=terminal,
        block=block_numbers(done, block_length),
    )


def trials(rng, task, count=5, steps=3, shift=0.0):
    """Trials of equal length that all end for good; `shift` moves what is seen."""
    n = count * steps
    done = np.arange(n) % steps == steps - 1
    return Session(
        task=task,
        observation=rng.normal(size=(n, O)) + shift,
        action=rng.uniform(-1, 1, (n, A)),
        reward=rng.normal(size=n),
        next_observation=rng.normal(size=(n, O)) + shift,
        done=done,
        terminal=done,
        block=block_numbers(done),
    )


def part_of(session, begin, end):
    """Steps begin..end of a session, with their block numbers."""
    names = ("observation", "action", "reward", "next_observation", "done", "terminal", "block")
    return Session(task=session.task, **{name: getattr(session, name)[begin:end] for name in names})


def small_learner(seed=0, td3=None, **network):
    config = NetworkConfig(O, A, **(dict(context_size=6, hidden_sizes=(16, 16), embedding_size=8) | network))
    return TD3Learner(config, td3, seed=seed)


class GridCritic(ProposingCritic):
    """Two small networks that compare the same actions [K, A] in every observation."""

    def __init__(self, config, actions, dropout=0.0):
        super().__init__()
        self.use_context = config.use_context
        self.register_buffer("actions", torch.as_tensor(actions, dtype=torch.float32), persistent=False)
        inputs, width = config.observation_size + config.context_size + config.action_size, config.hidden_sizes[0]
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width), nn.ReLU(),
                nn.Linear(width, 1),
            )
            for _ in range(2)
        )  # fmt: skip

    def forward(self, observation, context, action):
        known = torch.cat([observation, context * self.use_context], dim=-1)
        values = torch.cat([known[:, None].expand(-1, action.shape[1], -1), action], dim=-1)
        return torch.stack([head(values)[..., 0] for head in self.heads])

    def greatest(self, observation, context):
        actions = self.actions.expand(len(observation), -1, -1)
        return self(observation, context, actions).amin(dim=0).amax(dim=1)

    def propose(self, observation, rng):
        return self.actions.numpy()


def grid_learner(network, actions, config=None, seed=0, dropout=0.0):
    """A QLearner whose critic compares these actions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, critic = ContextEncoder(network), GridCritic(network, actions, dropout)
    return QLearner(network, encoder, critic, config, seed)


def small_q_learner(seed=0, config=None, dropout=0.1, **network):
    """The counterpart of `small_learner`."""
    sizes = dict(context_size=6, hidden_sizes=(16,), embedding_size=8) | network
    actions = np.random.default_rng(0).uniform(-1, 1, (5, A))
    return grid_learner(NetworkConfig(O, A, **sizes), actions, config, seed, dropout)


def filled_replay(seed=0, tasks=4, sessions=3, history_blocks=2, **kwargs):
    rng = np.random.default_rng(seed)
    replay = Replay(O, A, history_blocks, kwargs.pop("capacity", 10_000))
    for _ in range(sessions):
        for task in range(tasks):
            replay.add(trials(rng, f"object {task}", **kwargs))
    return replay


def flat(state):
    """Every leaf of a nested state, by path."""
    if isinstance(state, dict):
        return {f"{k}/{path}": leaf for k, v in state.items() for path, leaf in flat(v).items()}
    if isinstance(state, (list, tuple)):
        return flat(dict(enumerate(state)))
    return {"": state}


def assert_same_state(one, two):
    """Bit for bit the same learner state."""
    one, two = flat(one), flat(two)
    assert one.keys() == two.keys()
    for path, leaf in one.items():
        same = torch.equal(leaf, two[path]) if isinstance(leaf, torch.Tensor) else leaf == two[path]
        assert same, path


# A toy task whose best action is a hidden number g, revealed only by the rewards of what was tried.

TOY_GOALS = (-0.7, 0.7)


def toy_reward(action, goal):
    return 1.0 - (action - goal) ** 2


def toy_replay(seed=0, sessions=100, blocks=3, steps=2):
    rng = np.random.default_rng(seed)
    replay = Replay(1, 1, history_blocks=2)
    for number in range(sessions):
        goal = TOY_GOALS[number % len(TOY_GOALS)]
        n = blocks * steps
        action = rng.uniform(-1, 1, (n, 1))
        phase = (np.arange(n) % steps)[:, None].astype(float)
        done = phase[:, 0] == steps - 1
        replay.add(
            Session(
                task=f"goal {goal}",
                observation=phase,
                action=action,
                reward=toy_reward(action[:, 0], goal),
                next_observation=phase + 1.0,
                done=done,
                terminal=done,
                block=block_numbers(done),
            )
        )
    return replay


def toy_learner(use_context=True, seed=0):
    network = NetworkConfig(1, 1, context_size=8, hidden_sizes=(32, 32), use_context=use_context, embedding_size=16)
    td3 = TD3Config(discount=0.5, actor_learning_rate=4e-3, critic_learning_rate=4e-3, polyak=0.02)
    return TD3Learner(network, td3, seed=seed)


def toy_score(learner, seed=1, blocks=3, steps=2):
    """Mean reward of the last trial over all goals; the first trial tries a random action once."""
    rng = np.random.default_rng(seed)
    rewards = []
    for goal in TOY_GOALS:
        tracker = ContextTracker(learner.encoder, 2, 1, 1)
        for block in range(blocks):
            for step in range(steps):
                action = learner.act(np.array([float(step)]), tracker.context)
                if block == 0:
                    action = rng.uniform(-1, 1, 1).astype(np.float32)
                reward = toy_reward(float(action[0]), goal)
                tracker.append(action, reward, [step + 1.0], step == steps - 1)
                if block == blocks - 1:
                    rewards.append(reward)
    return float(np.mean(rewards))
