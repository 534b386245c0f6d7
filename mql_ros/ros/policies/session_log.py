"""Log of the transitions that a robot has experienced, by session (needs no rclpy and no torch)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from mql_ros.algorithm.experience.session import Session
from mql_ros.ros.messages.transition import Transition

MOST_SESSIONS = 16
"""Number of sessions that are kept, including the present one."""


class SessionLog:
    """Transitions of the present session, and those of earlier sessions in which a trial was finished.

    A trial is finished if all its transitions are here and the last one is done. Trials that were broken off, or lost
    a transition, belong to the history that the context encodes; adaptation and statistics leave them out.
    """

    def __init__(self) -> None:
        self._transitions: list[Transition] = []
        self._earlier: deque[list[Transition]] = deque(maxlen=MOST_SESSIONS - 1)
        self.missing = 0
        """Number of gaps: transitions lost within a session, or before the first one received of it."""

    @property
    def transitions(self) -> Sequence[Transition]:
        """Transitions of the present session, in order."""
        return self._transitions

    @property
    def session(self) -> int:
        """Number of the present session; 0 before the first transition."""
        return self._transitions[-1].session if self._transitions else 0

    @property
    def trials(self) -> int:
        """Number of finished trials in the present session."""
        return len(_finished_trials(self._transitions))

    def add(self, transition: Transition) -> bool:
        """Append a transition; return False for a repeated message, which changes nothing.

        A new session begins with another session number, or if sequence numbers start again because policy_server was
        restarted.
        """
        last = self._transitions[-1] if self._transitions else None
        if last is not None and _identity(transition) == _identity(last):
            return False
        if last is None or transition.session != last.session or transition.sequence <= last.sequence:
            if self.trials:
                self._earlier.append(self._transitions)
            self._transitions = []
            self.missing += bool(transition.trial or transition.step)
        else:
            self.missing += transition.sequence > last.sequence + 1
        self._transitions.append(transition)
        return True

    def trial_returns(self) -> list[tuple[int, float]]:
        """Return (policy version, sum of rewards) of each finished trial of the present session, in order."""
        trials = _finished_trials(self._transitions)
        return [(trial[-1].policy_version, sum(step.reward for step in trial)) for trial in trials]

    def sessions(self, earlier: int = 0, trials: int | None = None) -> list[Session]:
        """Return finished trials as sessions of one task, oldest first, each trial a block.

        They are those of up to `earlier` sessions before the present one, and the first `trials` (None: all) of it.
        """
        before = list(self._earlier)[max(0, len(self._earlier) - earlier) :]
        parts = [*map(_finished_trials, before), _finished_trials(self._transitions)[:trials]]
        # An adaptation takes all these sessions as one new task, so they share its name: that of the present session.
        return [_as_session(f"session-{self.session}", part) for part in parts if part]


def _identity(transition: Transition) -> tuple[int, int, float]:
    return transition.session, transition.sequence, transition.stamp


def _finished_trials(transitions: Sequence[Transition]) -> list[list[Transition]]:
    trials = [list(steps) for _, steps in groupby(transitions, key=lambda transition: transition.trial)]
    return [steps for steps in trials if steps[-1].done and [s.step for s in steps] == list(range(len(steps)))]


def _as_session(task: str, trials: Sequence[Sequence[Transition]]) -> Session:
    rows = [transition for trial in trials for transition in trial]
    return Session(
        task=task,
        observation=np.array([row.observation for row in rows], dtype=np.float32),
        action=np.array([row.action for row in rows], dtype=np.float32),
        reward=np.array([row.reward for row in rows], dtype=np.float32),
        next_observation=np.array([row.next_observation for row in rows], dtype=np.float32),
        done=np.array([row.done for row in rows]),
        terminal=np.array([row.terminal for row in rows]),
        block=np.array([row.trial for row in rows], dtype=np.int64),
    )
