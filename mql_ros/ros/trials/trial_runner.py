"""Sessions of trials, step by step: reset, decisions, transitions, policy changes (needs no rclpy).

A trial is an episode of three decisions. After each decision TrialRunner publishes one transition, waits for the
context that answers it (`decision_context.DecisionContext`) and decides again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.grasping.learning.grasp_search import GraspSearch
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.base.coroutine import Coroutine, CoroutineError, Wait
from mql_ros.ros.messages.encoding import read_stamps
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy
from mql_ros.ros.trials.decision_context import DecisionContext
from mql_ros.ros.trials.interface import Inbox, TrialNode, TrialSettings
from mql_ros.ros.trials.rewards import TrialRewards

if TYPE_CHECKING:
    from mql_ros.algorithm.adaptation.exploration import Explorer

RESET_SECONDS = 30.0
"""Longest wait for the reset service, s."""
LOCKSTEP_SECONDS = 10.0
"""Longest wait for a measurement in lockstep, s."""


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
        self._explorer: Explorer | None = None

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
        self._explorer = None

    def run(self, trials: int, settings: TrialSettings) -> Coroutine:
        """Run a number of trials of the session."""
        self._machine.done = True  # gives up a trial that was broken off
        for _ in range(trials):
            yield from self._change_policy()
            self._choose_exploration(settings)
            measurement = yield from self._prepare(settings)
            yield from self._run_trial(measurement, settings)

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

    def _prepare(self, settings: TrialSettings) -> Generator[Wait, Any, Measurement]:
        """Reset, begin to count rewards, and return the measurement at the start of the trial."""
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

        yield Wait("a measurement (joint_states, object_pose, wrench) to start from", arrived, seconds)
        yield from self.rewards.begin_trial(seconds, settings)
        assert inbox.measurement is not None
        return inbox.measurement

    def _choose_exploration(self, settings: TrialSettings) -> None:
        """One explorer serves a session, as in one process (mql_ros.rollouts.rollout.PolicyAgent)."""
        from mql_ros.algorithm.adaptation.config import ExplorationConfig
        from mql_ros.algorithm.adaptation.exploration import Explorer  # with torch, as the policy is

        assert self.policy is not None
        seed, search = settings.exploration_seed, settings.exploration == "search"
        guide = None if self._explorer is None else self._explorer.guide
        if search and guide is None:
            guide = GraspSearch(self.policy.old_grasps(), seed)
        config = ExplorationConfig(settings.exploration_noise, search=search)
        if self._explorer is None:
            self._explorer = Explorer(self.policy, config, seed, guide=guide)
        self._explorer.policy, self._explorer.config, self._explorer.guide = self.policy, config, guide

    def _run_trial(self, measurement: Measurement, settings: TrialSettings) -> Coroutine:
        machine, inbox = self._machine, self._inbox
        self.trial += 1
        self.trial_reward = 0.0
        machine.begin(measurement)
        observation = machine.observation(measurement)
        step = 0
        assert self.policy is not None and self._explorer is not None
        while not machine.done:
            # Single precision, in which the networks see the action again.
            action = self._explorer.act(observation, self.context.value).astype(np.float32).astype(np.float64)
            counted = self.rewards.earned()
            measurement = yield from self._decide(action, self._newest(measurement, settings), settings)
            following = machine.observation(measurement)
            reward = yield from self.rewards.wait_for_total(counted, machine.done, settings)
            self.trial_reward += reward
            self.sequence += 1
            inbox.contexts.clear()  # those received so far answer earlier transitions
            executed = machine.executed.astype(np.float32).astype(np.float64)
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
            self._explorer.learn(executed, reward, following, machine.done, self.context.value)
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
