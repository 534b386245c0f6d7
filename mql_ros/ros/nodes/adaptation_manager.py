"""The node `adaptation_manager`: announces the policy, adapts it beside the control loop, and rolls it back."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from mql_ros.algorithm.experience.session_files import write_sessions
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.child_process import ChildProcess
from mql_ros.ros.base.node import GraspingNode, answer, run_node
from mql_ros.ros.base.parameters import ADAPTATION
from mql_ros.ros.base.qos import KEPT, LATCHED
from mql_ros.ros.messages.encoding import MessageError
from mql_ros.ros.messages.transition import read_transition
from mql_ros.ros.policies.adaptation_job import AdaptationRequest, config_values
from mql_ros.ros.policies.policy_history import PolicyHistory, RollbackCheck
from mql_ros.ros.policies.policy_loading import Announcement, check_bundle
from mql_ros.ros.policies.session_log import SessionLog

CHECK_PERIOD = 0.1
"""Period at which the adapting process is polled, s."""


class AdaptationManager(GraspingNode):
    """Logs the sessions and starts adaptations, each in a child process (adaptation_job)."""

    def configure(self) -> None:
        """Check the bundle and prepare the directory of adapted policies."""
        profile = load_profile(self.setting("robot"))
        bundle = Path(self.setting("bundle") or share_path("models", "grasp")).absolute()
        self._policies = PolicyHistory(check_bundle(bundle, profile.name, *profile.policies_from))
        self._log = SessionLog()
        self._child: ChildProcess | None = None
        self._request: AdaptationRequest | None = None
        self._rollback_check: RollbackCheck | None = None
        self._result: dict[str, Any] = {}
        self._counts = {"adaptations": 0, "failed_adaptations": 0, "roll_backs": 0, "refused_messages": 0}
        self._own_directory = not self.setting("work_directory")
        self._directory = self._make_directory()
        self._policy = self.create_publisher(String, "policy", LATCHED)
        self._adaptation = self.create_publisher(String, "adaptation", LATCHED)
        self.create_subscription(Float64MultiArray, "transition", self._on_transition, KEPT)
        self.create_service(Trigger, "~/adapt", self._on_adapt)
        self.create_service(Trigger, "~/roll_back", self._on_roll_back)
        self.create_service(Trigger, "~/restore_initial", self._on_restore_initial)
        self.create_timer(CHECK_PERIOD, self._check_child, clock=self.wall_clock)

    def activate(self) -> None:
        """Announce the policy."""
        self._announce()

    def deactivate(self) -> None:
        """Stop an adaptation that is under way, and the check of the adapted policy."""
        self._rollback_check = None
        if self._child is not None:
            self._conclude("the adaptation_manager was deactivated")

    def _make_directory(self) -> Path:
        if self._own_directory:
            return Path(tempfile.mkdtemp(prefix="mql_policies_"))
        directory = Path(self.setting("work_directory")).absolute()
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"work_directory {directory} cannot be made ({error.strerror}); choose a writable place"
            ) from error
        return directory

    def _announce(self) -> None:
        self._policy.publish(String(data=self._policies.present.to_json()))

    def _on_transition(self, message: Float64MultiArray) -> None:
        try:
            transition = read_transition(message)
        except MessageError as error:
            self._counts["refused_messages"] += 1
            self.warn(f"refused: {error}")
            return
        if self._log.add(transition) and transition.done and self._rollback_check is not None:
            self._judge(self._rollback_check)

    def _judge(self, check: RollbackCheck) -> None:
        """Roll an adapted policy back if its trials are worse than those of the previous policy."""
        if self._log.session != check.session:
            self._rollback_check = None
            return
        verdict = check.verdict(self._log.trial_returns())
        if verdict is None:
            return
        self._rollback_check = None
        passed, reason = verdict
        self.get_logger().info(reason)
        if not passed:
            self._policies.roll_back()
            self._counts["roll_backs"] += 1
            self._announce()
        self._publish_outcome(rolled_back=not passed, reason=reason)

    def _publish_outcome(self, **changes: Any) -> None:
        self._result |= changes
        self._adaptation.publish(String(data=json.dumps(self._result, allow_nan=False)))

    def _on_adapt(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Start an adaptation to the session's transitions; its outcome is published on `adaptation`."""
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        if self._child is not None:
            return answer(response, "an adaptation is under way; wait for its outcome on the topic adaptation")
        if self._log.trials == 0:
            return answer(response, "there are no transitions of this session; run at least one trial first")
        settings = {name: self.setting(ADAPTATION + name) for name in self._adaptation_names()}
        try:
            config_values(settings)
            self._start(settings)
        except (UserError, ValueError, OSError) as error:
            return answer(response, f"the adaptation cannot be started: {error}")
        assert self._request is not None
        return answer(response, None, f"adapting to {self._request.new_trials} trials: version {self._request.version}")

    def _adaptation_names(self) -> list[str]:
        return [name.removeprefix(ADAPTATION) for name in self._specs if name.startswith(ADAPTATION)]

    def _start(self, settings: dict[str, Any]) -> None:
        policies, version = self._policies, self._policies.next_version
        start = policies.initial if self.setting("start_from") == "initial" else policies.present
        files = {name: self._directory / f"adaptation-{version}.{name}" for name in ("npz", "request", "result", "log")}
        output = self._directory / f"policy-{version}"
        for leftover in (files["result"], output):
            if leftover.exists():
                raise UserError(f"{leftover} exists already; choose another work_directory or empty it")
        trials = min(self._log.trials, self.setting("first_trials") or self._log.trials)
        sessions = self._log.sessions(earlier=self.setting("sessions") - 1, trials=trials)
        write_sessions(files["npz"], sessions)
        request = AdaptationRequest(
            bundle=start.bundle,
            hash=start.hash,
            sessions=str(files["npz"]),
            new_trials=sum(int(session.done.sum()) for session in sessions),
            output=str(output),
            version=version,
            result=str(files["result"]),
            settings=settings,
        )
        request.write(files["request"])
        self._request, self._rollback_check = request, None
        command = [sys.executable, "-m", "mql_ros.ros.policies.adaptation_job", str(files["request"])]
        self._child = ChildProcess(command, files["log"], self.seconds() + self.setting("adaptation_timeout"))

    def _check_child(self) -> None:
        if self._child is None:
            return
        problem = self._child.poll(self.seconds())
        if problem is not None:
            self._conclude(problem)

    def _conclude(self, problem: str) -> None:
        """End the adaptation: announce its policy, or report the problem if there is one."""
        assert self._child is not None and self._request is not None
        self._child.kill()
        request, self._child = self._request, None
        self._result = {"version": request.version, "session": self._log.session, "rolled_back": False, "reason": ""}
        if problem:
            self._counts["failed_adaptations"] += 1
            self.fail(f"adaptation failed: {problem}")
            self._publish_outcome(failed=True, reason=problem)
            return
        self.problem = ""
        self._counts["adaptations"] += 1
        self._result |= json.loads(Path(request.result).read_text())
        before = self._policies.present
        self._policies.push(Announcement(request.output, request.version, self._result["hash"]))
        if self.setting("rollback_trials"):
            trials, margin = self.setting("rollback_trials"), self.setting("rollback_margin")
            self._rollback_check = RollbackCheck(before.version, request.version, self._log.session, trials, margin)
        self._announce()
        self._publish_outcome(failed=False)

    def _on_roll_back(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Return to the previous policy."""
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        if not self._policies.roll_back():
            return answer(response, f"version {self._policies.present.version} is the first policy; none came before")
        return self._go_back(response)

    def _on_restore_initial(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Return to the initial policy, for instance before another object."""
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        self._policies.restore_initial()
        return self._go_back(response)

    def _go_back(self, response: Trigger.Response) -> Trigger.Response:
        self._rollback_check = None
        self._counts["roll_backs"] += 1
        self._announce()
        return answer(response, None, f"policy version {self._policies.present.version} is announced")

    def figures(self) -> dict[str, Any]:
        """For /diagnostics."""
        return {
            "policy_version": self._policies.present.version,
            "adapting": self._child is not None,
            "session": self._log.session,
            "transitions": len(self._log.transitions),
            "missing_transitions": self._log.missing,
            **self._counts,
        }

    def close(self) -> None:
        """Stop the adapting process and remove the temporary directory of adapted policies."""
        if self._child is not None:
            self._child.kill()
        if self._own_directory:
            shutil.rmtree(self._directory, ignore_errors=True)


def main() -> int:
    """Run the node."""
    return run_node("adaptation_manager", AdaptationManager)


if __name__ == "__main__":
    sys.exit(main())
