"""What the trial sequence exchanges with the node around it (knows no rclpy)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from std_srvs.srv import Trigger

from mql_ros.grasping.types import Command, Measurement
from mql_ros.ros.messages.records import ContextAnswer, Transition
from mql_ros.ros.policies.policy_loading import Announcement, LoadedPolicy


@dataclass
class Inbox:
    """What has arrived; the node writes it, the sequence reads it."""

    stamp: int = -1
    """Nanoseconds of the newest measurement."""
    measurement: Measurement | None = None
    rewards: list[float] = field(default_factory=list)
    """Since the trial began."""
    answers: dict[tuple[int, int], ContextAnswer] = field(default_factory=dict)
    """Contexts by sequence and policy version."""
    announced: Announcement | None = None
    _stamps: deque[int] = field(default_factory=lambda: deque(maxlen=2000))

    def put(self, stamp: int, measurement: Measurement) -> None:
        """A measurement has arrived."""
        if stamp < self.stamp:
            self._stamps.clear()  # the driver has been started anew
        self.stamp, self.measurement = stamp, measurement
        self._stamps.append(stamp)

    def hear(self, answer: ContextAnswer) -> None:
        """A context has arrived."""
        self.answers[answer.sequence, answer.policy_version] = answer

    def forget_answers(self) -> None:
        """Before a transition is published: nothing can have answered it yet, and those before it are over."""
        self.answers.clear()

    def count_after(self, stamp: int) -> int:
        """How many measurements came after the one of `stamp`."""
        return sum(1 for other in self._stamps if other > stamp)

    def reward_total(self, begin: int, end: int | None = None) -> float:
        """Sum of rewards `begin` to `end` in order, rounded at each step as in one process.

        (`sum` compensates its rounding from Python 3.12 on.)
        """
        total = 0.0
        for reward in self.rewards[begin:end]:
            total += reward
        return total


class Outlets(Protocol):
    """What the sequence asks of the node."""

    def call(self, service: str) -> Callable[[], Trigger.Response | None]:
        """Call `reset`, or the grasp monitor's `begin_trial` or `end_trial`; the function returned tells the reply."""

    def send(self, command: Command, new_plan: bool) -> None:
        """Publish a command that answers the newest measurement; `new_plan` when a decision starts with it."""

    def publish(self, transition: Transition) -> None:
        """Publish a transition."""

    def silence(self) -> str:
        """What has not come for too long to act on what was measured before; "" where all goes well."""

    def load(self, announcement: Announcement) -> LoadedPolicy:
        """Load a policy; UserError says why it cannot be used."""

    def report(self, problem: str) -> None:
        """Tell of something that went wrong but does not end the trials."""


@dataclass(frozen=True)
class TrialSettings:
    """The policy server's parameters as they are when trials start."""

    lockstep: bool
    has_reset: bool
    use_monitor: bool
    stale_after: float
    context_deadline: float
    reward_wait: float = 0.0
    exploration: str = "noise"
    """"noise" alone, or "search" besides (see mql_ros.grasping.learning.grasp_search)."""
    exploration_noise: float = 0.0
    exploration_seed: int = 0
