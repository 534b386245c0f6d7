"""The recurrent context encoder, the actor and the twin critic (Meta-Q-Learning, section 3; TD3, Fujimoto et al. 2018).

One encoder is shared by actor and critics. Sizes: O observation, A action, C context, D = A + 1 + O + 1 history item.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes and shapes of the networks. Weights fit only networks of an equal configuration."""

    observation_size: int
    """Length O of an observation vector."""
    action_size: int
    """Length A of an action vector, each entry in [-1, 1]."""
    context_size: int = 32
    """Length C of the context vector, which is the hidden size of the GRU."""
    hidden_sizes: tuple[int, ...] = (160, 160)
    """Widths of the hidden layers of actor and critics."""
    use_context: bool = True
    """Whether actor and critics use the context; False is the published ablation without context."""
    critic_layer_norm: bool = True
    """LayerNorm before each hidden activation of the critics, which keeps their values bounded off the data."""
    embedding_size: int = 64
    """Width of the tanh embedding of an item before the GRU; 0 feeds the item itself to the GRU."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_sizes", tuple(int(size) for size in self.hidden_sizes))
        for name in ("observation_size", "action_size", "context_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes is {self.hidden_sizes}; expected at least one width of at least 1.")
        if self.embedding_size < 0:
            raise ValueError(f"embedding_size is {self.embedding_size}; expected 0 (none) or more.")

    @property
    def item_size(self) -> int:
        """Length D of a history item: action, reward, the observation that followed, end of trial."""
        return self.action_size + 1 + self.observation_size + 1


class _PackedGRU(torch.autograd.Function):
    """A GRU over windows of unequal length, with a hand-written backward pass.

    On a CPU an update at the published sizes takes 18 % less time than with `nn.GRU` over padded windows, and 25 % less
    than with packed sequences (`mql bench --only plain_torch`, docs/architecture.md).

    Rows [P] hold the items of all windows step by step, the longest window first. Step k is the `sizes[k]` rows after
    those of step k - 1, so padding is never computed. Gates r, z, n are those of `nn.GRU`:

    r, z = sigmoid(W x + b + U h + c),  n = tanh(W x + b + r (U h + c)),  h' = n + z (h - n).
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, w_input: Tensor, w_hidden: Tensor, b_input: Tensor, b_hidden: Tensor, sizes: list[int]
    ) -> Tensor:
        """Return the hidden states [P, C] of inputs [P, E]."""
        size = w_hidden.shape[1]
        of_rz, of_n = w_hidden.t().split((2 * size, size), dim=1)
        # The inputs' share of the gates' arguments; the loop turns it into the gates in place.
        rz = torch.addmm(b_input[: 2 * size] + b_hidden[: 2 * size], inputs, w_input[: 2 * size].t())
        n = torch.addmm(b_input[2 * size :], inputs, w_input[2 * size :].t())
        recurrent, hidden = torch.empty_like(n), torch.empty_like(n)
        state, bias = n.new_zeros(sizes[0], size), b_hidden[2 * size :]
        columns = (rz, rz[:, :size], rz[:, size:], n, recurrent, hidden)
        steps = zip(sizes, *(column.split(sizes) for column in columns), strict=True)
        for count, step_rz, r, z, step_n, share, output in steps:
            state = state if count == len(state) else state[:count]
            step_rz.addmm_(state, of_rz).sigmoid_()
            torch.addmm(bias, state, of_n, out=share)
            state = torch.lerp(step_n.addcmul_(r, share).tanh_(), state, z, out=output)
        ctx.save_for_backward(inputs, w_input, w_hidden, rz, n, recurrent, hidden)
        ctx.sizes = sizes
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients: step by step what depends on later steps, the rest in whole matrices."""
        inputs, w_input, w_hidden, rz, n, recurrent, hidden = ctx.saved_tensors
        sizes, size = ctx.sizes, w_hidden.shape[1]
        r, z = rz.split(size, dim=1)
        steps = zip(hidden.split(sizes), sizes[1:], strict=False)
        before = torch.cat([hidden.new_zeros(sizes[0], size), *(step[:count] for step, count in steps)])
        of_n = torch.ops.aten.tanh_backward(1.0 - z, n)  # derivative of the hidden state by n's argument
        of_z = torch.ops.aten.sigmoid_backward(before - n, z)
        of_r = torch.ops.aten.sigmoid_backward(of_n * recurrent, r)
        factors = torch.stack([of_r, of_z, of_n * r], dim=1)  # [P, 3, C] of the recurrent share
        slope, total = torch.empty_like(factors), gradient.clone()
        totals, slopes = total.split(sizes), slope.view(-1, 3 * size).split(sizes)
        parts = zip(slope.split(sizes), factors.split(sizes), z.split(sizes), strict=True)
        for step, (out, factor, update) in reversed(list(enumerate(parts))):
            torch.mul(totals[step][:, None], factor, out=out)
            if step:
                earlier = totals[step - 1][: sizes[step]]
                earlier.addmm_(slopes[step], w_hidden).addcmul_(totals[step], update)
        slope = slope.view(-1, 3 * size)
        of_w_hidden, of_b_hidden = slope.t() @ before, slope.sum(dim=0)
        torch.mul(total, of_n, out=slope[:, 2 * size :])  # r does not scale the input's share of n's argument
        of_inputs = slope @ w_input if ctx.needs_input_grad[0] else None
        return of_inputs, slope.t() @ inputs, of_w_hidden, slope.sum(dim=0), of_b_hidden, None


class Encoder(nn.Module):
    """A recurrent encoder of histories: the context is its state after the items so far, zero before the first."""

    config: Any
    """Dataclass; its `context_size` is the length C of a context."""

    def forward(self, items: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Contexts along every window: items [W, L, D] -> [W, L + 1, C], where [:, k] is the context after k items.

        Windows are padded on the right, which no context depends on. Of window w only the first `lengths[w]` items
        count where that [W] is given; later outputs have no meaning.
        """
        raise NotImplementedError

    def step(self, item: Tensor, hidden: Tensor) -> Tensor:
        """One more item for each of n histories: item [D], hidden [n, C] -> [n, C]; `forward` but for the last bits."""
        raise NotImplementedError


