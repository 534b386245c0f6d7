"""The acting side of the context: one item at a time, over the same windows that training sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mql_ros.algorithm.networks import Encoder


class ContextTracker:
    """Context of the next step, with hidden states carried on: nothing is ever encoded twice.

    A block closes on done, and after `block_length` steps where that is given. The window then rolls on to the last K
    blocks, encoded from zero, as in training. Therefore one hidden state is carried for every block that the window
    of this step or of a later one begins with, at most K + 1 of them. The same calls give the same bits.
    """

    def __init__(
        self,
        encoder: Encoder,
        history_blocks: int,
        action_size: int,
        observation_size: int,
        block_length: int | None = None,
    ) -> None:
        self.encoder = encoder
        self.history_blocks = history_blocks
        self.action_size = action_size
        self.observation_size = observation_size
        self.block_length = block_length
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new object (task) begins."""
        parameter = next(self.encoder.parameters())
        # A row for each block that a window begins with, the oldest first: the window of the next step.
        self._hidden = torch.zeros(1, self.encoder.config.context_size, device=parameter.device)
        self._steps = 0  # of the open block

    @property
    def context(self) -> NDArray[np.float32]:
        """[C] context of the next step; zero when nothing was experienced."""
        return self._hidden[0].cpu().numpy().copy()

    def append(self, action: ArrayLike, reward: float, next_observation: ArrayLike, done: bool) -> NDArray[np.float32]:
        """Take in one step (action [A], reward, the observation [O] that followed, end of trial) -> context [C]."""
        action = np.asarray(action, dtype=np.float32)
        next_observation = np.asarray(next_observation, dtype=np.float32)
        if action.shape != (self.action_size,) or next_observation.shape != (self.observation_size,):
            raise ValueError(
                f"action and next_observation have shapes {action.shape} and {next_observation.shape}; "
                f"expected ({self.action_size},) and ({self.observation_size},)."
            )
        item = np.concatenate([action, [np.float32(reward)], next_observation, [np.float32(done)]], dtype=np.float32)
        if not np.all(np.isfinite(item)):
            raise ValueError("The step holds a number that is not finite; it cannot enter the context.")
        with torch.no_grad():
            self._hidden = self.encoder.step(torch.from_numpy(item).to(self._hidden.device), self._hidden)
        self._steps += 1
        if done or self._steps == self.block_length:
            self._close_block()
        return self.context

    def _close_block(self) -> None:
        """The window forgets the block before the last K; one more may begin with the block to come."""
        self._steps = 0
        kept = self._hidden[-self.history_blocks :] if self.history_blocks else self._hidden[:0]
        self._hidden = torch.cat([kept, self._hidden.new_zeros(1, self._hidden.shape[1])])
