"""What the policy server does in a session of trials, step by step (knows no rclpy)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mql_ros.core.errors import UserError
from mql_ros.grasping.learning.grasp_search import GraspSearch
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.base.coroutine import Coroutine, CoroutineError, Wait
from mql_ros.ros.messages.conversions import read_stamps
from mql_ros.ros.messages.records import ContextAnswer, Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy
from mql_ros.ros.trials.trial_ports import Inbox, Outlets, TrialSettings
from mql_ros.ros.trials.trial_rewards import MONITOR_SECONDS, Steps, TrialRewards

if TYPE_CHECKING:
    from mql_ros.algorithm.adaptation.exploration import Explorer

SERVICE_SECONDS = 30.0
"""Longest time for a reset."""
POLICY_SECONDS = 20.0
"""Longest time until the context encoder has loaded a new policy."""
LOCKSTEP_SECONDS = 10.0
"""Longest time for one control period in lockstep, where waiting costs nothing."""


class TrialSequence:
    """Sessions of trials: resets, decisions, transitions, contexts and policy swaps in their order."""

    def __init__(self, machine: TrialMachine, inbox: Inbox, outlets: Outlets, clock: Callable[[], float]) -> None:
        self._machine, self._inbox, self._outlets, self._clock = machine, inbox, outlets, clock
        self.policy: LoadedPolicy | None = None
        self.session = 0
        self.trial = -1
        """Trial of the session that is under way or was the last."""
        self.sequence = -1
        """Of the last transition."""
        self.missed_contexts = 0
        """That came after the deadline, by which a decision in real time does without, or not at all."""
        self._rewards = TrialRewards(inbox, outlets, clock)
        self.trial_reward = 0.0
        self._session_begin = 0
        self._context: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self._explorer: Explorer | None = None

    @property
    def missed_rewards(self) -> int:
        """That came too late or not at all."""
        return self._rewards.missed

    def use_first_policy(self) -> None:
        """Load the announced policy before anything runs; tells of it when it cannot be used."""
        assert self._inbox.announced is not None
        try:
            self.policy = self._outlets.load(self._inbox.announced)
        except UserError as error:
            self._outlets.report(str(error))

    def new_session(self, settings: TrialSettings) -> None:
        """A new object: nothing of what was felt before counts any more."""
        self.session += 1
        self.trial = -1
        self._session_begin = self.sequence + 1
        self._explorer = None

    def run(self, trials: int, settings: TrialSettings) -> Coroutine:
        """Run so many trials of the session."""
        self._machine.done = True  # one that was broken off is over
        for _ in range(trials):
            yield from self._use_announced_policy()
            self._choose_exploration(settings)
            measurement = yield from self._prepare(settings)
            yield from self._run_trial(measurement, settings)

    def _use_announced_policy(self) -> Steps:
        """Between two trials: change to the announced policy once the encoder has changed too, or keep the old one."""
        announced = self._inbox.announced
        if announced is None:
            raise CoroutineError("no policy was announced on the topic policy; start the adaptation_manager")
        has_history = self.sequence >= self._session_begin
        policy = self.policy
        if policy is None or policy.hash != announced.hash or policy.version != announced.version:
            try:
                policy = self._outlets.load(announced)
            except UserError as error:
                self._outlets.report(str(error))
                if self.policy is None:
                    raise CoroutineError(str(error)) from error
                policy = self.policy
        if policy is not self.policy and has_history:
            yield from self._context_for(policy, POLICY_SECONDS, optional=False)
        self.policy = policy
        if not has_history:
            self._context = np.zeros(policy.context_size, dtype=np.float32)

    def _context_for(self, policy: LoadedPolicy, seconds: float, optional: bool) -> Steps:
        def ready() -> ContextAnswer | None:
            return self._inbox.answers.get((self.sequence, policy.version))

        what = f"the context_encoder's context for transition {self.sequence} by policy version {policy.version}"
        answer = yield Wait(what, ready, seconds, optional)
        if answer is not None:
            if len(answer.context) != policy.context_size:
                raise CoroutineError(f"{what} has {len(answer.context)} numbers; expected {policy.context_size}")
            self._context = answer.context
        return answer

    def _prepare(self, settings: TrialSettings) -> Steps:
        """Reset, and begin to count rewards; returns the measurement that the trial starts from."""
        inbox = self._inbox
        yield from self._rewards.end(settings)
        before, wanted = inbox.stamp, None
        if settings.has_reset:
            reply = yield Wait("the reset service", self._outlets.call("reset"), SERVICE_SECONDS)
            if not reply.success:
                raise CoroutineError(f"the reset service refused: {reply.message}")
            wanted = next(iter(read_stamps(reply.message)), None)
        seconds = LOCKSTEP_SECONDS if settings.lockstep else max(1.0, settings.stale_after)

        def arrived() -> bool | None:
            if wanted is None:
                return inbox.stamp != before or None
            return (inbox.stamp == wanted if settings.lockstep else inbox.stamp >= wanted) or None

        yield Wait("a measurement (joint_states, object_pose, wrench) to start from", arrived, seconds)
        yield from self._rewards.begin(seconds, settings)
        assert inbox.measurement is not None
        return inbox.measurement

    def _choose_exploration(self, settings: TrialSettings) -> None:
        """One explorer serves a session, as in one process (mql_ros.rollouts.rollout.PolicyBehaviour)."""
        from mql_ros.algorithm.adaptation.exploration import ExplorationConfig, Explorer  # with torch, as the policy is

        assert self.policy is not None
        seed, search = settings.exploration_seed, settings.exploration == "search"
        guide = None if self._explorer is None else self._explorer.guide
        if search and guide is None:
            guide = GraspSearch(self.policy.old_grasps(), seed)
        config = ExplorationConfig(settings.exploration_noise, search=search)
        if self._explorer is None:
            self._explorer = Explorer(self.policy, config, seed, guide=guide)
        self._explorer.policy, self._explorer.config, self._explorer.guide = self.policy, config, guide

    def _run_trial(self, measurement: Measurement, settings: TrialSettings) -> Steps:
        machine = self._machine
        self.trial += 1
        self.trial_reward = 0.0
        machine.begin(measurement)
        observation = machine.observation(measurement)
        step = 0
        assert self.policy is not None and self._explorer is not None
        while not machine.done:
            action = self._act(observation)
            counted = self._rewards.earned()
            measurement = yield from self._decide(action, self._newest(measurement, settings), settings)
            following = machine.observation(measurement)
            reward = yield from self._rewards.total(counted, machine.done, settings)
            self.trial_reward += reward
            self.sequence += 1
            self._inbox.forget_answers()
            executed = machine.executed.astype(np.float32).astype(np.float64)
            self._outlets.publish(
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
            deadline = (
                max(settings.context_deadline, MONITOR_SECONDS) if settings.lockstep else settings.context_deadline
            )
            asked = self._clock()
            answer = yield from self._context_for(self.policy, deadline, optional=not settings.lockstep)
            self.missed_contexts += answer is None or self._clock() - asked > settings.context_deadline
            self._explorer.learn(executed, reward, following, machine.done, self._context)
            observation, step = following, step + 1

    def _act(self, observation: Array) -> Array:
        """The explored action, as it is executed: in single precision, in which the networks see it again."""
        assert self._explorer is not None
        try:
            action = spaces.sanitized(self._explorer.act(observation, self._context))
        except ValueError as error:
            raise CoroutineError(str(error)) from error
        return action.astype(np.float32).astype(np.float64)

    def _newest(self, measurement: Measurement, settings: TrialSettings) -> Measurement:
        """What a decision is planned against: where time goes on, the arm may have been moved during the waits."""
        if settings.lockstep:
            return measurement
        if silence := self._outlets.silence():
            raise CoroutineError(f"no decision is begun on what was measured long ago: {silence}")
        assert self._inbox.measurement is not None
        return self._inbox.measurement

    def _decide(self, action: Array, measurement: Measurement, settings: TrialSettings) -> Steps:
        """Carry out one decision; returns the measurement at its end."""
        machine = self._machine
        seconds = LOCKSTEP_SECONDS if settings.lockstep else settings.stale_after
        try:
            machine.decide(action, measurement)
            new_plan = True
            while (command := machine.command(measurement)) is not None:
                answered = self._inbox.stamp
                self._outlets.send(command, new_plan)
                new_plan = False
                measurement = yield from self._measurement_after(answered, seconds)
        except ValueError as error:
            raise CoroutineError(str(error)) from error
        if machine.lost:  # what is measured now must not be learned from
            raise CoroutineError(f"the arm was stopped: {machine.last_refusal}")
        return measurement

    def _measurement_after(self, stamp: int, seconds: float) -> Steps:
        def newer() -> Measurement | None:
            return self._inbox.measurement if self._inbox.stamp != stamp else None

        return (yield Wait("the next measurement", newer, seconds))
