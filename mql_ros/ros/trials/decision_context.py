"""The context of the next decision, and what happens when it is late (needs no rclpy)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mql_ros.ros.base.coroutine import Coroutine, CoroutineError, Wait
from mql_ros.ros.messages.transition import ContextAnswer
from mql_ros.ros.policies.policy_loading import LoadedPolicy
from mql_ros.ros.trials.interface import Inbox, TrialSettings

LOCKSTEP_CONTEXT_SECONDS = 10.0
"""Longest wait for a context in lockstep, s."""
NEW_POLICY_SECONDS = 20.0
"""Longest wait until context_encoder has loaded a new policy, s."""


class DecisionContext:
    """The context that the next decision uses.

    After each transition the arm is at rest, and the context that answers it is waited for. When it is late:

    - In real time the wait ends after `context_deadline`. The next decision uses the previous context. No transition
      is lost: the next context that arrives in time includes it.
    - In lockstep the wait goes on for LOCKSTEP_CONTEXT_SECONDS. Without the context the trials end.

    Both are counted in `missed`. A new policy needs its own context of the session so far. If that does not arrive
    within NEW_POLICY_SECONDS the trials end, and the old policy stays.
    """

    def __init__(self, inbox: Inbox, clock: Callable[[], float]) -> None:
        self._inbox, self._clock = inbox, clock
        self.value: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        """[C] the context."""
        self.missed = 0
        """Contexts that missed the deadline."""

    def clear(self, policy: LoadedPolicy) -> None:
        """Begin a session: the context of an empty history is zero."""
        self.value = np.zeros(policy.context_size, dtype=np.float32)

    def wait_for_step(self, sequence: int, policy: LoadedPolicy, settings: TrialSettings) -> Coroutine:
        """Wait for the context after transition `sequence`; CoroutineError if it does not come in lockstep."""
        deadline, lockstep = settings.context_deadline, settings.lockstep
        seconds = max(deadline, LOCKSTEP_CONTEXT_SECONDS) if lockstep else deadline
        asked = self._clock()
        arrived = yield from self._wait(sequence, policy, seconds, optional=not lockstep)
        self.missed += not arrived or self._clock() - asked > deadline

    def wait_for_policy(self, sequence: int, policy: LoadedPolicy) -> Coroutine:
        """Wait for a new policy's context after transition `sequence`; CoroutineError if it does not come."""
        yield from self._wait(sequence, policy, NEW_POLICY_SECONDS, optional=False)

    def _wait(self, sequence: int, policy: LoadedPolicy, seconds: float, optional: bool) -> Generator[Wait, Any, bool]:
        def ready() -> ContextAnswer | None:
            return self._inbox.contexts.get((sequence, policy.version))

        what = f"the context_encoder's context for transition {sequence} by policy version {policy.version}"
        answer = yield Wait(what, ready, seconds, optional)
        if answer is None:
            return False
        if len(answer.context) != policy.context_size:
            raise CoroutineError(f"{what} has {len(answer.context)} numbers; expected {policy.context_size}")
        self.value = answer.context
        return True
