"""The history of the present session and its context under the present policy (knows no rclpy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mql_ros.ros.messages.records import ContextAnswer, Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy

if TYPE_CHECKING:
    from mql_ros.algorithm.context import ContextTracker


class SessionContext:
    """Keeps the session's transitions, so that a new policy's encoder can go over all of them again.

    A policy that is announced in the middle of a trial is used from the next one on. Until then each transition is
    answered by two encoders: that of the policy that acts, and that of the one to come.
    """

    def __init__(self) -> None:
        self._trackers: dict[int, ContextTracker] = {}
        self._newest: int | None = None
        self._history: list[Transition] = []
        self.missing = 0
        """Transitions that were skipped in the sequence, so that the context lacks them."""

    @property
    def version(self) -> int | None:
        """Version of the newest policy."""
        return self._newest

    @property
    def length(self) -> int:
        """Transitions in the history."""
        return len(self._history)

    def use(self, policy: LoadedPolicy) -> ContextAnswer:
        """Take in a new policy; its context of the history so far."""
        acting = self._history[-1].policy_version if self._history else None
        tracker = policy.new_tracker()
        for transition in self._history:
            _append(tracker, transition)
        self._trackers = {version: kept for version, kept in self._trackers.items() if version == acting}
        self._trackers[policy.version] = tracker
        self._newest = policy.version
        return self.answers()[-1]

    def add(self, transition: Transition) -> list[ContextAnswer]:
        """Take in a transition; its answers, none while there is no policy. A repeated one is answered again."""
        last = self._history[-1] if self._history else None
        begins = last is None or transition.session != last.session or transition.sequence < last.sequence
        if last is not None and not begins and transition.sequence == last.sequence:
            return self.answers()
        skipped = last is not None and not begins and transition.sequence > last.sequence + 1
        if skipped or (begins and (transition.trial or transition.step)):
            self.missing += 1
        if begins:
            self._history.clear()
            for tracker in self._trackers.values():
                tracker.reset()
        self._history.append(transition)
        if transition.policy_version == self._newest:
            self._trackers = {self._newest: self._trackers[self._newest]}
        for tracker in self._trackers.values():
            _append(tracker, transition)
        return self.answers()

    def answers(self) -> list[ContextAnswer]:
        """To the last transition, by each policy that may act next; none where there is no policy."""
        sequence = self._history[-1].sequence if self._history else -1
        return [ContextAnswer(sequence, version, tracker.context) for version, tracker in self._trackers.items()]


def _append(tracker: ContextTracker, transition: Transition) -> None:
    tracker.append(
        transition.action.astype(np.float32),
        transition.reward,
        transition.next_observation.astype(np.float32),
        transition.done,
    )
