"""TD3 with a recurrent context (Fujimoto et al. 2018; Meta-Q-Learning, equations 13 to 16).

The losses are pure functions; `TD3Learner` holds the networks, their targets and the optimisers. Actor and critics
share the encoder. The critics' loss and the cloning loss train it; the actor's value term uses a detached context.
Sizes: M transitions, O observation, A action, C context.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.networks import Actor, ContextEncoder, NetworkConfig, TwinCritic

Metrics = dict[str, Tensor]


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
    actor_q_weight: float = 1.0
    """Coefficient of the value term -Q / mean |Q| in the actor's loss (the normalisation of TD3+BC)."""
    clone_weight: float = 0.0
    """Coefficient of the squared distance to the teacher's action; 0 is pure TD3."""
    learn_context: bool = True
    """Whether the encoder learns. If not, the actor need not follow a context that moves under the critics' loss."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.discount <= 1.0 or not 0.0 < self.polyak <= 1.0 or self.policy_delay < 1:
            raise ValueError("discount must be in [0, 1], polyak in (0, 1] and policy_delay at least 1.")


@dataclass(frozen=True)
class Proximal:
    """The term (coefficient / 2) * ||theta - reference||^2 that anchors adaptation (Meta-Q-Learning, equation 18)."""

    coefficient: float
    """lambda = 1 - effective sample size, or a fixed number."""
    reference: Mapping[str, list[Tensor]]
    """Parameters theta_meta by network: "actor", "critic", "encoder"."""


def td_target(
    actor_target: Actor, critic_target: TwinCritic, batch: Batch, next_context: Tensor, noise: Tensor, config: TD3Config
) -> Tensor:
    """Return r + gamma (1 - terminal) min_i Q'_i(s', pi'(s') + clipped noise) [M] for standard normal noise [M, A]."""
    with torch.no_grad():
        smoothing = (noise * config.target_noise).clamp(-config.target_noise_clip, config.target_noise_clip)
        action = (actor_target(batch.next_observation, next_context) + smoothing).clamp(-1.0, 1.0)
        value = torch.minimum(*critic_target(batch.next_observation, next_context, action))
        return batch.reward + config.discount * (1.0 - batch.terminal) * value


def critic_loss(
    critic: TwinCritic, batch: Batch, context: Tensor, target: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Metrics]:
    """Return the weighted squared temporal-difference error of both critics, for context [M, C] and target [M]."""
    first, second = critic(batch.observation, context, batch.action, generator)
    loss = (batch.weight * ((first - target).square() + (second - target).square())).mean()
    return loss, {"critic_loss": loss.detach(), "q_mean": first.detach().mean(), "target_mean": target.mean()}


def actor_loss(
    actor: Actor, critic: TwinCritic, batch: Batch, context: Tensor, q_weight: float
) -> tuple[Tensor, Metrics]:
    """Return the actor's weighted value term for context [M, C], scaled by 1 / mean |Q| like TD3+BC."""
    context = context.detach()
    value = critic.first(batch.observation, context, actor(batch.observation, context))
    scale = q_weight / value.detach().abs().mean().clamp_min(1e-6)
    loss = -scale * (batch.weight * value).mean()
    return loss, {"actor_loss": loss.detach(), "actor_q": value.detach().mean()}


def clone_loss(actor: Actor, batch: Batch, context: Tensor, clone_weight: float) -> tuple[Tensor, Metrics]:
    """Return the weighted squared distance to the teacher's actions, over the transitions that have one."""
    distance = (actor(batch.observation, context) - batch.teacher_action).square().mean(dim=-1)
    clone = (batch.weight * batch.teacher_mask * distance).sum() / batch.teacher_mask.sum().clamp_min(1.0)
    return clone_weight * clone, {"clone_loss": clone.detach()}


