"""Contextual Q-learning where the policy is the best of sampled actions (QT-Opt, Kalashnikov et al. 2018).

TD3 climbs the critic with an actor; here the task proposes actions and the critic alone judges them. The rest is that
of Meta-Q-Learning: the critic's loss trains the context encoder, and targets see the history that follows.
Values lie between two bounds, and the loss is the cross-entropy between the bounded value and its target.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.learner import Learner, Metrics, Proximal
from mql_ros.algorithm.networks import Encoder


@dataclass(frozen=True)
class QLearningConfig:
    """Settings of the update rule."""

    discount: float = 1.0
    """Discount factor of one step; a trial has few."""
    polyak: float = 0.01
    """Part of the online weights that enters the target at each update."""
    learning_rate: float = 1e-3
    """Step size of AdamW."""
    weight_decay: float = 1e-3
    """Decoupled weight decay."""
    gradient_clip: float = 5.0
    """Largest gradient norm."""
    context_dropout: float = 0.1
    """Probability with which a window's context is zeroed in the loss: the critic then also judges without one."""
    value_low: float = -0.5
    """Least value."""
    value_high: float = 1.0
    """Greatest value."""
    learn_context: bool = True
    """False freezes the encoder."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.discount <= 1.0 or not 0.0 < self.polyak <= 1.0 or not 0.0 <= self.context_dropout <= 1.0:
            raise ValueError("discount and context_dropout must be in [0, 1], and polyak in (0, 1].")
        if not self.value_low < self.value_high:
            raise ValueError(f"value_low is {self.value_low}; expected less than value_high, {self.value_high}.")


class ProposingCritic(nn.Module):
    """A twin critic of a task that knows which actions to compare; dropout draws from torch's own generator."""

    def forward(self, observation: Tensor, context: Tensor, action: Tensor) -> Tensor:
        """Logits [2, M, K] of actions [M, K, A] in observations [M, O] with contexts [M, C]."""
        raise NotImplementedError

    def greatest(self, observation: Tensor, context: Tensor) -> Tensor:
        """Greatest smaller logit [M] over the actions in observations [M, O] that another decision follows."""
        raise NotImplementedError

    def propose(self, observation: NDArray, rng: np.random.Generator) -> NDArray:
        """Actions [K, A] to choose from in an observation [O]."""
        raise NotImplementedError


def q_target(critic_target: ProposingCritic, batch: Batch, next_context: Tensor, config: QLearningConfig) -> Tensor:
    """r + gamma (1 - terminal) max_a min_i Q'_i(s', a, z') [M], within the bounds."""
    with torch.no_grad():
        target = batch.reward.clone()
        alive = batch.terminal < 0.5
        if bool(alive.any()):
            logits = critic_target.greatest(batch.next_observation[alive], next_context[alive])
            target[alive] += config.discount * bounded(logits, config)
        return target.clamp(config.value_low, config.value_high)


def q_loss(
    critic: ProposingCritic, batch: Batch, context: Tensor, target: Tensor, config: QLearningConfig
) -> tuple[Tensor, Metrics]:
    """Weighted cross-entropy between both bounded values and the target [M], with context [M, C]."""
    share = (target - config.value_low) / (config.value_high - config.value_low)
    logits = critic(batch.observation, context, batch.action[:, None])[..., 0]
    errors = F.binary_cross_entropy_with_logits(logits, share.expand_as(logits), reduction="none").mean(dim=0)
    loss = (batch.weight * errors).mean()
    values = bounded(logits.detach(), config).mean()
    return loss, {"critic_loss": loss.detach(), "q_mean": values, "target_mean": target.mean()}


def bounded(logits: Tensor, config: QLearningConfig) -> Tensor:
    """Values of logits."""
    return config.value_low + (config.value_high - config.value_low) * torch.sigmoid(logits)


class QLearner(Learner):
    """A learner whose policy is the best of the actions that its critic's task proposes."""

    def __init__(
        self,
        network_config: Any,
        encoder: Encoder,
        critic: ProposingCritic,
        config: QLearningConfig | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network_config = network_config
        self.config = config or QLearningConfig()
        self.device = torch.device(device)
        self.encoder, self.critic = encoder.to(self.device), critic.to(self.device).eval()
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0
        self._trained: list[Tensor] = [*self.critic.parameters(), *self.encoder.parameters()]
        self.optimizer = torch.optim.AdamW(
            self._trained, lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True
        )

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The three networks by name."""
        return {"encoder": self.encoder, "critic": self.critic, "critic_target": self.critic_target}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The one optimiser by name."""
        return {"optimizer": self.optimizer}

    def update(
        self, batch: Batch, *, proximal: Proximal | None = None, contexts: tuple[Tensor, Tensor] | None = None
    ) -> Metrics:
        """One step on critic and encoder; the target follows."""
        config, batch = self.config, batch.to(self.device)
        self.updates += 1
        with torch.set_grad_enabled(config.learn_context):
            context, next_context = contexts or self.contexts(batch)
        target = q_target(self.critic_target, batch, next_context, config)
        if config.context_dropout > 0.0:
            kept = torch.rand(len(batch.items), generator=self.generator) >= config.context_dropout
            context = context * kept.to(self.device)[batch.row, None]
        self.optimizer.zero_grad(set_to_none=True)
        with self._dropout():
            loss, metrics = q_loss(self.critic, batch, context, target, config)
        loss.backward()
        metrics |= self._step(self.optimizer, self._trained, ("critic", "encoder"), proximal)
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.critic_target.parameters()), list(self.critic.parameters()), self.config.polyak
            )
        return metrics

    def choose(
        self, observation: NDArray, context: NDArray, actions: NDArray
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The best of actions [K, A] in one observation [O] with context [C], and the values of all [K]."""
        with torch.inference_mode():
            seen, known, tried = (
                torch.from_numpy(np.asarray(part, dtype=np.float32)).to(self.device)
                for part in (observation, context, actions)
            )
            logits = self.critic(seen[None], known[None], tried[None])
            values = bounded(logits, self.config).mean(dim=0)[0].cpu().numpy()
        return np.asarray(actions[int(np.argmax(values))], dtype=np.float32), values

    @contextmanager
    def _dropout(self) -> Iterator[None]:
        """Inside, the critic drops units as its own generator says: an update repeats bit for bit."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))
            self.critic.train()
            try:
                yield
            finally:
                self.critic.eval()