class ContextEncoder(Encoder):
    """One-layer GRU over history items; the context is its last hidden state, zero before the first item."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Linear(config.item_size, config.embedding_size) if config.embedding_size else None
        self.gru = nn.GRU(config.embedding_size or config.item_size, config.context_size, batch_first=True)

    def forward(self, items: Tensor, lengths: Tensor | None = None) -> Tensor:
        outputs = items.new_zeros(items.shape[0], items.shape[1] + 1, self.config.context_size)
        if not self.config.use_context or items.numel() == 0:
            return outputs
        if items.device.type != "cpu":  # a GPU has one fused kernel, and padding costs nothing
            outputs, _ = self.gru(self._embed(items))
            return F.pad(outputs, (0, 0, 1, 0))
        steps = np.arange(items.shape[1])
        longest = np.full(len(items), items.shape[1]) if lengths is None else lengths.numpy()
        order = np.argsort(-longest, kind="stable")
        alive = longest[order] > steps[:, None]  # [L, W]
        sizes = [count for count in alive.sum(axis=1).tolist() if count]
        if not sizes:
            return outputs
        step, place = np.nonzero(alive)
        at = torch.from_numpy(order[place]), torch.from_numpy(step)
        hidden = _PackedGRU.apply(self._embed(items[at]), *self.gru.all_weights[0], sizes)
        return outputs.index_put_((at[0], at[1] + 1), hidden)

    def step(self, item: Tensor, hidden: Tensor) -> Tensor:
        if not self.config.use_context:
            return torch.zeros_like(hidden)
        embedded = self._embed(item[None]).expand(len(hidden), -1)
        return torch.gru_cell(embedded, hidden, *self.gru.all_weights[0])

    def _embed(self, items: Tensor) -> Tensor:
        return items if self.embedding is None else 2.0 * torch.sigmoid(2.0 * self.embedding(items)) - 1.0


class Actor(nn.Module):
    """Deterministic policy from observation [.., O] and context [.., C] to action [.., A] in [-1, 1]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.use_context = config.use_context
        widths = (config.observation_size + config.context_size, *config.hidden_sizes, config.action_size)
        self.layers = nn.ModuleList(nn.Linear(width, next_width) for width, next_width in pairwise(widths))

    def forward(self, observation: Tensor, context: Tensor) -> Tensor:
        values = torch.cat([observation, context if self.use_context else torch.zeros_like(context)], dim=-1)
        for layer in self.layers[:-1]:
            values = F.relu(layer(values), inplace=True)
        return torch.tanh(self.layers[-1](values))


class _PairLinear(nn.Module):
    """Two linear layers in one batched product, from [2, M, I] to [2, M, J]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(2, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(2, 1, outputs).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        return torch.baddbmm(_first(self.bias, len(values)), values, _first(self.weight, len(values)))


class _PairLayerNorm(nn.Module):
    """LayerNorm over the last dimension; each of the two critics has its own scale and shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2, 1, width))
        self.shift = nn.Parameter(torch.zeros(2, 1, width))

    def forward(self, values: Tensor) -> Tensor:
        normal = F.layer_norm(values, values.shape[-1:])
        return torch.addcmul(_first(self.shift, len(values)), normal, _first(self.scale, len(values)))


def _first(pair: Tensor, count: int) -> Tensor:
    """Return the first `count` entries. All are not sliced: that would cost a copy in the backward pass."""
    return pair if count == len(pair) else pair[:count]


class TwinCritic(nn.Module):
    """Two action values (q1 [..], q2 [..]) of observation [.., O], context [.., C] and action [.., A]."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.use_context = config.use_context
        widths = (config.observation_size + config.context_size + config.action_size, *config.hidden_sizes)
        self.layers = nn.ModuleList(_PairLinear(width, next_width) for width, next_width in pairwise(widths))
        self.norms = nn.ModuleList(
            _PairLayerNorm(width) if config.critic_layer_norm else nn.Identity() for width in widths[1:]
        )
        self.head = _PairLinear(widths[-1], 1)

    def forward(self, observation: Tensor, context: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self._values(observation, context, action, 2)
        return first, second

    def first(self, observation: Tensor, context: Tensor, action: Tensor) -> Tensor:
        """q1 [..] alone, which is what the actor climbs."""
        return self._values(observation, context, action, 1)[0]

    def _values(self, observation: Tensor, context: Tensor, action: Tensor, count: int) -> Tensor:
        context = context if self.use_context else torch.zeros_like(context)
        values = torch.cat([observation, context, action], dim=-1)
        shape = values.shape[:-1]
        values = values.reshape(1, -1, values.shape[-1]).expand(count, -1, -1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            values = F.relu(norm(layer(values)), inplace=True)
        # One output each: a weighted sum is several times faster than a product with a single column.
        column = _first(self.head.weight, count).transpose(1, 2)
        return ((values * column).sum(dim=-1) + _first(self.head.bias, count)[..., 0]).reshape(count, *shape)
