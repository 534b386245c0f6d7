"""TD3 with a recurrent context (Fujimoto et al. 2018; Meta-Q-Learning, equations 13 to 16).

The losses are pure functions; `TD3Learner` holds the networks, their targets and the optimisers. The encoder is shared:
the critic's loss trains it, the actor's value term sees a detached context.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.learner import Learner, Metrics, Proximal
from mql_ros.algorithm.networks import Actor, ContextEncoder, NetworkConfig, TwinCritic


@dataclass(frozen=True)
class TD3Config:
    """Settings of the update rule. Defaults are those of TD3, if TD3 has the setting."""

    discount: float = 0.99
    """Discount factor of one step."""
    polyak: float = 0.005
    """Weight of the online networks in each update of the targets."""
    policy_delay: int = 2
    """Number of critic updates for each actor update."""
    target_noise: float = 0.2
    """Standard deviation of the target policy smoothing noise."""
    target_noise_clip: float = 0.5
    """Largest smoothing noise, either way."""
    actor_learning_rate: float = 3e-4
    """Step size of Adam for the actor."""
    critic_learning_rate: float = 3e-4
    """Step size of AdamW for critics and encoder."""
    weight_decay: float = 1e-4
    """Decoupled weight decay on the weight matrices of the critics."""
    gradient_clip: float = 10.0
    """Largest gradient norm, of actor and of critics with encoder."""
    learn_context: bool = True
    """Whether the encoder learns. If not, the actor need not follow a context that moves under the critics' loss."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.discount <= 1.0 or not 0.0 < self.polyak <= 1.0 or self.policy_delay < 1:
            raise ValueError("discount must be in [0, 1], polyak in (0, 1] and policy_delay at least 1.")


def td_target(
    actor_target: Actor, critic_target: TwinCritic, batch: Batch, next_context: Tensor, noise: Tensor, config: TD3Config
) -> Tensor:
    """Return r + gamma (1 - terminal) min_i Q'_i(s', pi'(s') + clipped noise) [M] for standard normal noise [M, A]."""
    with torch.no_grad():
        smoothing = (noise * config.target_noise).clamp(-config.target_noise_clip, config.target_noise_clip)
        action = (actor_target(batch.next_observation, next_context) + smoothing).clamp(-1.0, 1.0)
        value = torch.minimum(*critic_target(batch.next_observation, next_context, action))
        return batch.reward + config.discount * (1.0 - batch.terminal) * value


def critic_loss(critic: TwinCritic, batch: Batch, context: Tensor, target: Tensor) -> tuple[Tensor, Metrics]:
    """Weighted squared temporal-difference error of both critics, with context [M, C] and target [M]."""
    first, second = critic(batch.observation, context, batch.action)
    loss = (batch.weight * ((first - target).square() + (second - target).square())).mean()
    return loss, {"critic_loss": loss.detach(), "q_mean": first.detach().mean(), "target_mean": target.mean()}


def actor_loss(actor: Actor, critic: TwinCritic, batch: Batch, context: Tensor) -> tuple[Tensor, Metrics]:
    """Weighted value of the actor's actions over mean |Q| (as in TD3+BC), so that a proximal term keeps its meaning."""
    context = context.detach()
    value = critic.first(batch.observation, context, actor(batch.observation, context))
    scale = 1.0 / value.detach().abs().mean().clamp_min(1e-6)
    loss = -scale * (batch.weight * value).mean()
    return loss, {"actor_loss": loss.detach(), "actor_q": value.detach().mean()}


class TD3Learner(Learner):
    """A learner with an actor that climbs its critics. Updates never synchronise with the device."""

    def __init__(
        self,
        network_config: NetworkConfig,
        td3_config: TD3Config | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.network_config = network_config
        self.config = td3_config or TD3Config()
        self.device = torch.device(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = ContextEncoder(network_config)
            self.actor = Actor(network_config)
            self.critic = TwinCritic(network_config)
        self.actor_target = copy.deepcopy(self.actor)
        self.critic_target = copy.deepcopy(self.critic)
        for network in self.networks.values():
            network.to(self.device)
        for network in (self.actor_target, self.critic_target):
            network.requires_grad_(False)
        self.generator = torch.Generator().manual_seed(seed)
        self.updates = 0
        decayed = [parameter for name, parameter in self.critic.named_parameters() if name.endswith("weight")]
        plain = [parameter for name, parameter in self.critic.named_parameters() if not name.endswith("weight")]
        config = self.config
        self.critic_optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": plain + list(self.encoder.parameters()), "weight_decay": 0.0},
            ],
            lr=config.critic_learning_rate,
            fused=True,
        )
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=config.actor_learning_rate, fused=True)
        self._critic_side: list[Tensor] = [*self.critic.parameters(), *self.encoder.parameters()]
        self._actor_side: list[Tensor] = list(self.actor.parameters())
        self._online: list[Tensor] = self._actor_side + list(self.critic.parameters())
        self._targets: list[Tensor] = [*self.actor_target.parameters(), *self.critic_target.parameters()]

    @property
    def networks(self) -> dict[str, nn.Module]:
        """The five networks by name."""
        names = ("encoder", "actor", "critic", "actor_target", "critic_target")
        return {name: getattr(self, name) for name in names}

    @property
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The two optimisers by name."""
        return {"actor_optimizer": self.actor_optimizer, "critic_optimizer": self.critic_optimizer}

    def update(
        self, batch: Batch, *, proximal: Proximal | None = None, contexts: tuple[Tensor, Tensor] | None = None
    ) -> Metrics:
        """One TD3 step on critics and encoder and, every `policy_delay` steps, on the actor and the targets."""
        config, batch = self.config, batch.to(self.device)
        self.updates += 1
        with torch.set_grad_enabled(config.learn_context):
            context, next_context = contexts or self.contexts(batch)
        noise = torch.randn(batch.action.shape, generator=self.generator).to(self.device)
        target = td_target(self.actor_target, self.critic_target, batch, next_context, noise, config)
        loss, metrics = critic_loss(self.critic, batch, context, target)
        for parameter in self._critic_side + self._actor_side:
            parameter.grad = None
        loss.backward()
        metrics |= self._step(self.critic_optimizer, self._critic_side, ("critic", "encoder"), proximal)
        if self.updates % config.policy_delay == 0:
            loss, more = actor_loss(self.actor, self.critic, batch, context)
            # Gradients of the actor alone: the critics' would be computed for nothing.
            gradients = torch.autograd.grad(loss, self._actor_side)
            for parameter, gradient in zip(self._actor_side, gradients, strict=True):
                parameter.grad = gradient
            metrics |= more | self._step(self.actor_optimizer, self._actor_side, ("actor",), proximal)
            with torch.no_grad():
                torch._foreach_lerp_(self._targets, self._online, config.polyak)
        return metrics

    def act(self, observation: NDArray[np.float32], context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action [A] for one observation [O] and context [C]."""
        with torch.inference_mode():
            seen = torch.from_numpy(np.asarray(observation, dtype=np.float32)).to(self.device)
            known = torch.from_numpy(np.asarray(context, dtype=np.float32)).to(self.device)
            return self.actor(seen, known).cpu().numpy()
