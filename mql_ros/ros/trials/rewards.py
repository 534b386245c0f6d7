"""Rewards of a trial: which measurements earn them, and how long they are waited for (needs no rclpy)."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from mql_ros.ros.base.coroutine import Coroutine, CoroutineError, Wait
from mql_ros.ros.messages.encoding import read_stamps
from mql_ros.ros.trials.interface import Inbox, TrialNode, TrialSettings

MONITOR_SECONDS = 10.0
"""Longest wait for grasp_monitor, s: enough if three replies in a row are lost."""


class TrialRewards:
    """Collects the rewards of each decision.

    grasp_monitor publishes one reward for each measurement of a trial, and one for its end, by what the camera sees
    after the lift. If another node or a person publishes them (`use_monitor` false), all that arrive during a decision
    count for it.
    """

    def __init__(self, inbox: Inbox, node: TrialNode, clock: Callable[[], float]) -> None:
        self._inbox, self._node, self._clock = inbox, node, clock
        self.missed = 0
        """Rewards that arrived too late or not at all."""
        self._since = 0.0
        """Driver time after which each measurement earns a reward, s."""

    def end_trial(self, settings: TrialSettings) -> Coroutine:
        """Have grasp_monitor end the previous trial."""
        if settings.use_monitor:
            yield Wait("the grasp_monitor's end_trial", self._node.call("end_trial"), MONITOR_SECONDS)

    def begin_trial(self, seconds: float, settings: TrialSettings) -> Coroutine:
        """Have grasp_monitor begin a trial at the newest measurement, or in real time at a later one.

        `seconds` limits the wait for that measurement. Raise CoroutineError if grasp_monitor does not receive it.
        """
        stamp = self._since = self._inbox.stamp
        self._inbox.rewards.clear()
        if not settings.use_monitor:
            return
        deadline = self._clock() + MONITOR_SECONDS
        while True:
            reply = yield Wait("the grasp_monitor's begin_trial", self._node.call("begin_trial"), MONITOR_SECONDS)
            stamps = read_stamps(reply.message) if reply.success else ()
            if len(stamps) == 2 and stamps[0] >= stamp:
                # A repeated call begins again, but rewards count from the first call on.
                begun, self._since = stamps
                break
            if self._clock() > deadline:
                raise CoroutineError(f"the grasp_monitor does not see the measurements: {reply.message}")
        yield Wait("the grasp_monitor's measurement", lambda: self._inbox.stamp >= begun or None, seconds)

    def earned(self) -> int:
        """Return the number of rewards that the measurements so far have earned."""
        return self._inbox.count_after(self._since)

    def wait_for_total(self, counted: int, done: bool, settings: TrialSettings) -> Generator[Wait, Any, float]:
        """Wait for the rewards of a decision and return their sum.

        `counted` is what `earned` returned at its start; `done` marks the last decision of the trial.
        """
        rewards = self._inbox.rewards
        if not settings.use_monitor:
            if done and not rewards:
                # A person can judge the lift only now.
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
        total = self._inbox.reward_total(counted, wanted)
        return total if not done else total + (yield from self._end_reward(settings))

    def _end_reward(self, settings: TrialSettings) -> Generator[Wait, Any, float]:
        """Have grasp_monitor end the trial, and wait for the reward of its end."""
        rewards = self._inbox.rewards
        reply = yield Wait("the grasp_monitor's end_trial", self._node.call("end_trial"), MONITOR_SECONDS)
        if not reply.success or not reply.message.isdecimal():
            raise CoroutineError(f"the grasp_monitor does not end the trial: {reply.message}")
        number = int(reply.message)
        yield Wait(
            "the grasp_monitor's reward of the trial's end",
            lambda: len(rewards) > number or None,
            settings.view_wait + (MONITOR_SECONDS if settings.lockstep else settings.context_deadline),
            optional=not settings.lockstep,
        )
        if len(rewards) > number:
            return rewards[number]
        self.missed += 1
        return 0.0
