"""What TrialRunner and policy_server exchange: settings, received data and requests (needs no rclpy)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from std_srvs.srv import Trigger

from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.types import Command, Measurement
from mql_ros.ros.messages.transition import ContextAnswer, Transition
from mql_ros.ros.policies.policy_loading import Announcement, LoadedPolicy


@dataclass(frozen=True)
class TrialSettings:
    """Parameters of policy_server at the start of the trials; config/nodes.yaml has their defaults."""

    lockstep: bool
    """The simulator advances one control period for each command, so waiting costs no time."""
    has_reset: bool
    """A reset service prepares each trial."""
    use_monitor: bool
    """grasp_monitor computes the rewards."""
    stale_after: float
    """Longest time between two measurements, s."""
    context_deadline: float
    """Longest wait for a context or for rewards in real time, s."""
    reward_wait: float
    """Longest wait for a reward from elsewhere after the lift, s."""
    view_wait: float
    """Longest wait for what the camera sees, s."""
    exploration_share: float
    """Probability that a decision is not the best one."""
    exploration_uniform: float
    """Part of those decisions that is drawn evenly from the proposals."""
    exploration_temperature: float
    """Temperature of the values in the other draws."""
    exploration_seed: int
    """Seed of proposals and exploration."""


@dataclass
class Inbox:
    """Data received by policy_server; the node writes, TrialRunner reads."""

    measurement: Measurement | None = None
    """The newest measurement."""
    view: HeightMap | None = None
    """What the camera saw last; None if that was an empty table."""
    view_stamp: float = -1.0
    """Time of that image, s; -1 before the first."""
    rewards: list[float] = field(default_factory=list)
    """Rewards since the trial began."""
    contexts: dict[tuple[int, int], ContextAnswer] = field(default_factory=dict)
    """Contexts of the last transition, by (sequence, policy version)."""
    announced: Announcement | None = None
    """The policy announced last."""
    _stamps: deque[float] = field(default_factory=lambda: deque(maxlen=2000))

    @property
    def stamp(self) -> float:
        """Driver time of the newest measurement, s; -1 before the first."""
        return -1.0 if self.measurement is None else self.measurement.stamp

    def put_measurement(self, measurement: Measurement) -> None:
        """Store a measurement."""
        if measurement.stamp < self.stamp:
            self._stamps.clear()  # the driver was restarted
        self.measurement = measurement
        self._stamps.append(measurement.stamp)

    def put_view(self, view: HeightMap | None, stamp: float) -> None:
        """Store what the camera saw at `stamp`, s."""
        self.view, self.view_stamp = view, stamp

    def put_context(self, answer: ContextAnswer) -> None:
        """Store a context."""
        self.contexts[answer.sequence, answer.policy_version] = answer

    def count_after(self, stamp: float) -> int:
        """Return the number of measurements later than `stamp`, s."""
        return sum(1 for other in self._stamps if other > stamp)

    def reward_total(self, begin: int, end: int | None = None) -> float:
        """Return the sum of rewards `begin` to `end`, rounded at each step as in one process.

        `sum` compensates its rounding from Python 3.12 on.
        """
        total = 0.0
        for reward in self.rewards[begin:end]:
            total += reward
        return total


class TrialNode(Protocol):
    """What TrialRunner requires of the node that runs it."""

    def call(self, service: str) -> Callable[[], Trigger.Response | None]:
        """Call `reset`, or grasp_monitor's `begin_trial` or `end_trial`; return a function that polls the response."""

    def send(self, command: Command, new_plan: bool) -> None:
        """Send a command that answers the newest measurement; `new_plan` at the start of a decision."""

    def publish(self, transition: Transition) -> None:
        """Publish a transition."""

    def silence(self) -> str:
        """Return which input has been silent for too long to act on the last measurement; "" if none."""

    def load(self, announcement: Announcement) -> LoadedPolicy:
        """Load a policy; UserError if it cannot be used."""

    def report(self, problem: str) -> None:
        """Report an error that does not end the trials."""
