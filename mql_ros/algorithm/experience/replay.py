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


class _Units:
    """What is drawn, blocks or whole sessions: n units, those of a task together, in the order of their transitions."""

    def __init__(self, last: NDArray, lengths: NDArray, tasks: NDArray) -> None:
        """Last block, number of transitions and task of each unit [n]."""
        self.last, self.lengths = last, lengths
        self._starts = np.flatnonzero(np.diff(tasks, prepend=-1))
        self._counts = np.diff(np.append(self._starts, len(last)))
        self._task = np.repeat(np.arange(len(self._counts)), self._counts)
        mean_length = np.add.reduceat(lengths, self._starts) / self._counts
        # A task with long units puts more transitions into a batch; this weight makes each task weigh 1/n.
        self._even: NDArray[np.float32] = (mean_length.mean() / mean_length).astype(np.float32)
        self._proportional: tuple[NDArray, NDArray, NDArray] | None = None

    def even(self, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray]:
        """Units drawn evenly over tasks, then within each [count]; and their weights in the loss."""
        task = rng.integers(len(self._counts), size=count)
        return self._starts[task] + (rng.random(count) * self._counts[task]).astype(np.int64), self._even[task]

    def proportional(
        self, count: int, rng: np.random.Generator, weights: NDArray, transitions: NDArray
    ) -> tuple[NDArray[np.int64], NDArray]:
        """Units drawn in proportion to even sampling times their mean weight [count]; and one over that mean."""
        if self._proportional is None or self._proportional[0] is not weights:
            begins = np.cumsum(self.lengths) - self.lengths
            mean = np.add.reduceat(weights[transitions].astype(np.float64), begins) / self.lengths
            share = self._even[self._task] * mean / (len(self._counts) * self._counts[self._task])
            if not np.all(np.isfinite(share)) or share.sum() <= 0.0 or np.any(share < 0.0):
                raise ValueError(
                    "Weights must be finite, not negative, and somewhere positive to sample in proportion."
                )
            self._proportional = (weights, np.cumsum(share), 1.0 / np.where(mean > 0.0, mean, 1.0))
        _, cumulative, inverse = self._proportional
        place = np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right")
        place = np.minimum(place, len(inverse) - 1)
        return place, inverse[place]

    def distinct(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Up to `count` distinct units, in order, drawn evenly over tasks."""
        total = len(self.last)
        if count >= total:
            return np.arange(total)
        rank = np.empty(total)
        shuffled = rng.permutation(total)
        by_task = np.lexsort((shuffled, self._task))
        rank[by_task] = np.arange(total) - self._starts[self._task[by_task]]
        return np.sort(np.lexsort((shuffled, rank))[:count])


class Replay(SessionStorage):
    """Stored sessions, sampled evenly over tasks, in proportion to weights, or by index, in vectorised numpy."""

    _live: NDArray[np.int32]
    """All blocks in order; what follows is made of it when first asked for."""
    _every: NDArray[np.int64] | None
    _units: dict[str, _Units]

    @classmethod
    def of(
        cls,
        sessions: Sequence[Session],
        observation_size: int,
        action_size: int,
        history_blocks: int,
        view_size: int = 0,
    ) -> Replay:
        """Return a replay that holds exactly these sessions, in order, with no room for more; it may be empty."""
        capacity = max(1, sum(map(len, sessions)))
        replay = cls(observation_size, action_size, history_blocks, capacity, view_size)
        for session in sessions:
            replay.add(session)
        return replay

    def transition_indices(self) -> NDArray[np.int64]:
        """Return the index of every stored transition, sorted by task, each session in order."""
        self._refresh()
        if self._every is None:
            self._every = self._slots_up_to(self._live, self._table["length"][self._live])
        return self._every

    def task_of(self, indices: ArrayLike) -> list[str]:
        """Return the task name of each transition index."""
        return [self._tasks[task] for task in self._table["task"][self._block[np.asarray(indices)]]]

    def block_of(self, indices: ArrayLike) -> NDArray[np.int64]:
        """Return the block identifier [m] of each transition index, for instance to keep trials together in folds."""
        return self._block[np.asarray(indices)].astype(np.int64)

    def session_of(self, indices: ArrayLike) -> NDArray[np.int64]:
        """[m] identifier of the session of each transition index."""
        return self._table["session"][self._block[np.asarray(indices)]].astype(np.int64)

    def sample(self, num_blocks: int, rng: np.random.Generator, weights: NDArray | None = None) -> Batch:
        """Draw tasks evenly, then blocks within each, with all their transitions: each of n tasks weighs 1/n.

        `weights` [index_size] multiplies each transition's weight in the losses.
        """
        units = self._blocks()
        place, scale = units.even(num_blocks, rng)
        return self._of_blocks(units.last[place], scale, weights)

    def sample_proportional(self, num_blocks: int, rng: np.random.Generator, weights: NDArray) -> Batch:
        """Draw blocks in proportion to even task sampling times their mean weight, from `weights` [index_size].

        A transition's weight in the batch is its own over its block's mean. The expected loss is then, up to a
        constant, that of `sample(..., weights)`. The weights must not be changed in place between calls.
        """
        units = self._blocks()
        place, scale = units.proportional(num_blocks, rng, weights, self.transition_indices())
        return self._of_blocks(units.last[place], scale, weights)

    def sample_sessions(
        self, count: int, rng: np.random.Generator, shuffled: float = 0.0, weights: NDArray | None = None
    ) -> Batch:
        """Draw whole sessions with all their transitions, one window each: evenly over tasks, or as `weights` say.

        With `weights` [index_size], sessions are drawn as `sample_proportional` draws blocks. In a share `shuffled`
        of them the blocks come in random order (beyond the paper: trials with one object are exchangeable).
        Raises ValueError for a session that is longer than a history.
        """
        units, table = self._whole_sessions(), self._table
        if weights is None:
            place, scale = units.even(count, rng)
        else:
            place, scale = units.proportional(count, rng, weights, self.transition_indices())
        last, past = units.last[place], table["place"][units.last[place]]
        if np.any(past > self.history_blocks):
            session = table["session"][last[np.argmax(past)]]
            raise ValueError(
                f"Session {session} has {past.max() + 1} blocks; a history holds {self.history_blocks + 1}."
            )
        window, counts = self._walk(last, units.lengths[place])
        if shuffled > 0.0:
            number = table["place"][self._block[window]]
            drawn = np.take_along_axis(rng.random((count, past.max() + 1)), number, axis=1)
            key = np.where(rng.random((count, 1)) < shuffled, drawn, number)
            key[np.arange(window.shape[1]) >= counts[:, None]] = np.inf
            window = np.take_along_axis(window, np.argsort(key, axis=1, kind="stable"), axis=1)
        row = np.repeat(np.arange(count), counts)
        position = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        weight = scale[row] if weights is None else scale[row] * weights[window[row, position]]
        return self._assemble(window, counts, past == self.history_blocks, row, position, weight)

    def sample_unique(self, count: int, rng: np.random.Generator, sessions: bool = False) -> NDArray[np.int64]:
        """Transition indices of up to `count` distinct blocks, or whole sessions, drawn evenly over tasks."""
        units = self._whole_sessions() if sessions else self._blocks()
        place = units.distinct(count, rng)
        return self._slots_up_to(units.last[place], units.lengths[place])

    def gather(self, indices: ArrayLike) -> Batch:
        """Return the batch of these transition indices, in any order; repeats are allowed.

        Raises ValueError for an empty row, and for an index without a stored transition.
        """
        slots = np.asarray(indices, dtype=np.int64)
        if slots.ndim != 1 or len(slots) == 0 or np.any(slots < 0) or np.any(slots >= self.capacity):
            raise ValueError("Transition indices must be a row of at least one index within the replay.")
        if np.any(self._block[slots] < 0):
            raise ValueError("A transition index points to no stored transition; take indices from the replay anew.")
        blocks, table = np.unique(self._block[slots]), self._table
        # Windows that begin where the session does are parts of the longest one, which serves them all.
        early = table["place"][blocks] <= self.history_blocks
        group = np.where(early, table["session"][blocks], -1 - blocks)
        order = np.lexsort((table["place"][blocks], group))
        longest = np.append(np.diff(group[order]) != 0, True)
        row_of = np.zeros(len(self._closed), dtype=np.int64)
        row_of[blocks[order]] = np.cumsum(longest) - longest
        row, blocks = row_of[self._block[slots]], blocks[order][longest]
        window, counts = self._walk(blocks, table["history"][blocks] + table["length"][blocks])
        inside = np.arange(window.shape[1]) < counts[:, None]
        position = np.argmax((window[row] == slots[:, None]) & inside[row], axis=1)
        full = table["place"][blocks] >= self.history_blocks
        return self._assemble(window, counts, full, row, position, np.ones(len(slots)))

    def _refresh(self) -> None:
        """Order of all blocks by task, session and time: independent of where in memory they lie."""
        if not self._stale:
            return
        table = self._table
        blocks = np.array([block for record in self._sessions.values() for block in record.blocks], dtype=np.int32)
        order = np.lexsort(tuple(table[name][blocks] for name in ("place", "session", "task")))
        self._live = blocks[order]
        self._every = None
        self._units = {}
        self._stale = False

    def _blocks(self) -> _Units:
        self._refuse_empty()
        if "blocks" not in self._units:
            lengths, tasks = self._table["length"][self._live], self._table["task"][self._live]
            self._units["blocks"] = _Units(self._live, lengths, tasks)
        return self._units["blocks"]

    def _whole_sessions(self) -> _Units:
        self._refuse_empty()
        if "sessions" not in self._units:
            live, table = self._live, self._table
            first = np.flatnonzero(table["place"][live] == 0)
            lengths = np.add.reduceat(table["length"][live], first)
            last = live[np.append(first[1:], len(live)) - 1]
            self._units["sessions"] = _Units(last, lengths, table["task"][last])
        return self._units["sessions"]

    def _refuse_empty(self) -> None:
        if self._length == 0:
            raise ValueError("The replay is empty; add a session before sampling from it.")
        self._refresh()

    def _of_blocks(self, blocks: NDArray, scale: NDArray, weights: NDArray | None) -> Batch:
        history, length = self._table["history"][blocks], self._table["length"][blocks]
        window, counts = self._walk(blocks, history + length)
        row = np.repeat(np.arange(len(blocks)), length)
        begins = np.cumsum(length) - length
        position = np.arange(len(row)) - begins[row] + history[row]
        weight = scale[row] if weights is None else scale[row] * weights[window[row, position]]
        full = self._table["place"][blocks] >= self.history_blocks
        return self._assemble(window, counts, full, row, position, weight)

    def _assemble(
        self, window: NDArray, counts: NDArray, full: NDArray, row: NDArray, position: NDArray, weight: NDArray
    ) -> Batch:
        """Batch of the transitions [M] at rows and positions of windows.

        Of each window of slots [W, L] the first `counts` are used; a full one is left by its first block when another
        block begins.
        """
        slots, gradient_rows = window[row, position], len(window)
        next_row, next_position = row.copy(), position + 1
        # At the end of a closed block the actor's next window may start later: an extra window answers for it.
        rolls = full & self._closed[self._block[window[np.arange(gradient_rows), counts - 1]]]
        ends = (position + 1 == counts[row]) & rolls[row] & ~self._terminal[slots]
        if np.any(ends):
            extra, extra_row = np.unique(row[ends], return_inverse=True)
            gone = self._table["length"][self._block[window[extra, 0]]]
            next_row[ends] = gradient_rows + extra_row
            next_position[ends] -= gone[extra_row]
            column = np.minimum(np.arange(window.shape[1]) + gone[:, None], window.shape[1] - 1)
            window = np.concatenate([window, np.take_along_axis(window[extra], column, axis=1)])
            counts = np.concatenate([counts, counts[extra] - gone])
        rows, split = self._items[slots], self.action_size
        arrays = dict(
            items=self._windows(window, counts),
            observation=self._with_view(slots, self._observation[slots]),
            action=rows[:, :split],
            reward=rows[:, split],
            next_observation=self._with_view(slots, rows[:, split + 1 : -1]),
            terminal=self._terminal[slots].astype(np.float32),
            row=row.astype(np.int64),
            position=position.astype(np.int64),
            next_row=next_row.astype(np.int64),
            next_position=next_position.astype(np.int64),
            weight=weight.astype(np.float32),
            index=slots.astype(np.int64),
        )
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        return Batch(gradient_rows=gradient_rows, **tensors)

    def _windows(self, window: NDArray, counts: NDArray) -> NDArray[np.float32]:
        items, split = self._items[window], self.action_size + 1
        if self.view_size:
            seen = self._with_view(window, items[..., split:-1])
            items = np.concatenate([items[..., :split], seen, items[..., -1:]], axis=-1)
        items[np.arange(window.shape[1]) >= counts[:, None]] = 0.0
        return items
