"""The history of the present session and its context under the present policy (knows no rclpy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mql_ros.nodes.policy_loading import LoadedPolicy
from mql_ros.nodes.records import ContextAnswer, Transition

if TYPE_CHECKING:
    from mql_ros.algorithm.context import ContextTracker


class SessionContext:
    """Keeps the session's transitions, so that a new policy's encoder can go over all of them again."""

    def __init__(self) -> None:
        self._policy: LoadedPolicy | None = None
        self._tracker: ContextTracker | None = None
        self._history: list[Transition] = []
        self._last: Transition | None = None
        self.missing = 0
        """Transitions that were skipped in the sequence, so that the context lacks them."""

    @property
    def version(self) -> int | None:
        """Version of the policy in use."""
        return self._policy.version if self._policy else None

    @property
    def length(self) -> int:
        """Transitions in the history."""
        return len(self._history)

    def use(self, policy: LoadedPolicy) -> ContextAnswer:
        """Change to a policy; its context of the history so far."""
        tracker = policy.new_tracker()
        for transition in self._history:
            _append(tracker, transition)
        self._policy, self._tracker = policy, tracker
        return self._answer()

    def add(self, transition: Transition) -> ContextAnswer | None:
        """Take in a transition; None while there is no policy. A repeated one is answered again."""
        last = self._last
        begins = last is None or transition.session != last.session or transition.sequence < last.sequence
        if last is not None and not begins and transition.sequence == last.sequence:
            return self._answer() if self._policy else None
        if begins:
            self._history.clear()
            if self._tracker is not None:
                self._tracker.reset()
        skipped = last is not None and transition.sequence > last.sequence + 1
        if skipped or (begins and (transition.trial or transition.step)):
            self.missing += 1
        self._last = transition
        self._history.append(transition)
        if self._tracker is None:
            return None
        _append(self._tracker, transition)
        return self._answer()

    def _answer(self) -> ContextAnswer:
        assert self._policy is not None and self._tracker is not None
        sequence = self._last.sequence if self._last else -1
        return ContextAnswer(sequence, self._policy.version, self._tracker.context)


def _append(tracker: ContextTracker, transition: Transition) -> None:
    tracker.append(
        transition.action.astype(np.float32),
        transition.reward,
        transition.next_observation.astype(np.float32),
        transition.done,
    )
