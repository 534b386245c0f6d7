"""What the robot has experienced in the present session and those before it (knows no rclpy)."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from mql_ros.ros.messages.records import Transition

MOST_SESSIONS = 16
"""Sessions that are remembered, the present one among them."""


class SessionMemory:
    """The present session's transitions in order, and the sessions before it in which a trial was finished."""

    def __init__(self) -> None:
        self._transitions: list[Transition] = []
        self._earlier: deque[list[Transition]] = deque(maxlen=MOST_SESSIONS - 1)
        self.missing = 0
        """Gaps in the sequence."""

    def __len__(self) -> int:
        return len(self._transitions)

    @property
    def session(self) -> int:
        """Number of the session; 0 before any."""
        return self._transitions[-1].session if self._transitions else 0

    @property
    def trials(self) -> int:
        """Trials that were finished."""
        return sum(transition.done for transition in self._transitions)

    def add(self, transition: Transition) -> bool:
        """Take in a transition; False when it is there already."""
        if self._transitions:
            last = self._transitions[-1]
            if transition.session != last.session or transition.sequence < last.sequence:
                if self.trials:
                    self._earlier.append(self._transitions)
                self._transitions = []
            elif transition.sequence == last.sequence:
                return False
            elif transition.sequence > last.sequence + 1:
                self.missing += 1
        self._transitions.append(transition)
        return True

    def trial_returns(self) -> list[tuple[int, float]]:
        """(policy version, sum of rewards) of each finished trial, in order."""
        returns, total = [], 0.0
        for transition in self._transitions:
            total = transition.reward + (0.0 if transition.step == 0 else total)
            if transition.done:
                returns.append((transition.policy_version, total))
        return returns

    def arrays(self, trials: int | None = None) -> dict[str, NDArray]:
        """Columns by name, as `algorithm.session.Session` takes them, of the first so many finished trials or of all.

        A trial is a block.
        """
        rows = self._transitions if trials is None else _finished(self._transitions, trials)
        return _columns(rows)

    def earlier(self, count: int) -> list[dict[str, NDArray]]:
        """The same columns of the finished trials in each of the last so many sessions before this one, in order."""
        sessions = list(self._earlier)[max(0, len(self._earlier) - count) :] if count > 0 else []
        return [_columns(_finished(session)) for session in sessions]


def _finished(rows: list[Transition], trials: int | None = None) -> list[Transition]:
    """Those of the first so many finished trials, or of all of them; a trial that was broken off has no end."""
    ended = [transition.trial for transition in rows if transition.done]
    wanted = set(ended[:trials])
    return [transition for transition in rows if transition.trial in wanted]


def _columns(rows: list[Transition]) -> dict[str, NDArray]:
    return {
        "observation": np.array([t.observation for t in rows], dtype=np.float32),
        "action": np.array([t.action for t in rows], dtype=np.float32),
        "reward": np.array([t.reward for t in rows], dtype=np.float32),
        "next_observation": np.array([t.next_observation for t in rows], dtype=np.float32),
        "done": np.array([t.done for t in rows]),
        "terminal": np.array([t.terminal for t in rows]),
        "block": np.array([t.trial for t in rows], dtype=np.int64),
    }
