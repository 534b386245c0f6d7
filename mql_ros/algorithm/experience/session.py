"""What one robot experienced with one task, in order: the unit that the replay stores and never mixes with another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass
class Session:
    """A row of n transitions with one task (for grasping: one object), n >= 1, divided into blocks.

    A block is a trial (grasping) or a fixed number of steps (locomotion). O observation size, A action size.
    Raises ValueError where shapes disagree, a number is not finite or block numbers fall.
    """

    task: str
    """Name of the task; sessions with the same name share one task in even sampling."""
    observation: NDArray[np.float32]
    """[n, O] what was seen before the action."""
    action: NDArray[np.float32]
    """[n, A] the action, in [-1, 1]."""
    reward: NDArray[np.float32]
    """[n] the reward for it."""
    next_observation: NDArray[np.float32]
    """[n, O] what was seen after it."""
    done: NDArray[np.bool_]
    """[n] whether the trial (episode) ended there, for whatever reason. Part of the history item."""
    terminal: NDArray[np.bool_]
    """[n] whether the task itself ended there, so that no value follows; false at a time limit."""
    block: NDArray[np.int64]
    """[n] block number of each transition, never falling."""

    def __post_init__(self) -> None:
        self.observation = _matrix("observation", self.observation)
        n = len(self.observation)
        self.action = _matrix("action", self.action, rows=n)
        self.reward = _vector("reward", self.reward, n, np.float32)
        self.next_observation = _matrix("next_observation", self.next_observation, rows=n)
        self.done = _vector("done", self.done, n, np.bool_)
        self.terminal = _vector("terminal", self.terminal, n, np.bool_)
        self.block = _vector("block", self.block, n, np.int64)
        if self.next_observation.shape != self.observation.shape:
            raise ValueError(
                f"next_observation of session {self.task!r} has shape {self.next_observation.shape}; "
                f"expected that of observation, {self.observation.shape}."
            )
        if np.any(np.diff(self.block) < 0):
            raise ValueError(f"block numbers of session {self.task!r} fall; expected them in the order of experience.")
        if np.any(self.done[:-1] & (np.diff(self.block) == 0)):
            raise ValueError(f"a trial of session {self.task!r} ends inside a block; expected a new block after done.")

    def __len__(self) -> int:
        return len(self.reward)


def taken(session: Session, rows: NDArray, block: NDArray) -> Session:
    """The chosen rows (a mask, or indices in any order) of a session, with block numbers of their own."""
    columns = {f.name: getattr(session, f.name)[rows] for f in fields(Session) if f.name not in ("task", "block")}
    return Session(task=session.task, block=block, **columns)


def joined(parts: Sequence[Session]) -> Session:
    """Return parts of one session, in order, as a whole."""
    columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Session) if f.name != "task"}
    return Session(task=parts[0].task, **{name: np.concatenate(column) for name, column in columns.items()})


def resampled(session: Session, rng: np.random.Generator) -> Session:
    """The session with its blocks in random order; for tasks whose blocks do not depend on each other."""
    _, place = np.unique(session.block, return_inverse=True)
    places = rng.permutation(int(place.max()) + 1)[place]
    rows = np.argsort(places, kind="stable")
    return taken(session, rows, places[rows])


def stretches(session: Session, blocks: int) -> list[Session]:
    """Parts of a session, in order, of `blocks` blocks each; the last one may have fewer."""
    _, place = np.unique(session.block, return_inverse=True)
    masks = [place // blocks == number for number in range(int(place[-1]) // blocks + 1)]
    return [taken(session, mask, place[mask]) for mask in masks]


def block_numbers(done: ArrayLike, block_length: int | None = None) -> NDArray[np.int64]:
    """Block number of each step [n]: a block closes on done, and after `block_length` steps where that is given."""
    ends = np.asarray(done, dtype=np.bool_)
    numbers = np.zeros(len(ends), dtype=np.int64)
    number, length = 0, 0
    for step, end in enumerate(ends):
        numbers[step] = number
        length += 1
        if end or length == block_length:
            number, length = number + 1, 0
    return numbers


def _matrix(name: str, values: ArrayLike, rows: int | None = None) -> NDArray[np.float32]:
    array = np.ascontiguousarray(values, dtype=np.float32)
    if array.ndim != 2 or len(array) == 0 or (rows is not None and len(array) != rows):
        expected = "[n, size] with n >= 1" if rows is None else f"[{rows}, size]"
        raise ValueError(f"{name} has shape {array.shape}; expected {expected}.")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds a number that is not finite; expected finite numbers only.")
    return array


def _vector(name: str, values: ArrayLike, rows: int, dtype: type) -> NDArray:
    array: NDArray = np.ascontiguousarray(values).astype(dtype, copy=False)
    if array.shape != (rows,):
        raise ValueError(f"{name} has shape {array.shape}; expected [{rows}], one entry per transition.")
    if dtype is np.float32 and not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds a number that is not finite; expected finite numbers only.")
    return array
