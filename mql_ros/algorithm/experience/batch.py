"""A training batch: windows of history, each encoded once, and the transitions that look their contexts up in them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass
class Batch:
    """M transitions over W windows of at most L items (right-padded with zeros, D numbers an item).

    With `outputs = encoder(items)` [W, L + 1, C], the context of transition m is `outputs[row[m], position[m]]` and
    that of the step after it `outputs[next_row[m], next_position[m]]`: the very history the actor sees there.
    """

    items: Tensor
    """[W, L, D] windows; the first `gradient_rows` hold transitions, the others only answer next contexts."""
    gradient_rows: int
    """How many windows the gradient needs to pass through."""
    observation: Tensor
    """[M, O]"""
    action: Tensor
    """[M, A]"""
    reward: Tensor
    """[M]"""
    next_observation: Tensor
    """[M, O]"""
    terminal: Tensor
    """[M] 1 where no value follows, else 0."""
    row: Tensor
    """[M] int64"""
    position: Tensor
    """[M] int64"""
    next_row: Tensor
    """[M] int64"""
    next_position: Tensor
    """[M] int64"""
    weight: Tensor
    """[M] weight of the transition in every loss, one where nothing asks for another."""
    index: Tensor
    """[M] int64 transition index in the replay."""

    def __len__(self) -> int:
        return len(self.reward)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; itself where it is there already."""
        if self.items.device == torch.device(device):
            return self
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "gradient_rows"}
        return replace(self, **moved)


def concatenate(first: Batch, second: Batch) -> Batch:
    """One batch of both, for instance new data mixed with recycled data. Indices stay those of their own replays."""
    length = max(first.items.shape[1], second.items.shape[1])
    one = F.pad(first.items, (0, 0, 0, length - first.items.shape[1]))
    two = F.pad(second.items, (0, 0, 0, length - second.items.shape[1]))
    m, n = first.gradient_rows, second.gradient_rows
    joined = {
        f.name: torch.cat([getattr(first, f.name), getattr(second, f.name)])
        for f in fields(Batch)
        if f.name not in ("items", "gradient_rows")
    }
    for name in ("row", "next_row"):
        in_first, in_second = getattr(first, name), getattr(second, name)
        # Order of windows: gradient rows of both, then next-context rows of both.
        moved_first = torch.where(in_first < m, in_first, in_first + n)
        moved_second = torch.where(in_second < n, in_second + m, in_second + len(one))
        joined[name] = torch.cat([moved_first, moved_second])
    return Batch(items=torch.cat([one[:m], two[:n], one[m:], two[n:]]), gradient_rows=m + n, **joined)
