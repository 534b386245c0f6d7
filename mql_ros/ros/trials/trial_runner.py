"""Sessions of trials, step by step: reset, decisions, transitions, policy changes (needs no rclpy).

A trial is an episode of three decisions. After each decision TrialRunner publishes one transition, waits for the
context that answers it (`decision_context.DecisionContext`) and decides again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.base.coroutine import Coroutine, CoroutineError, Wait
from mql_ros.ros.messages.encoding import read_stamps
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy
from mql_ros.ros.trials.decision_context import DecisionContext
from mql_ros.ros.trials.interface import Inbox, TrialNode, TrialSettings
from mql_ros.ros.trials.rewards import TrialRewards
from mql_ros.ros.trials.views import wait_for_view

if TYPE_CHECKING:
    from mql_ros.grasping.learning.grasp_policy import GraspPolicy

RESET_SECONDS = 30.0
"""Longest wait for the reset service, s."""
LOCKSTEP_SECONDS = 10.0
"""Longest wait for a measurement in lockstep, s."""


class Start(NamedTuple):
    """What a trial begins from."""

    measurement: Measurement
    view: HeightMap


class TrialRunner:
    """Runs the trials of a session as a coroutine, one session after another."""

    def __init__(self, machine: TrialMachine, inbox: Inbox, node: TrialNode, clock: Callable[[], float]) -> None:
        """`clock` returns seconds and never goes back."""
        self._machine, self._inbox, self._node = machine, inbox, node
        self.policy: LoadedPolicy | None = None
        self.session = 0
        """Number of the session, from 1."""
        self.trial = -1
        """Present or last trial of the session, from 0."""
        self.sequence = -1
        """Sequence number of the last transition, over all sessions."""
        self.context = DecisionContext(inbox, clock)
        self.rewards = TrialRewards(inbox, node, clock)
        self.trial_reward = 0.0
        """Sum of the rewards of the trial so far."""
        self._session_begin = 0
        self._acting: GraspPolicy | None = None

    def load_first_policy(self) -> None:
        """Load the announced policy before the first trial; report an error if it cannot be used."""
        assert self._inbox.announced is not None
        try:
            self.policy = self._node.load(self._inbox.announced)
        except UserError as error:
            self._node.report(str(error))

    def new_session(self) -> None:
        """Begin a session with a new object: its history is empty."""
        self.session += 1
        self.trial = -1
        self._session_begin = self.sequence + 1
        self._acting = None

    def run(self, trials: int, settings: TrialSettings) -> Coroutine:
        """Run a number of trials of the session."""
        self._machine.done = True  # gives up a trial that was broken off
        for _ in range(trials):
            yield from self._change_policy()
            acting = self._policy_of_session(settings)
            start = yield from self._prepare(settings)
            yield from self._run_trial(acting, start, settings)

    def _change_policy(self) -> Coroutine:
        """Change to the announced policy between two trials, once context_encoder has changed too.

        A policy that cannot be loaded is reported, and the old one stays.
        """
        announced = self._inbox.announced
        if announced is None:
            raise CoroutineError("no policy was announced on the topic policy; start the adaptation_manager")
        has_history = self.sequence >= self._session_begin
        policy = self.policy
        if policy is None or policy.hash != announced.hash or policy.version != announced.version:
            try:
                policy = self._node.load(announced)
            except UserError as error:
                self._node.report(str(error))
                if self.policy is None:
                    raise CoroutineError(str(error)) from error
                policy = self.policy
        if policy is not self.policy and has_history:
            yield from self.context.wait_for_policy(self.sequence, policy)
        self.policy = policy
        if not has_history:
            self.context.clear(policy)

    def _policy_of_session(self, settings: TrialSettings) -> GraspPolicy:
        """Return the policy that acts; in a session it remembers where grasps succeeded, whatever its version."""
        from mql_ros.grasping.learning.grasp_policy import Exploration  # with torch, as the policy is

        assert self.policy is not None
        exploration = Exploration(
            settings.exploration_share, settings.exploration_uniform, settings.exploration_temperature
        )
        if self._acting is None:
            self._acting = self.policy.new_session(settings.exploration_seed)
        self._acting.learner, self._acting.exploration = self.policy.learner, exploration
        return self._acting

    def _prepare(self, settings: TrialSettings) -> Generator[Wait, Any, Start]:
        """Reset, look, begin to count rewards; return measurement and view at the start of the trial.

        Nothing that was measured or seen before the reset begins a trial.
        """
        inbox = self._inbox
        yield from self.rewards.end_trial(settings)
        before, wanted = inbox.stamp, None
        if settings.has_reset:
            reply = yield Wait("the reset service", self._node.call("reset"), RESET_SECONDS)
            if not reply.success:
                raise CoroutineError(f"the reset service refused: {reply.message}")
            wanted = next(iter(read_stamps(reply.message)), None)
        seconds = LOCKSTEP_SECONDS if settings.lockstep else max(1.0, settings.stale_after)

        def arrived() -> bool | None:
            if wanted is None:
                return inbox.stamp != before or None
            return (inbox.stamp == wanted if settings.lockstep else inbox.stamp >= wanted) or None

        yield Wait("a measurement (joint_states, wrench) to start from", arrived, seconds)
        view = yield from wait_for_view(inbox, inbox.stamp, settings)
        yield from self.rewards.begin_trial(seconds, settings)
        assert inbox.measurement is not None
        if (age := inbox.stamp - view.stamp) > settings.stale_after:
            raise CoroutineError(
                f"the view of the object is {age:.2f} s older than the joint_states; at most "
                f"{settings.stale_after:g} s (stale_after) are acted on: the camera is slow, or has another clock"
            )
        return Start(inbox.measurement, view)

    def _run_trial(self, acting: GraspPolicy, start: Start, settings: TrialSettings) -> Coroutine:
        machine, inbox, measurement = self._machine, self._inbox, start.measurement
        try:
            machine.begin(measurement, start.view)
        except ValueError as error:
            raise CoroutineError(str(error)) from error
        self.trial += 1
        self.trial_reward = 0.0
        # Networks compute in single precision: what they see and do is recorded exactly so.
        observation = _single(machine.observation(measurement))
        step = 0
        assert self.policy is not None
        while not machine.done:
            action = _single(acting.act(observation, self.context.value))
            counted = self.rewards.earned()
            measurement = yield from self._decide(action, self._newest(measurement, settings), settings)
            following = _single(machine.observation(measurement))
            reward = yield from self.rewards.wait_for_total(counted, machine.done, settings)
            self.trial_reward += reward
            self.sequence += 1
            inbox.contexts.clear()  # those received so far answer earlier transitions
            executed = _single(machine.executed)
            self._node.publish(
                Transition(
                    sequence=self.sequence,
                    session=self.session,
                    trial=self.trial,
                    step=step,
                    policy_version=self.policy.version,
                    stamp=measurement.stamp,
                    reward=reward,
                    done=machine.done,
                    terminal=machine.done,
                    observation=observation,
                    action=executed,
                    next_observation=following,
                )
            )
            yield from self.context.wait_for_step(self.sequence, self.policy, settings)
            acting.learn(executed, reward, following.astype(np.float32), machine.done)
            observation, step = following, step + 1

    def _newest(self, measurement: Measurement, settings: TrialSettings) -> Measurement:
        """Return the measurement to plan from: in real time the arm may have been moved during the waits."""
        if settings.lockstep:
            return measurement
        if silence := self._node.silence():
            raise CoroutineError(f"no decision is begun on what was measured long ago: {silence}")
        assert self._inbox.measurement is not None
        return self._inbox.measurement

    def _decide(
        self, action: Array, measurement: Measurement, settings: TrialSettings
    ) -> Generator[Wait, Any, Measurement]:
        """Carry out one decision and return the measurement at its end."""
        machine = self._machine
        seconds = LOCKSTEP_SECONDS if settings.lockstep else settings.stale_after
        try:
            machine.decide(action, measurement)
            new_plan = True
            while (command := machine.command(measurement)) is not None:
                answered = self._inbox.stamp
                self._node.send(command, new_plan)
                new_plan = False
                measurement = yield from self._measurement_after(answered, seconds)
        except ValueError as error:
            raise CoroutineError(str(error)) from error
        if machine.position_jumped:  # the measurement is wrong and must not be learned from
            raise CoroutineError(f"the arm was stopped: {machine.last_refusal}")
        return measurement

    def _measurement_after(self, stamp: float, seconds: float) -> Generator[Wait, Any, Measurement]:
        def newer() -> Measurement | None:
            return self._inbox.measurement if self._inbox.stamp != stamp else None

        return (yield Wait("the next measurement", newer, seconds))


def _single(values: Array) -> Array:
    """Return the values rounded to single precision."""
    return values.astype(np.float32).astype(np.float64)
