"""The rewards of a trial: since when they count, and how long they are waited for (knows no rclpy)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from mql_ros.ros.base.coroutine import CoroutineError, Wait
from mql_ros.ros.messages.conversions import read_stamps
from mql_ros.ros.trials.trial_ports import Inbox, Outlets, TrialSettings

Steps = Generator[Wait, Any, Any]

MONITOR_SECONDS = 10.0
"""Longest time until the grasp monitor has begun a trial: enough for a reply that was lost three times."""


class TrialRewards:
    """Counts the rewards in the inbox against the measurements that earn them."""

    def __init__(self, inbox: Inbox, outlets: Outlets, clock: Callable[[], float]) -> None:
        self._inbox, self._outlets, self._clock = inbox, outlets, clock
        self.missed = 0
        self._since = 0
        """Stamp of the measurement after which each one earns a reward."""

    def end(self, settings: TrialSettings) -> Steps:
        """Have the grasp monitor end the trial before."""
        if settings.use_monitor:
            yield Wait("the grasp_monitor's end_trial", self._outlets.call("end_trial"), MONITOR_SECONDS)

    def begin(self, seconds: float, settings: TrialSettings) -> Steps:
        """Have the grasp monitor begin with the newest measurement, or a later one where time goes on."""
        stamp = self._since = self._inbox.stamp
        self._inbox.rewards.clear()
        if not settings.use_monitor:
            return
        deadline = self._clock() + MONITOR_SECONDS
        while True:
            reply = yield Wait("the grasp_monitor's begin_trial", self._outlets.call("begin_trial"), MONITOR_SECONDS)
            stamps = read_stamps(reply.message) if reply.success else ()
            if len(stamps) == 2 and stamps[0] >= stamp:
                # Rewards come since it began for the first time, which may be longer ago.
                begun, self._since = stamps
                break
            if self._clock() > deadline:
                raise CoroutineError(f"the grasp_monitor does not see the measurements: {reply.message}")
        yield Wait("the grasp_monitor's measurement", lambda: self._inbox.stamp >= begun or None, seconds)

    def earned(self) -> int:
        """How many rewards the measurements until now have earned."""
        return self._inbox.count_after(self._since)

    def total(self, counted: int, done: bool, settings: TrialSettings) -> Steps:
        """The rewards of the measurements since there were `counted`, summed in order; `done`: the last ones."""
        rewards = self._inbox.rewards
        if not settings.use_monitor:
            if done and not rewards:
                # A person sees what came of the lift only now.
                yield Wait("a reward for the trial", lambda: rewards or None, settings.reward_wait, optional=True)
                self.missed += not rewards
            total = self._inbox.reward_total(0)
            rewards.clear()
            return total
        wanted = self.earned()
        seconds = MONITOR_SECONDS if settings.lockstep else settings.context_deadline
        yield Wait(
            "the grasp_monitor's rewards",
            lambda: len(rewards) >= wanted or None,
            seconds,
            optional=not settings.lockstep,
        )
        self.missed += max(0, wanted - len(rewards))
        return self._inbox.reward_total(counted, wanted)
