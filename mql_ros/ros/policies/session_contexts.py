"""Contexts of the present session under each policy that may act next (needs no rclpy)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mql_ros.ros.messages.transition import ContextAnswer, Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy
from mql_ros.ros.policies.session_log import SessionLog

if TYPE_CHECKING:
    from mql_ros.algorithm.context import ContextTracker


class SessionContexts:
    """Encodes each transition once; the encoder of a new policy first encodes the whole session.

    A policy that is announced during a trial acts from the next trial on. Until then each transition is answered with
    two contexts: one for the policy that acts, one for the next.
    """

    def __init__(self) -> None:
        self._trackers: dict[int, ContextTracker] = {}
        self.log = SessionLog()
        self.version: int | None = None
        """Version of the newest policy."""

    def use(self, policy: LoadedPolicy) -> ContextAnswer:
        """Add a policy; return its context of the session so far."""
        history = self.log.transitions
        acting = history[-1].policy_version if history else None
        tracker = policy.new_tracker()
        for transition in history:
            _append(tracker, transition)
        self._trackers = {version: kept for version, kept in self._trackers.items() if version == acting}
        self._trackers[policy.version] = tracker
        self.version = policy.version
        return self.answers()[-1]

    def add(self, transition: Transition) -> list[ContextAnswer]:
        """Encode a transition; return its contexts, none before the first policy. Answer a repeated one again."""
        if not self.log.add(transition):
            return self.answers()
        if len(self.log.transitions) == 1:
            for tracker in self._trackers.values():
                tracker.reset()
        if transition.policy_version == self.version:
            self._trackers = {self.version: self._trackers[self.version]}
        for tracker in self._trackers.values():
            _append(tracker, transition)
        return self.answers()

    def answers(self) -> list[ContextAnswer]:
        """Return the contexts after the last transition; empty before the first policy."""
        history = self.log.transitions
        sequence = history[-1].sequence if history else -1
        return [ContextAnswer(sequence, version, tracker.context) for version, tracker in self._trackers.items()]


def _append(tracker: ContextTracker, transition: Transition) -> None:
    tracker.append(
        transition.action.astype(np.float32),
        transition.reward,
        transition.next_observation.astype(np.float32),
        transition.done,
    )
