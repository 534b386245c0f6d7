"""Contexts of many environments while acting, from the same windows as the replay's for training."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mql_ros.algorithm.networks import Encoder


class BatchedHistory:
    """History windows of N environments: the last K closed blocks and the open one, of at most B items each.

    The counterpart of `ContextTracker` for many robots. It encodes whole windows, so contexts are always those of the
    present encoder, even if it learns between two steps.
    """

    def __init__(self, environments: int, item_size: int, history_blocks: int, block_length: int) -> None:
        self._items = np.zeros((environments, (history_blocks + 1) * block_length, item_size), dtype=np.float32)
        self._counts = np.zeros(environments, dtype=np.int64)
        self._blocks: list[list[int]] = [[0] for _ in range(environments)]  # lengths in the window, the open one last
        self._history_blocks, self._block_length = history_blocks, block_length

    def append(self, items: NDArray[np.float32]) -> None:
        """Append one step of every environment: items [N, D] of action, reward, next observation, end of episode."""
        rows = np.arange(len(items))
        self._items[rows, self._counts] = items
        self._counts += 1
        for row, done in zip(rows.tolist(), (items[:, -1] > 0.0).tolist(), strict=True):
            blocks = self._blocks[row]
            blocks[-1] += 1
            if done or blocks[-1] == self._block_length:
                blocks.append(0)
                if len(blocks) > self._history_blocks + 1:
                    dropped, count = blocks.pop(0), self._counts[row]
                    self._items[row, : count - dropped] = self._items[row, dropped:count]
                    self._counts[row] -= dropped

    def contexts(self, encoder: Encoder) -> Tensor:
        """Contexts [N, C] of the next step, on the CPU and without gradient."""
        device = next(encoder.parameters()).device
        with torch.no_grad():
            outputs = encoder(torch.from_numpy(self._items[:, : int(self._counts.max())]).to(device)).cpu()
            return outputs[torch.arange(len(self._counts)), torch.from_numpy(self._counts)]
