"""What every learner has: a context encoder, networks that its loss trains, and updates that can be anchored."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mql_ros.algorithm.experience.batch import Batch
from mql_ros.algorithm.networks import Encoder

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Proximal:
    """The term (coefficient / 2) * ||theta - reference||^2 that anchors adaptation (Meta-Q-Learning, equation 18)."""

    coefficient: float
    """lambda = 1 - effective sample size, or a fixed number."""
    reference: Mapping[str, list[Tensor]]
    """Parameters to stay near, by network."""


class Learner(Protocol):
    """Networks, targets, optimisers, the counter and the generator: all that an update reads or writes.

    A learner restored by `load_state_dict` goes on bit for bit as the one that was saved.
    """

    network_config: Any
    """Dataclass with the sizes of the networks; part of a bundle's manifest."""
    config: Any
    """Dataclass with the settings of the update rule, among them `gradient_clip` and `learn_context`."""
    device: torch.device
    encoder: Encoder
    generator: torch.Generator
    """Source of all noise, on the CPU, so that it does not depend on the device."""
    updates: int
    """Updates made so far."""

    @property
    @abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks by name; those that follow others slowly end with `_target`."""

    @property
    @abstractmethod
    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name, which ends with `optimizer`."""

    @abstractmethod
    def update(
        self, batch: Batch, *, proximal: Proximal | None = None, contexts: tuple[Tensor, Tensor] | None = None
    ) -> Metrics:
        """Make one update; return detached metrics.

        `contexts`, two [M, C], are what `contexts(batch)` found before. They are for a frozen encoder only, as no
        gradient passes through them.
        """

    def contexts(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Context [M, C] of each transition, with gradient, and of the step after it, without: one recurrent pass."""
        # Of each window only what a context is looked up in; after a terminal step no value follows.
        lengths = batch.row.new_zeros(batch.items.shape[0])
        lengths.scatter_reduce_(0, batch.row, batch.position, "amax")
        lengths.scatter_reduce_(0, batch.next_row, batch.next_position * (batch.terminal == 0.0), "amax")
        outputs = self.encoder(batch.items, lengths)
        return outputs[batch.row, batch.position], outputs.detach()[batch.next_row, batch.next_position]

    def parameters(self) -> dict[str, list[Tensor]]:
        """The trained parameters by network, in a fixed order; what a proximal term is about."""
        trained = {name: network for name, network in self.networks.items() if not name.endswith("_target")}
        return {name: list(network.parameters()) for name, network in trained.items()}

    def proximal_term(self, coefficient: float) -> Proximal:
        """A proximal term around the parameters as they are now."""
        frozen = {name: [p.detach().clone() for p in group] for name, group in self.parameters().items()}
        return Proximal(coefficient, frozen)

    def set_step_size(self, rate: float) -> None:
        """Use another step size of every optimiser from now on."""
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    @contextmanager
    def adapting(self, step_size: float | None, learn_context: bool) -> Iterator[None]:
        """Inside, use another step size (None: the learner's) and, without `learn_context`, a frozen encoder."""
        config = self.config
        groups = [group for optimizer in self.optimizers.values() for group in optimizer.param_groups]
        rates = [group["lr"] for group in groups]
        self.config = replace(config, learn_context=learn_context)
        if step_size is not None:
            self.set_step_size(step_size)
        try:
            yield
        finally:
            self.config = config
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """All state, as copies: networks, optimisers, update counter and generator."""
        parts: dict[str, Any] = {**self.networks, **self.optimizers}
        state = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        return state | {"updates": self.updates, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, exactly; the given state is not shared with the learner."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(copy.deepcopy(state[name]))
        self.updates = int(state["updates"])
        self.generator.set_state(state["generator"].cpu())

    def _step(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[Tensor],
        names: tuple[str, ...],
        proximal: Proximal | None,
    ) -> Metrics:
        """Step on the gradients of the parameters of the networks `names`, anchored and clipped."""
        metrics: Metrics = {}
        if proximal is not None and proximal.coefficient > 0.0:
            reference = [tensor for name in names for tensor in proximal.reference[name]]
            # The gradient of the proximal term is lambda (theta - theta_meta); no graph is needed for it.
            rows = [(p.detach(), p.grad, r) for p, r in zip(parameters, reference, strict=True) if p.grad is not None]
            distance = torch._foreach_sub([now for now, _, _ in rows], [before for _, _, before in rows])
            torch._foreach_add_([gradient for _, gradient, _ in rows], distance, alpha=proximal.coefficient)
            metrics["proximal_" + names[0]] = 0.5 * proximal.coefficient * nn.utils.get_total_norm(distance).square()
        norm = nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip, foreach=True)
        optimizer.step()
        metrics["gradient_" + names[0]] = norm.detach()
        return metrics
