"""The acting side of the context: one item at a time, over the same windows that training sees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mql_ros.algorithm.networks import ContextEncoder


class ContextTracker:
    """Context of the next step, with the hidden state carried within a block.

    A block closes on done, and after `block_length` steps where that is given. When the window rolls on to the last K
    blocks, they are encoded anew from zero, as training does. The same calls give the same bits.
    """

    def __init__(
        self,
        encoder: ContextEncoder,
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
        self._past: list[list[torch.Tensor]] = []
        self._open: list[torch.Tensor] = []
        self._hidden = self._zero()

    @property
    def context(self) -> NDArray[np.float32]:
        """[C] context of the next step; zero when nothing was experienced."""
        return self._hidden.cpu().numpy().copy()

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
        self._open.append(torch.from_numpy(item).to(self._hidden.device))
        if done or len(self._open) == self.block_length:
            self._close_block()
        else:
            self._hidden = self._run(self._open[-1:], self._hidden)
        return self.context

    def _close_block(self) -> None:
        self._past.append(self._open)
        last, self._open = self._open[-1:], []
        if len(self._past) <= self.history_blocks:
            self._hidden = self._run(last, self._hidden)
            return
        del self._past[: len(self._past) - self.history_blocks]
        self._hidden = self._run([item for block in self._past for item in block], self._zero())

    def _run(self, items: list[torch.Tensor], hidden: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            for item in items:
                hidden = self.encoder.step(item, hidden)
        return hidden

    def _zero(self) -> torch.Tensor:
        parameter = next(self.encoder.parameters())
        return torch.zeros(self.encoder.config.context_size, device=parameter.device)
