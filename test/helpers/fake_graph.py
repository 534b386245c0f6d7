"""The nodes around the policy server, all in one process and at once: what TrialRunner sees, without DDS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
from std_srvs.srv import Trigger

from mql_ros.core.errors import UserError
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.perception.height_map import see
from mql_ros.grasping.perception.segmentation import low_points
from mql_ros.grasping.task.reward import GraspReward
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Command, Measurement
from mql_ros.ros.base.coroutine import CoroutineRunner
from mql_ros.ros.messages.encoding import SECOND, to_nanoseconds
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import Announcement, LoadedPolicy
from mql_ros.ros.policies.session_contexts import SessionContexts
from mql_ros.ros.trials.interface import Inbox, TrialSettings
from mql_ros.ros.trials.trial_runner import TrialRunner
from mql_sim.driver.simulated_driver import SimulatedDriver


def reply_of(success: bool, message: str) -> Trigger.Response:
    """Response of a Trigger service."""
    return Trigger.Response(success=success, message=message)


class FakeGraph:
    """Implements TrialNode with a simulator, a monitor and an encoder that answer at once, unless set otherwise."""

    def __init__(self, driver: SimulatedDriver, policies: dict[int, LoadedPolicy]) -> None:
        self.driver, self.policies = driver, policies
        self.inbox = Inbox()
        self.now = 0.0
        self.machine = TrialMachine(driver.profile)
        self.trials = TrialRunner(self.machine, self.inbox, self, lambda: self.now)
        self.ends: list[str | None] = []
        self.runner = CoroutineRunner(lambda: self.now, self.ends.append)
        self.transitions: list[Transition] = []
        self.reports: list[str] = []
        self.calls: list[str] = []
        self.encoder = SessionContexts()
        self.monitor = GraspReward(driver.profile)
        self.rewarded_since: float | None = None
        self.rewards_of_trial = self.earned = self.looks = 0
        self.newest: Measurement | None = None
        self.backlog: list[Measurement] = []
        # Troubles to make.
        self.monitor_is_late = 0
        self.driver_is_mute = False
        self.periods_at_begin = 0
        self.begin_is_asked_again = False
        self.encoder_is_deaf = False
        self.monitor_is_mute = False
        self.silent = ""
        self.reset_reply: Trigger.Response | None = None
        self.external_reward: float | None = None
        self.camera_is_blind = self.table_is_empty = self.object_moves = False
        self.object_is_at: np.ndarray | None = None
        self.camera_is_late = 0.0
        """Age of what the camera sees, s."""
        self.at_transition: dict[int, Callable[[], None]] = {}

    def announce(self, version: int) -> None:
        self.inbox.announced = Announcement(f"bundle-{version}", version, f"hash-{version}")

    def encode(self, version: int) -> None:
        """The encoder has loaded a policy."""
        self.inbox.put_context(self.encoder.use(self.policies[version]))

    def run(self, trials: int, settings: TrialSettings, new_session: bool = True) -> list[str | None]:
        """Run trials to their end; what went wrong in each start."""
        if new_session:
            self.trials.new_session()
        self.runner.start(self.trials.run(trials, settings))
        while self.runner.running:
            self.pass_time(settings)
        return self.ends

    def pass_time(self, settings: TrialSettings) -> None:
        """A moment passes; between trials the camera sees the object, in real time a period later."""
        self.runner.poll()
        self.now += 0.01
        if self.machine.done and not self.driver_is_mute:
            if not settings.lockstep and self.newest is not None:
                self.measured(self.driver.tick())
            if self.inbox.view_stamp != self.inbox.stamp:
                self.look()

    # TrialNode.

    def call(self, service: str) -> Callable[[], Trigger.Response | None]:
        self.calls.append(service)
        if service == "reset":
            self.measured(self.driver.reset())
            reply = self.reset_reply or reply_of(True, str(to_nanoseconds(self.inbox.stamp)))
        elif service == "begin_trial":
            if not self.backlog and self.newest is None:
                reply = reply_of(False, "no measurement yet")
            else:
                reply = self._begin_late()
        else:
            reply = self._end()
        return lambda: reply

    def _end(self) -> Trigger.Response:
        """The monitor looks at the table at once."""
        if self.rewarded_since is not None:
            self.rewarded_since = None
            self.earned = self.rewards_of_trial
            if not self.monitor_is_mute and not self.camera_is_blind:
                self.inbox.rewards.append(self.monitor.finish(self.table_is_clear()))
        return reply_of(True, str(self.earned))

    def table_is_clear(self) -> bool | None:
        scene = self.driver.scene
        try:
            return not len(low_points(scene.depth_image(), scene.camera, scene.workspace))
        except PerceptionError:
            return None

    def look(self) -> None:
        """The camera sees the object now."""
        if self.camera_is_blind:
            return
        scene, view = self.driver.scene, None
        stamp = to_nanoseconds(self.inbox.stamp) / SECOND - self.camera_is_late
        with suppress(PerceptionError):
            view = see(scene.depth_image(), scene.camera, scene.workspace, stamp)
        if view is not None and self.object_moves:
            self.looks += 1
            view = replace(view, centre=view.centre + 0.01 * self.looks)
        if view is not None and self.object_is_at is not None:
            view = replace(view, centre=self.object_is_at)
        self.inbox.put_view(None if self.table_is_empty else view, stamp)

    def _begin_late(self) -> Trigger.Response:
        """Control periods pass before the reply that counts; the first one may have been lost."""
        if self.begin_is_asked_again:
            self._begin()
        for _ in range(self.periods_at_begin):
            self.measured(self.driver.tick())
        return self._begin()

    def _begin(self) -> Trigger.Response:
        assert self.newest is not None
        self.monitor.begin(self.newest)
        if self.rewarded_since is None:
            self.rewarded_since, self.rewards_of_trial = self.newest.stamp, 0
        begun = reply_of(True, f"{to_nanoseconds(self.newest.stamp)} {to_nanoseconds(self.rewarded_since)}")
        # What the monitor had not seen yet arrives after it has begun, and earns rewards that count for nothing.
        waiting, self.backlog = self.backlog, []
        for later in waiting:
            self._monitored(later)
        return begun

    def measured(self, measurement: Measurement) -> None:
        # A message carries whole nanoseconds.
        measurement = replace(measurement, stamp=to_nanoseconds(measurement.stamp) / SECOND)
        self.inbox.put_measurement(measurement)
        if self.monitor_is_late and self.newest is not None and self.rewarded_since is None:
            self.monitor_is_late -= 1
            self.backlog.append(measurement)
        else:
            self._monitored(measurement)

    def _monitored(self, measurement: Measurement) -> None:
        self.newest = measurement
        if self.rewarded_since is not None and not self.monitor_is_mute:
            self.inbox.rewards.append(self.monitor.step(measurement))
            self.rewards_of_trial += 1

    def send(self, command: Command, new_plan: bool) -> None:
        self.driver.grip(command.finger_target, command.finger_force)
        self.measured(self.driver.step(command.motion.points[0], command.motion.velocities[0]))

    def publish(self, transition: Transition) -> None:
        self.transitions.append(transition)
        if self.external_reward is not None:
            self.inbox.rewards.append(self.external_reward)
        for answer in self.encoder.add(transition):
            if not self.encoder_is_deaf:
                self.inbox.put_context(answer)
        if len(self.transitions) in self.at_transition:
            self.at_transition[len(self.transitions)]()

    def silence(self) -> str:
        return self.silent

    def load(self, announcement: Announcement) -> LoadedPolicy:
        if announcement.version not in self.policies:
            raise UserError(f"{announcement.bundle} is damaged")
        return self.policies[announcement.version]

    def report(self, problem: str) -> None:
        self.reports.append(problem)

    def rows(self) -> np.ndarray:
        """All that was decided and came of it, in one matrix."""
        return np.array([[*t.observation, *t.action, t.reward, *t.next_observation] for t in self.transitions])
