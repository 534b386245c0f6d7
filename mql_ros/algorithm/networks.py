"""The recurrent context encoder, the actor and the twin critic (Meta-Q-Learning, section 3; TD3, Fujimoto et al. 2018).

One encoder is shared by actor and critics. Sizes: O observation, A action, C context, D = A + 1 + O + 1 history item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and shapes of the networks; two configurations that differ describe incompatible weights."""

    observation_size: int
    """Length O of an observation vector."""
    action_size: int
    """Length A of an action vector, each entry in [-1, 1]."""
    context_size: int = 32
    """Length C of the context vector, which is the hidden size of the GRU."""
    hidden_sizes: tuple[int, ...] = (160, 160)
    """Widths of the hidden layers of actor and critics."""
    use_context: bool = True
    """False zeroes the context everywhere: the published ablation without context."""
    critic_layer_norm: bool = True
    """LayerNorm before each hidden activation of the critics, which keeps their values bounded off the data."""
    critic_dropout: float = 0.0
    """Probability with which a hidden unit of the critics is dropped in the critic's own loss."""
    embedding_size: int = 64
    """Width of the tanh embedding of an item in front of the GRU; 0 feeds the item to the GRU as it is."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", tuple(int(size) for size in self.hidden_sizes))
        for name in ("observation_size", "action_size", "context_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}; expected at least one width of at least 1.")
        if not 0.0 <= self.critic_dropout < 1.0:
            raise ValueError(f"critic_dropout is {self.critic_dropout}; expected a probability in [0, 1).")
        if self.embedding_size < 0:
            raise ValueError(f"embedding_size is {self.embedding_size}; expected 0 (none) or more.")

    @property
    def item_size(self) -> int:
        """Length D of a history item: action, reward, the observation that followed, end of trial."""
        return self.action_size + 1 + self.observation_size + 1


class ContextEncoder(nn.Module):
    """One-layer GRU over history items; the context is its last hidden state, zero before the first item."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Linear(config.item_size, config.embedding_size) if config.embedding_size else None
        self.gru = nn.GRU(config.embedding_size or config.item_size, config.context_size, batch_first=True)

    def forward(self, items: Tensor) -> Tensor:
        """Contexts along every window: items [W, L, D] -> [W, L + 1, C], where [:, k] is the context after k items.

        Windows are padded on the right. The GRU is causal, so the output after k items never depends on padding.
        """
        start = items.new_zeros(items.shape[0], 1, self.config.context_size)
        if not self.config.use_context or items.shape[0] == 0 or items.shape[1] == 0:
            return start.expand(-1, items.shape[1] + 1, -1)
        outputs, _ = self.gru(self._embed(items))
        return torch.cat([start, outputs], dim=1)

    def step(self, item: Tensor, hidden: Tensor) -> Tensor:
        """One more item while acting: item [D], hidden [C] -> hidden [C]; equals `forward` but for the last bits."""
        if not self.config.use_context:
            return torch.zeros_like(hidden)
        return torch.gru_cell(self._embed(item[None]), hidden[None], *self.gru.all_weights[0])[0]

    def _embed(self, items: Tensor) -> Tensor:
        return items if self.embedding is None else torch.tanh(self.embedding(items))


class Actor(nn.Module):
    """Deterministic policy: observation [.., O] and context [.., C] -> action [.., A] in [-1, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.use_context = config.use_context
        widths = (config.observation_size + config.context_size, *config.hidden_sizes, config.action_size)
        self.layers = nn.ModuleList(nn.Linear(width, next_width) for width, next_width in pairwise(widths))

    def forward(self, observation: Tensor, context: Tensor) -> Tensor:
        values = torch.cat([observation, context if self.use_context else torch.zeros_like(context)], dim=-1)
        for layer in self.layers[:-1]:
            values = F.relu(layer(values))
        return torch.tanh(self.layers[-1](values))


class _PairLinear(nn.Module):
    """Two linear layers of equal size evaluated in one batched product: [2, M, I] -> [2, M, J]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        count = len(values)  # 1 where only the first critic is asked
        return torch.baddbmm(self.bias[:count], values, self.weight[:count])


class _PairLayerNorm(nn.Module):
    """LayerNorm over the last dimension with a scale and shift of its own for each of the two critics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 1, width))
        self.shift = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, values: Tensor) -> Tensor:
        count = len(values)
        return torch.addcmul(self.shift[:count], F.layer_norm(values, values.shape[-1:]), self.scale[:count])


class TwinCritic(nn.Module):
    """Two action values: observation [.., O], context [.., C], action [.., A] -> (q1 [..], q2 [..])."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.use_context = config.use_context
        self.dropout = config.critic_dropout
        widths = (config.observation_size + config.context_size + config.action_size, *config.hidden_sizes)
        self.layers = nn.ModuleList(_PairLinear(width, next_width) for width, next_width in pairwise(widths))
        self.norms = nn.ModuleList(
            _PairLayerNorm(width) if config.critic_layer_norm else nn.Identity() for width in widths[1:]
        )
        self.head = _PairLinear(widths[-1], 1)

    def forward(
        self, observation: Tensor, context: Tensor, action: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Dropout is active only where a (CPU) generator is given, so that evaluation and targets are deterministic."""
        first, second = self._values(observation, context, action, 2, generator)
        return first, second

    def first(self, observation: Tensor, context: Tensor, action: Tensor) -> Tensor:
        """q1 [..] alone, which is what the actor climbs."""
        return self._values(observation, context, action, 1, None)[0]

    def _values(
        self, observation: Tensor, context: Tensor, action: Tensor, count: int, generator: torch.Generator | None
    ) -> Tensor:
        context = context if self.use_context else torch.zeros_like(context)
        values = torch.cat([observation, context, action], dim=-1)
        shape = values.shape[:-1]
        values = values.reshape(1, -1, values.shape[-1]).expand(count, -1, -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = F.relu(norm(layer(values)))
            if generator is not None and self.dropout > 0.0:
                keep = torch.rand(values.shape, generator=generator).to(values.device) >= self.dropout
                values = values * keep / (1.0 - self.dropout)
        return self.head(values).reshape(count, *shape)
