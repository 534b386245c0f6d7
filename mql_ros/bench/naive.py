"""A benchmark fixture, never used for learning: the published settings' maths with the wasted work left in.

`mql bench` compares this package's update, adaptation and memory with it. The maths is ours, tested to be equal, and
follows descriptions of the published implementation, not its code. These steps are wasted:

- four recurrent encoders, of actor, critic and both targets, instead of one;
- every transition carries two flattened histories, the actor's and the next, so that each item of experience is
  stored and encoded 2 H times, from the start of the window every time;
- a batch is put together by a loop over samples that makes eleven arrays for each of them (2,816 a batch);
- targets are computed with gradients on, and detached afterwards;
- the actor's step goes back through the critic and its encoder, whose gradients are thrown away;
- Polyak averaging and the proximal term loop over parameters in Python;
- the losses become Python numbers in every step;
- in adaptation the propensity's features are encoded again in every iteration.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mql_ros.algorithm.adaptation.propensity import effective_sample_size, fit_logistic


@dataclass(frozen=True)
class NaiveConfig:
    """The published sizes and settings."""

    observation_size: int = 20
    action_size: int = 6
    history: int = 20
    """Items H in each flattened history."""
    context_size: int = 30
    hidden_sizes: tuple[int, ...] = (300, 300)
    batch: int = 256
    discount: float = 0.99
    polyak: float = 0.005
    policy_delay: int = 2
    target_noise: float = 0.2
    target_noise_clip: float = 0.5
    learning_rate: float = 3e-4


def _layers(sizes: tuple[int, ...]) -> nn.Sequential:
    parts: list[nn.Module] = []
    for width, next_width in pairwise(sizes):
        parts += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


class NaiveEncoder(nn.Module):
    """History [M, H, D] -> context [M, C]: all steps of every transition's own window."""

    def __init__(self, config: NaiveConfig) -> None:
        super().__init__()
        item = config.action_size + 1 + config.observation_size + 1
        self.gru = nn.GRU(item, config.context_size, batch_first=True)

    def forward(self, history: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        action, reward, observation = history
        count, steps = reward.shape
        parts = [action.view(count, steps, -1), reward[..., None], observation.view(count, steps, -1)]
        outputs, _ = self.gru(torch.cat(parts, dim=-1))
        return outputs[:, -1]


class NaiveActor(nn.Module):
    """Actor with an encoder of its own."""

    def __init__(self, config: NaiveConfig) -> None:
        super().__init__()
        self.encoder = NaiveEncoder(config)
        inputs = config.observation_size + config.context_size
        self.layers = _layers((inputs, *config.hidden_sizes, config.action_size))

    def forward(self, observation: Tensor, history: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.tanh(self.layers(torch.cat([observation, self.encoder(history)], dim=-1)))


class NaiveCritic(nn.Module):
    """Twin critic with an encoder of its own."""

    def __init__(self, config: NaiveConfig) -> None:
        super().__init__()
        self.encoder = NaiveEncoder(config)
        inputs = config.observation_size + config.context_size + config.action_size
        self.first = _layers((inputs, *config.hidden_sizes, 1))
        self.second = _layers((inputs, *config.hidden_sizes, 1))

    def forward(
        self, observation: Tensor, history: tuple[Tensor, Tensor, Tensor], action: Tensor
    ) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([observation, self.encoder(history), action], dim=-1)
        return self.first(inputs)[:, 0], self.second(inputs)[:, 0]


class NaiveReplay:
    """A list of transitions, each with both of its flattened histories, zeros where nothing had happened yet."""

    def __init__(self, config: NaiveConfig) -> None:
        self.config = config
        self.rows: list[tuple[NDArray, ...]] = []

    def add(
        self,
        observation: NDArray,
        action: NDArray,
        reward: NDArray,
        next_observation: NDArray,
        done: NDArray,
        terminal: NDArray,
    ) -> None:
        """One session of n transitions in order: [n, O], [n, A], [n], [n, O], [n], [n]."""
        steps, (sizes, count) = self.config.history, (action.shape[1], len(reward))
        followed = np.concatenate([next_observation, done[:, None]], axis=1).astype(np.float32)
        columns = [
            np.concatenate([np.zeros((steps, column.shape[1]), np.float32), column.astype(np.float32)])
            for column in (action.reshape(count, sizes), reward.reshape(count, 1), followed)
        ]
        for t in range(count):
            now = [column[t : t + steps].reshape(-1).copy() for column in columns]
            after = [column[t + 1 : t + 1 + steps].reshape(-1).copy() for column in columns]
            scalars = np.array([reward[t]], np.float32), np.array([terminal[t]], np.float32)
            self.rows.append(
                (observation[t].copy(), action[t].copy(), scalars[0], next_observation[t].copy(), scalars[1])
                + (*now, *after)
            )

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, with what Python adds to each, and of the list."""
        arrays = sum(sys.getsizeof(array) for row in self.rows for array in row)
        return arrays + sum(sys.getsizeof(row) for row in self.rows) + sys.getsizeof(self.rows)

    def sample(self, count: int, rng: np.random.Generator) -> list[Tensor]:
        """Eleven tensors of `count` transitions, sample by sample."""
        return self.gather([int(rng.integers(len(self.rows))) for _ in range(count)])

    def gather(self, indices: list[int]) -> list[Tensor]:
        """Eleven tensors of these transitions, sample by sample."""
        columns: list[list[NDArray]] = [[] for _ in range(11)]
        for index in indices:
            for column, value in zip(columns, self.rows[index], strict=True):
                column.append(np.array(value))
        return [torch.as_tensor(np.array(column)) for column in columns]


class NaiveLearner:
    """TD3 on these networks, step by step as the faults describe it."""

    def __init__(self, config: NaiveConfig, seed: int = 0) -> None:
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor, self.critic = NaiveActor(config), NaiveCritic(config)
        self.actor_target, self.critic_target = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=config.learning_rate)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=config.learning_rate)
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0

    def target(self, batch: list[Tensor], noise: Tensor) -> Tensor:
        """[M] of standard normal noise [M, A]; with gradients on, although nobody asks for them."""
        config = self.config
        reward, terminal, next_observation, after = batch[2][:, 0], batch[4][:, 0], batch[3], _history(batch, 8)
        smoothing = (noise * config.target_noise).clamp(-config.target_noise_clip, config.target_noise_clip)
        action = (self.actor_target(next_observation, after) + smoothing).clamp(-1.0, 1.0)
        value = torch.min(*self.critic_target(next_observation, after, action))
        return (reward + config.discount * (1.0 - terminal) * value).detach()

    def critic_loss(self, batch: list[Tensor], target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Squared temporal-difference error of both critics."""
        weight = torch.ones(len(target)) if weight is None else weight
        first, second = self.critic(batch[0], _history(batch, 5), batch[1])
        errors = F.mse_loss(first, target, reduction="none") + F.mse_loss(second, target, reduction="none")
        return (weight * errors).mean()

    def update(
        self, batch: list[Tensor], weight: Tensor | None = None, anchor: Any = None, coefficient: float = 0.0
    ) -> tuple[float, float]:
        """One step; `anchor` is the actor's and the critic's parameters to stay near. Losses as Python numbers."""
        self.updates += 1
        target = self.target(batch, torch.randn(batch[1].shape, generator=self.generator))
        loss = self.critic_loss(batch, target, weight)
        if anchor is not None:
            loss = loss + _proximal(self.critic, anchor[1], coefficient)
        critic_number = loss.item()
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()
        actor_number = 0.0
        if self.updates % self.config.policy_delay == 0:
            history = _history(batch, 5)
            value, _ = self.critic(batch[0], history, self.actor(batch[0], history))
            loss = -(value if weight is None else weight * value).mean()
            if anchor is not None:
                loss = loss + _proximal(self.actor, anchor[0], coefficient)
            actor_number = loss.item()
            self.actor_optimizer.zero_grad()
            loss.backward()
            self.actor_optimizer.step()
            for online, slow in ((self.actor, self.actor_target), (self.critic, self.critic_target)):
                for parameter, average in zip(online.parameters(), slow.parameters(), strict=True):
                    average.data.copy_(self.config.polyak * parameter.data + (1.0 - self.config.polyak) * average.data)
        return critic_number, actor_number


def naive_adaptation(
    learner: NaiveLearner,
    meta: NaiveReplay,
    new: NaiveReplay,
    new_updates: int,
    recycling_updates: int,
    batch: int,
    rng: np.random.Generator,
) -> None:
    """Propensity fit, updates on new data, updates on old data weighted by propensity; proximal all along."""
    anchor = [[p.detach().clone() for p in network.parameters()] for network in (learner.actor, learner.critic)]
    features = [learner.actor.encoder(_history(replay.sample(batch, rng), 8)).detach() for replay in (new, meta)]
    model = fit_logistic(features[0].double().numpy(), features[1].double().numpy(), l2=0.02)
    coefficient = 1.0 - effective_sample_size(np.exp(model.logit(features[1].numpy())))
    for _ in range(new_updates):
        learner.update(new.sample(batch, rng), None, anchor, coefficient)
    for _ in range(recycling_updates):
        drawn = meta.sample(batch, rng)
        feature = learner.actor.encoder(_history(drawn, 8)).detach().numpy()
        ratio = np.minimum(np.exp(np.clip(model.logit(feature), -5.0, 5.0)), 10.0)
        learner.update(drawn, torch.as_tensor(ratio, dtype=torch.float32), anchor, coefficient)


def _history(batch: list[Tensor], begin: int) -> tuple[Tensor, Tensor, Tensor]:
    return batch[begin], batch[begin + 1], batch[begin + 2]


def _proximal(network: nn.Module, anchor: list[Tensor], coefficient: float) -> Tensor:
    total = torch.zeros(())
    for parameter, before in zip(network.parameters(), anchor, strict=True):
        total = total + (parameter - before).square().sum()
    return 0.5 * coefficient * total
