"""Sessions on disk: one .npz file for a number of sessions, written as a whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mql_ros.algorithm.experience.session import Session
from mql_ros.core.files import write_bytes

_FIELDS = ("observation", "action", "reward", "next_observation", "done", "terminal", "block")


def write_sessions(path: Path, sessions: Sequence[Session]) -> None:
    """Write sessions to `path`, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.concatenate([getattr(s, name) for s in sessions]) for name in _FIELDS}
    arrays["length"] = np.array([len(s) for s in sessions])
    arrays["task"] = np.array([s.task for s in sessions])
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_bytes(path, content.getvalue())


def read_sessions(path: Path) -> list[Session]:
    """The sessions of a file, in order."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    ends = np.cumsum(arrays["length"])
    starts = ends - arrays["length"]
    return [
        Session(task=str(task), **{name: arrays[name][a:b] for name in _FIELDS})
        for task, a, b in zip(arrays["task"], starts, ends, strict=True)
    ]