class TD3Learner:
    """All state of an update: networks, targets, optimisers, counter and generator.

    A learner restored by `load_state_dict` continues bit for bit. Calls never synchronise with the device: metrics are
    detached tensors.
    """

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
        # Noise is drawn on the CPU, so that it does not depend on the device.
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

    def parameters(self) -> dict[str, list[Tensor]]:
        """Return the trained parameters by network, in a fixed order."""
        return {name: list(getattr(self, name).parameters()) for name in ("actor", "critic", "encoder")}

    def proximal_term(self, coefficient: float) -> Proximal:
        """Return a proximal term around the present parameters."""
        frozen = {name: [p.detach().clone() for p in group] for name, group in self.parameters().items()}
        return Proximal(coefficient, frozen)

    def contexts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the context [M, C] of each transition, with gradient, and of the next step, without.

        One recurrent pass computes both.
        """
        # Encode each window only up to the last context that is read; none is read after a terminal step.
        lengths = batch.row.new_zeros(batch.items.shape[0])
        lengths.scatter_reduce_(0, batch.row, batch.position, "amax")
        lengths.scatter_reduce_(0, batch.next_row, batch.next_position * (batch.terminal == 0.0), "amax")
        outputs = self.encoder(batch.items, lengths)
        return outputs[batch.row, batch.position], outputs.detach()[batch.next_row, batch.next_position]

    def update(
        self,
        batch: Batch,
        *,
        update_actor: bool | None = None,
        proximal: Proximal | None = None,
        contexts: tuple[Tensor, Tensor] | None = None,
    ) -> Metrics:
        """Take one TD3 step on critics and encoder and, every `policy_delay` steps, on actor and targets.

        `update_actor` forces or forbids the actor's step. `contexts` is an earlier result of `contexts(batch)`, two
        [M, C]. It may be given only without `learn_context`, because no gradient passes through it.
        """
        config, batch = self.config, batch.to(self.device)
        self.updates += 1
        delayed = self.updates % config.policy_delay == 0
        step_actor = delayed if update_actor is None else update_actor
        with torch.set_grad_enabled(config.learn_context):
            context, next_context = contexts or self.contexts(batch)
        loss, metrics = self._critic_loss(batch, context, next_context)
        self._zero_grad()
        if step_actor and config.clone_weight:
            cloning, more = clone_loss(self.actor, batch, context, config.clone_weight)
            loss, metrics = loss + cloning, metrics | more
        loss.backward()
        metrics |= self._step(self.critic_optimizer, self._critic_side, ("critic", "encoder"), proximal)
        if step_actor:
            loss, more = actor_loss(self.actor, self.critic, batch, context, config.actor_q_weight)
            # Differentiate the actor alone: nothing uses the critics' gradients here.
            gradients = torch.autograd.grad(loss, self._actor_side)
            for parameter, gradient in zip(self._actor_side, gradients, strict=True):
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
            metrics |= more | self._step(self.actor_optimizer, self._actor_side, ("actor",), proximal)
        if delayed or step_actor:
            self._polyak()
        return metrics

    def clone_update(self, batch: Batch, *, critic_weight: float = 0.0) -> Metrics:
        """Take one behaviour-cloning step on actor and encoder; with `critic_weight`, the critics learn too."""
        batch = batch.to(self.device)
        self.updates += 1
        context, next_context = self.contexts(batch)
        loss, metrics = clone_loss(self.actor, batch, context, 1.0)
        if critic_weight:
            temporal, more = self._critic_loss(batch, context, next_context)
            loss, metrics = loss + critic_weight * temporal, metrics | more
        self._zero_grad()
        loss.backward()
        metrics |= self._step(self.critic_optimizer, self._critic_side, ("critic", "encoder"), None)
        metrics |= self._step(self.actor_optimizer, self._actor_side, ("actor",), None)
        self._polyak()
        return metrics

    def act(self, observation: NDArray[np.float32], context: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the action [A] for one observation [O] and context [C]."""
        with torch.inference_mode():
            seen = torch.from_numpy(np.asarray(observation, dtype=np.float32)).to(self.device)
            known = torch.from_numpy(np.asarray(context, dtype=np.float32)).to(self.device)
            return self.actor(seen, known).cpu().numpy()

    def _critic_loss(self, batch: Batch, context: Tensor, next_context: Tensor) -> tuple[Tensor, Metrics]:
        noise = torch.randn(batch.action.shape, generator=self.generator).to(self.device)
        target = td_target(self.actor_target, self.critic_target, batch, next_context, noise, self.config)
        generator = self.generator if self.network_config.critic_dropout > 0.0 else None
        return critic_loss(self.critic, batch, context, target, generator)

    def _zero_grad(self) -> None:
        for parameter in self._critic_side + self._actor_side:
            parameter.grad = None

    def _step(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        names: tuple[str, ...],
        proximal: Proximal | None,
    ) -> Metrics:
        metrics: Metrics = {}
        if proximal is not None and proximal.coefficient > 0.0:
            reference = [tensor for name in names for tensor in proximal.reference[name]]
            # The gradient of the proximal term is lambda (theta - theta_meta), so it needs no graph.
            rows = [(p.detach(), p.grad, r) for p, r in zip(parameters, reference, strict=True) if p.grad is not None]
            distance = torch._foreach_sub([now for now, _, _ in rows], [before for _, _, before in rows])
            torch._foreach_add_([gradient for _, gradient, _ in rows], distance, alpha=proximal.coefficient)
            metrics["proximal_" + names[0]] = 0.5 * proximal.coefficient * nn.utils.get_total_norm(distance).square()
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip, foreach=True)
        optimizer.step()
        metrics["gradient_" + names[0]] = norm.detach()
        return metrics

    def _polyak(self) -> None:
        with torch.no_grad():
            torch._foreach_lerp_(self._targets, self._online, self.config.polyak)

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all state: networks, optimisers, update counter and generator."""
        state: dict[str, Any] = {name: copy.deepcopy(network.state_dict()) for name, network in self.networks.items()}
        state["actor_optimizer"] = copy.deepcopy(self.actor_optimizer.state_dict())
        state["critic_optimizer"] = copy.deepcopy(self.critic_optimizer.state_dict())
        state["updates"] = self.updates
        state["generator"] = self.generator.get_state()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the result of `state_dict` exactly; the learner copies it."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        self.actor_optimizer.load_state_dict(copy.deepcopy(state["actor_optimizer"]))
        self.critic_optimizer.load_state_dict(copy.deepcopy(state["critic_optimizer"]))
        self.updates = int(state["updates"])
        self.generator.set_state(state["generator"].cpu())
