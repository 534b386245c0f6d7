"""The node `policy_server`: runs trials with the announced policy and drives arm and gripper."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Command, Measurement
from mql_ros.ros.base.coroutine import CoroutineRunner
from mql_ros.ros.base.node import GraspingNode, answer, run_node
from mql_ros.ros.base.parameters import contradiction
from mql_ros.ros.base.qos import KEPT, LATCHED
from mql_ros.ros.base.service_calls import TriggerCalls
from mql_ros.ros.driver.command_publisher import CommandPublisher
from mql_ros.ros.driver.driver_inputs import DriverInputs
from mql_ros.ros.driver.permission import HoldSwitch, check_refusal, tighten_limit
from mql_ros.ros.messages.encoding import MessageError, to_nanoseconds
from mql_ros.ros.messages.transition import Transition, transition_message
from mql_ros.ros.policies.policy_loading import Announcement, LoadedPolicy, load_policy
from mql_ros.ros.trials.interface import Inbox, TrialSettings
from mql_ros.ros.trials.topics import SessionState, TrialSubscriptions
from mql_ros.ros.trials.trial_runner import TrialRunner

POLL = 0.025
"""Time between two checks of time limits, s."""


class PolicyServer(GraspingNode):
    """Stores messages in the inbox, and publishes what TrialRunner decides."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._hold_switch = HoldSwitch()

    def configure(self) -> None:
        """Create topics and services; nothing moves until a policy is loaded and trials are started."""
        self._profile, self._lockstep = load_profile(self.setting("robot")), bool(self.setting("lockstep"))
        if problem := contradiction(self.setting("sim"), self._settings):
            raise UserError(problem)
        self._inbox = Inbox()
        self._machine = TrialMachine(self._profile)
        self._machine.tighten(self.setting("limit_scale"), self.setting("force_limit"))
        self._trial_runner = TrialRunner(self._machine, self._inbox, self, self.seconds)
        self._coroutines = CoroutineRunner(self.seconds, self._ended)
        self._refusals = 0
        self._counts = {"starts": 0, "trials": 0, "aborted": 0}

        self._commands = CommandPublisher(self, self._profile)
        self._transitions = self.create_publisher(Float64MultiArray, "transition", KEPT)
        self._state = SessionState(self, self._trial_runner, self._inbox)
        running, poll = lambda: self._coroutines.running, self._coroutines.poll
        TrialSubscriptions(self, self._profile.base_frame, self._inbox, running, poll)
        self._inputs = DriverInputs(
            self, self._profile, self._on_measurement, self._commands.settle, lambda: self._commands.finger_force
        )
        # After all topics: a server that responds has discovered the topics that were created before its client.
        services = {name: f"grasp_monitor/{name}" for name in ("begin_trial", "end_trial")}
        services["reset"] = self.setting("reset_service")
        self._calls = TriggerCalls(self, services, self._coroutines.poll)
        self.create_service(Trigger, "~/start_session", self._on_start_session)
        self.create_service(Trigger, "~/start_trials", self._on_start_trials)
        self.create_service(Trigger, "~/stop", self._on_stop)
        self._hold_switch.configure(
            self, lambda: self._abort("held", always_hold=True), lambda: self._publish_state("idle")
        )
        self.create_timer(POLL, self._poll, clock=self.wall_clock)
        self._publish_state(self._hold_switch.state)
        # Last, because loading the first policy takes seconds.
        self.create_subscription(String, "policy", self._on_policy, LATCHED)

    def _poll(self) -> None:
        """Continue, or stop if the driver or perception has been silent in a trial for longer than the watchdog."""
        watched = self._coroutines.running and not (self._lockstep or self._machine.done)
        if watched and (silence := self.silence()):
            self._coroutines.stop()
            self._ended(f"the watchdog stopped the arm: {silence}")
        self._coroutines.poll()

    # Subscriptions.

    def _on_measurement(self, measurement: Measurement) -> None:
        self._inbox.put_measurement(measurement)
        self._coroutines.poll()

    def _on_policy(self, message: String) -> None:
        try:
            self._inbox.announced = Announcement.from_json(message.data)
        except MessageError as error:
            self.fail(str(error))
            return
        if self._trial_runner.policy is None and not self._coroutines.running:
            self._trial_runner.load_first_policy()
            self._publish_state("error" if self._trial_runner.policy is None else self._hold_switch.state, self.problem)
        else:
            self._publish_state()

    # Services.

    def _on_start_session(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return answer(response, self._start(new_session=True), f"session {self._trial_runner.session}")

    def _on_start_trials(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return answer(response, self._start(new_session=False), f"session {self._trial_runner.session}")

    def _start(self, new_session: bool) -> str | None:
        if (refusal := self.refusal()) is not None:
            return refusal
        if self._hold_switch.on:
            return "the arm is held; call policy_server/hold with data: false first"
        if self._coroutines.running:
            return "trials are under way; wait for them, or call policy_server/stop"
        if (refusal := check_refusal(self, self._profile)) is not None:
            return refusal
        if not new_session and self._trial_runner.session == 0:
            return "no session has begun; call policy_server/start_session"
        if self._inbox.announced is None:
            return "no policy was announced yet; is the adaptation_manager running?"
        if (refusal := self._commands.begin(self._inputs.joints())) is not None:
            return refusal
        settings = TrialSettings(
            lockstep=self._lockstep,
            has_reset="reset" in self._calls,
            use_monitor=self.setting("reward_source") == "monitor",
            reward_wait=self.setting("reward_wait"),
            stale_after=self.setting("stale_after"),
            context_deadline=self.setting("context_deadline"),
            view_wait=self.setting("view_wait"),
            exploration_share=self.setting("exploration_share"),
            exploration_uniform=self.setting("exploration_uniform"),
            exploration_temperature=self.setting("exploration_temperature"),
            exploration_seed=self.setting("exploration_seed"),
        )
        if new_session:
            self._trial_runner.new_session()
        self.problem = ""
        self._counts["starts"] += 1
        self._publish_state("running")
        self._coroutines.start(self._trial_runner.run(self.setting("trials") if settings.has_reset else 1, settings))
        return None

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        was_running = self._coroutines.running
        self._abort("stopped")
        return answer(response, None, "stopped" if was_running else "nothing was under way")

    def deactivate(self) -> None:
        """Abort the trials and hold the arm."""
        self._abort("stopped because policy_server was deactivated")
        self._commands.forget_plan()  # and forget a hold that still waits for joint states

    def _abort(self, reason: str, always_hold: bool = False) -> None:
        running = self._coroutines.running
        self._coroutines.stop()
        if running or always_hold:
            self._counts["aborted"] += running
            if self.active:  # an inactive policy_server sends nothing, but remembers the hold
                self._hold()
            self._publish_state(self._hold_switch.state, reason)

    def _ended(self, problem: str | None) -> None:
        if problem is not None:
            self.fail(problem)
            self._counts["aborted"] += 1
            self._hold()
        self._publish_state("idle" if problem is None else "error", problem or "")

    def _hold(self) -> None:
        self._commands.hold(None if self._machine.position_jumped else self._inputs.joints(), self._inputs.fingers())

    # What TrialRunner requires (its TrialNode).

    def call(self, service: str) -> Callable[[], Trigger.Response | None]:
        """Call `reset`, `begin_trial` or `end_trial`; the function returned polls for the response."""
        if service == "reset":
            self._commands.forget_plan()  # the arm is moved by other means
        return self._calls.call(service)

    def send(self, command: Command, new_plan: bool) -> None:
        """Publish a command that answers the newest measurement."""
        self._commands.send(command, to_nanoseconds(self._inbox.stamp), new_plan, self._machine.profile)

    def publish(self, transition: Transition) -> None:
        """Publish a transition."""
        self._transitions.publish(transition_message(transition))
        self._counts["trials"] += transition.done
        if self._machine.refusals > self._refusals:
            self._refusals = self._machine.refusals
            self.warn(f"the safety filter held the arm: {self._machine.last_refusal}")
        if transition.done:
            self._publish_state()

    def silence(self) -> str:
        """Return which input is silent for longer than the watchdog allows; "" if none is."""
        return self._inputs.silence(self.setting("watchdog"))

    def load(self, announcement: Announcement) -> LoadedPolicy:
        """Load a policy for this robot."""
        policy = load_policy(announcement, self._profile.name, *self._profile.policies_from)
        self.problem = ""
        self.get_logger().info(f"policy version {policy.version} loaded from {announcement.bundle}")
        return policy

    def report(self, problem: str) -> None:
        """Report a policy that could not be loaded."""
        self.fail(problem)

    # State and figures.

    def _publish_state(self, state: str = "", reason: str = "") -> None:
        """Publish the session's state; without one, what changed beside it."""
        self._state.publish(self._counts["starts"], state, reason)

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        trials = self._trial_runner
        return {
            "policy_version": trials.policy.version if trials.policy else "none",
            "session": trials.session,
            "decisions": trials.sequence + 1,
            "missed_context_deadlines": trials.context.missed,
            "missed_rewards": trials.rewards.missed,
            "commands": self._commands.count,
            "refused_commands": self._machine.refusals,
            **self._counts,
            **self._inputs.figures(),
        }

    def close(self) -> None:
        """Hold the arm if trials are under way, and wait until the driver has the command."""
        if self._coroutines.running:
            self._abort("stopped because policy_server ended")
            self._commands.flush()

    def change(self, name: str, value: Any) -> str | None:
        """Act on a new value of a parameter."""
        return tighten_limit(self._machine, self.setting, name, value)


def main() -> int:
    """Run the node."""
    return run_node("policy_server", PolicyServer)


if __name__ == "__main__":
    sys.exit(main())
