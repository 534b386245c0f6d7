"""Replay memory that stores each transition once and gathers history windows by index.

The history of a step is the last K = `history_blocks` blocks and its own block so far. The start of that window is
constant within a block. One recurrent pass over the window therefore gives the context of every step of the block, and
an acting policy can carry the hidden state.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mql_ros.algorithm.experience.batch import Batch, concatenate
from mql_ros.algorithm.experience.session import Session, block_numbers
from mql_ros.algorithm.experience.storage import SessionStorage

__all__ = ["Batch", "Replay", "Session", "block_numbers", "concatenate"]


class Replay(SessionStorage):
    """Stored sessions, sampled evenly over tasks, in proportion to weights, or by index, in vectorised numpy."""

    @classmethod
    def of(cls, sessions: Sequence[Session], observation_size: int, action_size: int, history_blocks: int) -> Replay:
        """Return a replay that holds exactly these sessions, in order, with no room for more; it may be empty."""
        replay = cls(observation_size, action_size, history_blocks, capacity=max(1, sum(map(len, sessions))))
        for session in sessions:
            replay.add(session)
        return replay

    def transition_indices(self) -> NDArray[np.int64]:
        """Return the index of every stored transition, sorted by task, each session in order."""
        self._refresh()
        window, counts = self._walk(self._live, self._table["length"][self._live])
        return window[np.arange(window.shape[1]) < counts[:, None]]

    def task_of(self, indices: ArrayLike) -> list[str]:
        """Return the task name of each transition index."""
        return [self._tasks[task] for task in self._table["task"][self._block[np.asarray(indices)]]]

    def block_of(self, indices: ArrayLike) -> NDArray[np.int64]:
        """Return the block identifier [m] of each transition index, for instance to keep trials together in folds."""
        return self._block[np.asarray(indices)].astype(np.int64)

    def block_return(self, indices: ArrayLike) -> NDArray[np.float64]:
        """Return for each transition index the sum of the rewards of its block [m]."""
        everything = self.transition_indices()
        totals = np.bincount(self._block[everything], weights=self._items[everything, self.action_size])
        return totals[self._block[np.asarray(indices)]]

    def success_mask(self, success_return: float) -> torch.Tensor:
        """Return [index_size]: 1 for transitions of blocks whose rewards sum to at least `success_return`, else 0."""
        everything = self.transition_indices()
        won = self.block_return(everything) >= success_return
        mask = torch.zeros(self.index_size)
        mask[torch.from_numpy(everything[won])] = 1.0
        return mask

    def _refresh(self) -> None:
        """Order all blocks by task, session and time, independent of their place in memory."""
        if not self._stale:
            return
        table = self._table
        blocks = np.array([block for record in self._sessions.values() for block in record.blocks], dtype=np.int32)
        order = np.lexsort((table["order"][blocks], table["session"][blocks], table["task"][blocks]))
        self._live = blocks[order]
        tasks = table["task"][self._live]
        self._starts = np.flatnonzero(np.diff(tasks, prepend=-1))
        self._counts = np.diff(np.append(self._starts, len(blocks)))
        lengths = table["length"][self._live]
        mean_length = np.add.reduceat(lengths, self._starts) / self._counts if len(blocks) else np.zeros(0)
        # A task with long blocks puts more transitions into a batch; this weight makes each task weigh 1/n.
        even = mean_length.mean() / mean_length if len(blocks) else mean_length
        self._even_weight = np.zeros(len(self._tasks), dtype=np.float32)
        self._even_weight[tasks[self._starts]] = even
        self._base_probability = np.repeat(1.0 / (len(self._counts) * np.maximum(self._counts, 1)), self._counts)
        self._proportional: tuple[NDArray, NDArray, NDArray] | None = None
        self._stale = False

    def sample(self, num_blocks: int, rng: np.random.Generator, weights: NDArray | None = None) -> Batch:
        """Draw tasks evenly, then blocks within each, with all their transitions: each of n tasks weighs 1/n.

        `weights` [index_size] multiplies each transition's weight in the losses.
        """
        return self._of_blocks(self._draw(num_blocks, rng), weights)

    def sample_unique(self, num_blocks: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the transition indices of up to `num_blocks` distinct blocks, drawn evenly over tasks."""
        blocks = self._live_blocks()
        if num_blocks < len(blocks):
            rank = np.empty(len(blocks))
            shuffled = rng.permutation(len(blocks))
            tasks = np.repeat(np.arange(len(self._counts)), self._counts)
            by_task = np.lexsort((shuffled, tasks))
            rank[by_task] = np.arange(len(blocks)) - self._starts[tasks[by_task]]
            blocks = blocks[np.sort(np.lexsort((shuffled, rank))[:num_blocks])]
        window, counts = self._walk(blocks, self._table["length"][blocks])
        return window[np.arange(window.shape[1]) < counts[:, None]]

    def sample_proportional(self, num_blocks: int, rng: np.random.Generator, weights: NDArray) -> Batch:
        """Draw blocks in proportion to even task sampling times their mean weight, from `weights` [index_size].

        A transition's weight in the batch is its own over its block's mean. The expected loss is then, up to a
        constant, that of `sample(..., weights)`. The weights must not be changed in place between calls.
        """
        blocks = self._live_blocks()
        if self._proportional is None or self._proportional[0] is not weights:
            every = self.transition_indices()
            mean = np.bincount(self._block[every], weights=weights[every], minlength=len(self._closed))[blocks]
            mean = mean / self._table["length"][blocks]
            share = self._base_probability * self._even_weight[self._table["task"][blocks]] * mean
            if not np.all(np.isfinite(share)) or share.sum() <= 0.0 or np.any(share < 0.0):
                raise ValueError(
                    "Weights must be finite, not negative, and somewhere positive to sample in proportion."
                )
            inverse = np.zeros(len(self._closed))
            inverse[blocks] = 1.0 / np.where(mean > 0.0, mean, 1.0)
            self._proportional = (weights, np.cumsum(share), inverse)
        _, cumulative, inverse = self._proportional
        place = np.searchsorted(cumulative, rng.random(num_blocks) * cumulative[-1], side="right")
        chosen = blocks[np.minimum(place, len(blocks) - 1)]
        return self._of_blocks(chosen, weights, inverse)

    def gather(self, indices: ArrayLike) -> Batch:
        """Return the batch of these transition indices, in any order; repeats are allowed.

        Raises ValueError for an empty row, and for an index without a stored transition.
        """
        slots = np.asarray(indices, dtype=np.int64)
        if slots.ndim != 1 or len(slots) == 0 or np.any(slots < 0) or np.any(slots >= self.capacity):
            raise ValueError("Transition indices must be a row of at least one index within the replay.")
        if np.any(self._block[slots] < 0):
            raise ValueError("A transition index points to no stored transition; take indices from the replay anew.")
        blocks, row = np.unique(self._block[slots], return_inverse=True)
        window, counts = self._walk(blocks, self._table["history"][blocks] + self._table["length"][blocks])
        inside = np.arange(window.shape[1]) < counts[:, None]
        position = np.argmax((window[row] == slots[:, None]) & inside[row], axis=1)
        return self._assemble(blocks, window, counts, row, position, slots, np.ones(len(slots), dtype=np.float32))

    def _live_blocks(self) -> NDArray:
        if self._length == 0:
            raise ValueError("The replay is empty; add a session before sampling from it.")
        self._refresh()
        return self._live

    def _draw(self, num_blocks: int, rng: np.random.Generator) -> NDArray:
        blocks = self._live_blocks()
        task = rng.integers(len(self._counts), size=num_blocks)
        return blocks[self._starts[task] + (rng.random(num_blocks) * self._counts[task]).astype(np.int64)]

    def _of_blocks(self, blocks: NDArray, weights: NDArray | None, scale: NDArray | None = None) -> Batch:
        history, length = self._table["history"][blocks], self._table["length"][blocks]
        window, counts = self._walk(blocks, history + length)
        row = np.repeat(np.arange(len(blocks)), length)
        begins = np.cumsum(length) - length
        position = np.arange(len(row)) - begins[row] + history[row]
        slots = window[row, position]
        if scale is None:
            weight = self._even_weight[self._table["task"][blocks]][row]
        else:
            weight = scale[blocks][row]
        if weights is not None:
            weight = weight * weights[slots]
        return self._assemble(blocks, window, counts, row, position, slots, weight)

    def _assemble(
        self,
        blocks: NDArray,
        window: NDArray,
        counts: NDArray,
        row: NDArray,
        position: NDArray,
        slots: NDArray,
        weight: NDArray,
    ) -> Batch:
        table = self._table
        next_row, next_position = row.copy(), position + 1
        # After the end of a closed block the actor's next window may start later, so it needs an extra window.
        dropped = table["dropped"][blocks]
        kept = np.where(dropped < 0, 0, counts - np.maximum(dropped, 0))
        ends = (position + 1 == counts[row]) & self._closed[blocks][row] & ~self._terminal[slots] & (dropped[row] != 0)
        items = self._windows(window, counts)
        if np.any(ends):
            extra, extra_row = np.unique(row[ends], return_inverse=True)
            next_row[ends] = len(blocks) + extra_row
            next_position[ends] = kept[extra][extra_row]
            extra_window, extra_counts = self._walk(blocks[extra], kept[extra])
            padded = np.zeros((len(extra), *items.shape[1:]), dtype=np.float32)
            padded[:, : extra_window.shape[1]] = self._windows(extra_window, extra_counts)
            items = np.concatenate([items, padded])
        rows = self._items[slots]
        split = self.action_size
        teacher = np.zeros((len(slots), split), dtype=np.float32)
        taught = np.zeros(len(slots), dtype=np.float32)
        if self._teacher is not None:
            found = self._teacher[slots]
            taught = np.all(np.isfinite(found), axis=1).astype(np.float32)
            teacher = np.where(taught[:, None] > 0.0, found, np.float32(0.0))
        arrays = dict(
            items=items,
            observation=self._observation[slots],
            action=rows[:, :split],
            reward=rows[:, split],
            next_observation=rows[:, split + 1 : -1],
            terminal=self._terminal[slots].astype(np.float32),
            row=row.astype(np.int64),
            position=position.astype(np.int64),
            next_row=next_row.astype(np.int64),
            next_position=next_position.astype(np.int64),
            weight=weight.astype(np.float32),
            teacher_action=teacher,
            teacher_mask=taught,
            index=slots.astype(np.int64),
        )
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return Batch(gradient_rows=len(blocks), **tensors)

    def _windows(self, window: NDArray, counts: NDArray) -> NDArray[np.float32]:
        items = self._items[window]
        items[np.arange(window.shape[1]) >= counts[:, None]] = 0.0
        return items
