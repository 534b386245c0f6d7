"""Sessions on disk: one .npz file for a number of sessions, written under a temporary name and renamed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mql_ros.algorithm.experience.session import Session

_FIELDS = ("observation", "action", "reward", "next_observation", "done", "terminal", "block")


def write_sessions(path: Path, sessions: Sequence[Session]) -> None:
    """Write sessions to `path`, all or nothing; the teacher's actions only where all sessions have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    taught = all(session.teacher_action is not None for session in sessions)
    names = [*_FIELDS, "teacher_action"] if taught else _FIELDS
    arrays = {name: np.concatenate([getattr(s, name) for s in sessions]) for name in names}
    arrays["length"] = np.array([len(s) for s in sessions])
    arrays["task"] = np.array([s.task for s in sessions])
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_sessions(path: Path) -> list[Session]:
    """The sessions of a file, in order."""
    with np.load(path, allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    ends = np.cumsum(arrays["length"])
    starts = ends - arrays["length"]
    names = [name for name in (*_FIELDS, "teacher_action") if name in arrays]
    return [
        Session(task=str(task), **{name: arrays[name][a:b] for name in names})
        for task, a, b in zip(arrays["task"], starts, ends, strict=True)
    ]
