"""Storage of sessions: each transition once, in flat arrays, with links between slots for their order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mql_ros.algorithm.experience.session import Session

_BLOCK_COLUMNS = ("last", "length", "history", "place", "task", "session")
_HUNDREDTHS = (np.arange(256) / 100.0).astype(np.float32)

Storage = TypeVar("Storage", bound="SessionStorage")


@dataclass
class _Record:
    """Bookkeeping of a stored session."""

    task: int
    blocks: list[int] = field(default_factory=list)
    number: int = 0  # block number of the last block
    length: int = 0


class SessionStorage:
    """Sessions of transitions. Beyond `capacity` transitions, the oldest sessions are dropped as a whole."""

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        history_blocks: int,
        capacity: int = 1_000_000,
        view_size: int = 0,
    ) -> None:
        """K = history_blocks >= 0 past blocks belong to a history; capacity counts transitions.

        The first `view_size` entries of an observation are a view: constant within a block and whole hundredths from
        0 to 2.55. It is stored once for each block, a byte an entry.
        """
        if min(observation_size, action_size, capacity) < 1 or history_blocks < 0:
            raise ValueError("observation_size, action_size and capacity must be at least 1, history_blocks 0 or more.")
        if not 0 <= view_size < observation_size:
            raise ValueError(f"view_size is {view_size}; expected 0 or more, and fewer than observation_size.")
        self.view_size = view_size
        self.observation_size, self.action_size = observation_size, action_size
        self.history_blocks, self.capacity = history_blocks, capacity
        # A history item (action, reward, next observation, done) has the layout that the encoder reads.
        # Untouched pages of these arrays take no memory.
        self._items = np.zeros((capacity, action_size + 1 + observation_size - view_size + 1), dtype=np.float32)
        self._observation = np.zeros((capacity, observation_size - view_size), dtype=np.float32)
        self._views = np.zeros((16, view_size), dtype=np.uint8)  # by block
        self._terminal = np.zeros(capacity, dtype=np.bool_)
        self._previous = np.zeros(capacity, dtype=np.int32)  # slot before it in the session; itself at the start
        self._block = np.full(capacity, -1, dtype=np.int32)
        self._table = {name: np.zeros(16, dtype=np.int32) for name in _BLOCK_COLUMNS}
        self._closed = np.zeros(16, dtype=np.bool_)
        self._free_blocks: list[int] = list(range(15, -1, -1))
        self._free_slots: list[NDArray[np.int64]] = []
        self._high_water = 0
        self._length = 0
        self._tasks: list[str] = []
        self._task_ids: dict[str, int] = {}
        self._sessions: dict[int, _Record] = {}
        self._next_session = 0
        self._stale = True

    def __len__(self) -> int:
        return self._length

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Observation size O, action size A and number K of history blocks."""
        return self.observation_size, self.action_size, self.history_blocks

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that have data, in the order of first appearance."""
        live = {record.task for record in self._sessions.values()}
        return [name for task, name in enumerate(self._tasks) if task in live]

    @property
    def num_tasks(self) -> int:
        """Number of tasks that have data."""
        return len(self.tasks)

    @property
    def num_blocks(self) -> int:
        """Number of stored blocks."""
        return sum(len(record.blocks) for record in self._sessions.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use, with all bookkeeping."""
        arrays = [self._items, self._observation, self._terminal, self._previous, self._block]
        row = sum(array.nbytes // self.capacity for array in arrays)
        block = 4 * len(_BLOCK_COLUMNS) + 1 + 4 + self.view_size  # table, closed flag, place in the sampling order
        freed = sum(slots.nbytes for slots in self._free_slots)
        return row * self._high_water + block * self.num_blocks + freed

    @property
    def index_size(self) -> int:
        """Length of an array over transition indices: one more than the largest in use."""
        return self._high_water

    def add(self, session: Session) -> int:
        """Store a session; returns its identifier. Drops the oldest sessions where there is no room."""
        views = self._views_of(session)
        if len(session) > self.capacity:
            raise ValueError(
                f"The session of task {session.task!r} has {len(session)} transitions, more than the replay's capacity "
                f"of {self.capacity}; give the replay more, or split the session."
            )
        if session.task not in self._task_ids:
            self._task_ids[session.task] = len(self._tasks)
            self._tasks.append(session.task)
        identifier = self._next_session
        self._next_session += 1
        self._append(identifier, _Record(self._task_ids[session.task]), session, views)
        return identifier

    def extend(self, identifier: int, part: Session) -> None:
        """Append what the same robot experienced next to an open session; its block numbers go on from there."""
        views = self._views_of(part)
        record = self._sessions.get(identifier)
        if record is None:
            raise ValueError(f"Session {identifier} is not in the replay (never added, or dropped); add a new one.")
        if self._tasks[record.task] != part.task:
            raise ValueError(f"Session {identifier} is of task {self._tasks[record.task]!r}, not {part.task!r}.")
        ended = self._items[self._table["last"][record.blocks[-1]], -1] > 0.0
        if part.block[0] < record.number or (ended and part.block[0] == record.number):
            raise ValueError(
                f"The part starts in block {part.block[0]}, but session {identifier} is in block {record.number}"
                f"{', which has ended' if ended else ''}; number the blocks onwards."
            )
        if record.length + len(part) > self.capacity:
            raise ValueError(f"Session {identifier} would outgrow the replay's capacity of {self.capacity}.")
        if part.block[0] == record.number and not np.array_equal(views[0], self._views[record.blocks[-1]]):
            raise ValueError(f"The view changes within block {record.number} of session {identifier}.")
        self._append(identifier, record, part, views)

    def _views_of(self, session: Session) -> NDArray[np.uint8]:
        """The views [blocks, V] of a session that fits the replay, in hundredths; ValueError for another one."""
        sizes = session.observation.shape[1], session.action.shape[1]
        if sizes != (self.observation_size, self.action_size):
            raise ValueError(
                f"A session of task {session.task!r} has observation and action sizes {sizes}; "
                f"this replay holds {(self.observation_size, self.action_size)}."
            )
        begins, numbers = np.unique(session.block, return_index=True, return_inverse=True)[1:]
        seen = session.observation[:, : self.view_size]
        views = np.rint(np.clip(seen[begins] * 100.0, 0.0, 255.0)).astype(np.uint8)
        known = _HUNDREDTHS[views]
        if not np.array_equal(known, seen[begins]):
            raise ValueError(f"A view of task {session.task!r} has other entries than whole hundredths from 0 to 2.55.")
        for entries in (seen, session.next_observation[:, : self.view_size]):
            if not np.array_equal(known[numbers], entries):
                raise ValueError(f"A view of task {session.task!r} changes within a block.")
        return views

    def _append(self, identifier: int, record: _Record, part: Session, views: NDArray[np.uint8]) -> None:
        """Store a part with the views [blocks, V] of its blocks; its observations may hold the other entries alone."""
        self._make_room(len(part), keep=identifier)
        slots = self._take_slots(len(part))
        observation, following = (
            seen[:, -self._observation.shape[1] :] for seen in (part.observation, part.next_observation)
        )
        self._items[slots] = np.concatenate([part.action, part.reward[:, None], following, part.done[:, None]], axis=1)
        self._observation[slots] = observation
        self._terminal[slots] = part.terminal
        self._previous[slots[1:]] = slots[:-1]
        self._previous[slots[0]] = self._table["last"][record.blocks[-1]] if record.blocks else slots[0]
        ends = np.append(np.flatnonzero(np.diff(part.block)), len(part) - 1)
        begin = 0
        for end, view in zip(ends.tolist(), views, strict=True):
            block = self._block_for(identifier, record, int(part.block[begin]))
            self._views[block] = view
            self._block[slots[begin : end + 1]] = block
            self._table["last"][block] = slots[end]
            self._table["length"][block] += end + 1 - begin
            self._closed[block] = part.done[end]
            begin = end + 1
        record.length += len(part)
        self._sessions[identifier] = record
        self._length += len(part)
        self._stale = True

    def _block_for(self, identifier: int, record: _Record, number: int) -> int:
        """Return the session's open block if it has that number; else close it and return a new block."""
        if record.blocks and record.number == number:
            return record.blocks[-1]
        if not self._free_blocks:
            size = len(self._closed)
            self._table = {name: np.append(column, np.zeros_like(column)) for name, column in self._table.items()}
            self._closed = np.append(self._closed, np.zeros_like(self._closed))
            self._views = np.concatenate([self._views, np.zeros_like(self._views)])
            self._free_blocks = list(range(2 * size - 1, size - 1, -1))
        block, table, past = self._free_blocks.pop(), self._table, record.blocks
        if past:
            self._closed[past[-1]] = True
        kept = past[-self.history_blocks :] if self.history_blocks else []
        history = int(table["length"][kept].sum()) if kept else 0
        values = dict(length=0, history=history, place=len(past), task=record.task, session=identifier)
        for name, value in values.items():
            table[name][block] = value
        record.number = number
        record.blocks.append(block)
        return block

    def _make_room(self, count: int, keep: int) -> None:
        while self.capacity - self._length < count:
            oldest = next(identifier for identifier in self._sessions if identifier != keep)
            blocks = np.array(self._sessions.pop(oldest).blocks)
            slots = self._slots_up_to(blocks, self._table["length"][blocks])
            self._block[slots] = -1
            self._free_slots.append(slots.astype(np.int32))
            self._free_blocks.extend(blocks[::-1].tolist())
            self._length -= len(slots)
            self._stale = True

    def _take_slots(self, count: int) -> NDArray[np.int64]:
        """Return free slots: those freed longest ago first, then unused ones."""
        taken: list[NDArray] = []
        while count and self._free_slots:
            slots = self._free_slots.pop(0)
            if len(slots) > count:
                self._free_slots.insert(0, slots[count:])
            taken.append(slots[:count])
            count -= len(taken[-1])
        taken.append(np.arange(self._high_water, self._high_water + count))
        self._high_water += count
        return np.concatenate(taken).astype(np.int64)

    def _walk(self, blocks: NDArray, counts: NDArray) -> tuple[NDArray[np.int64], NDArray]:
        """Return the slots [W, L] of the last `counts` transitions up to each block's end, in order, padded right."""
        length = int(counts.max(initial=0))
        backwards = np.empty((length, len(blocks)), dtype=np.int64)
        slot = self._table["last"][blocks]
        for step in range(length):
            backwards[step] = slot
            slot = self._previous[slot]
        column = np.maximum(counts[:, None] - 1 - np.arange(length), 0)
        return np.take_along_axis(backwards.T, column, axis=1), counts

    def _slots_up_to(self, blocks: NDArray, counts: NDArray) -> NDArray[np.int64]:
        """Slots of the last `counts` transitions up to each block's end, oldest first, one after another."""
        window, counts = self._walk(blocks, counts)
        return window[np.arange(window.shape[1]) < counts[:, None]]

    @property
    def identifiers(self) -> list[int]:
        """Identifiers of the stored sessions, oldest first."""
        return list(self._sessions)

    def indices_of(self, identifier: int) -> NDArray[np.int64]:
        """Return the transition indices of a stored session, in its order."""
        return self._slots_of(self._sessions[identifier])[0]

    def sessions(self) -> Iterator[Session]:
        """Yield all stored sessions, oldest first."""
        return map(self.session, self.identifiers)

    def session(self, identifier: int) -> Session:
        """Return a stored session as it was added; blocks are numbered without gaps."""
        record = self._sessions[identifier]
        slots, numbers = self._slots_of(record)
        rows, split = self._items[slots], self.action_size
        return Session(
            task=self._tasks[record.task],
            observation=self._with_view(slots, self._observation[slots]),
            action=rows[:, :split],
            reward=rows[:, split],
            next_observation=self._with_view(slots, rows[:, split + 1 : -1]),
            done=rows[:, -1] > 0.0,
            terminal=self._terminal[slots],
            block=numbers,
        )

    def _with_view(self, slots: NDArray, entries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations [..., O]: the views of the blocks of slots [...] before the entries that change in a block."""
        if not self.view_size:
            return entries
        return np.concatenate([_HUNDREDTHS[self._views[self._block[slots]]], entries], axis=-1)

    def _slots_of(self, record: _Record) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the slots of a session's transitions in order, and the block number of each."""
        blocks = np.array(record.blocks)
        length = self._table["length"][blocks]
        numbers = np.repeat(np.arange(len(blocks)) + record.number - len(blocks) + 1, length)
        return self._slots_up_to(blocks, length), numbers

    def state(self, float16: bool = False) -> dict[str, NDArray]:
        """Return everything as named arrays, sessions in order; `float16` halves the size and the precision.

        An observation that equals the next observation of the step before is not stored a second time.
        """
        parts = [self._slots_of(record) for record in self._sessions.values()]
        lengths = np.array([len(slots) for slots, _ in parts], dtype=np.int64)
        empty = np.zeros(0, dtype=np.int64)
        slots = np.concatenate([slots for slots, _ in parts] or [empty])
        numbers = np.concatenate([numbers for _, numbers in parts] or [empty])
        header = dict(
            sizes=[*self.sizes, self.capacity, self.view_size],
            tasks=self._tasks,
            session_tasks=[record.task for record in self._sessions.values()],
            session_identifiers=list(self._sessions),
            next_session=self._next_session,
        )
        items, observation = self._items[slots], self._observation[slots]
        known = np.zeros(len(slots), dtype=np.bool_)
        known[1:] = np.all(observation[1:] == items[:-1, self.action_size + 1 : -1], axis=1)
        arrays: dict[str, NDArray] = dict(
            items=np.ascontiguousarray(items[:, :-1]),
            observation=observation[~known],
            known=known.astype(np.uint8),
            done=items[:, -1].astype(np.uint8),
            terminal=self._terminal[slots].astype(np.uint8),
            block=numbers.astype(np.int32),
            length=lengths,
            views=self._views[[block for record in self._sessions.values() for block in record.blocks] or empty],
        )
        if float16:
            most = np.finfo(np.float16).max
            for name in ("items", "observation"):
                arrays[name] = np.clip(arrays[name], -most, most).astype(np.float16)
        arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8).copy()
        return arrays

    @classmethod
    def from_state(cls: type[Storage], state: Mapping[str, NDArray]) -> Storage:
        """Return the storage that `state` came from: the same sampling order, and with float32 the same numbers."""
        header = json.loads(bytes(state["header"]).decode())
        storage = cls(*header["sizes"])
        storage._tasks = list(header["tasks"])
        storage._task_ids = {name: task for task, name in enumerate(storage._tasks)}
        split, items = storage.action_size, state["items"]
        known = state["known"].astype(np.bool_)
        observation = np.empty((len(items), storage.observation_size - storage.view_size), dtype=items.dtype)
        observation[~known] = state["observation"]
        observation[known] = items[np.flatnonzero(known) - 1, split + 1 :]
        columns = header["session_identifiers"], header["session_tasks"], state["length"]
        end = blocks = 0
        for identifier, task, length in zip(*columns, strict=True):
            begin, end = end, end + int(length)
            session = Session(
                task=storage._tasks[task],
                observation=observation[begin:end],
                action=items[begin:end, :split],
                reward=items[begin:end, split],
                next_observation=items[begin:end, split + 1 :],
                done=state["done"][begin:end],
                terminal=state["terminal"][begin:end],
                block=state["block"][begin:end],
            )
            first, blocks = blocks, blocks + int(session.block[-1] - session.block[0]) + 1
            storage._append(int(identifier), _Record(task), session, state["views"][first:blocks])
        storage._next_session = int(header["next_session"])
        return storage
