"""A facade of the graph for programs that run trials: the demo and the tests.

with Domain(), GraphProcesses({"lockstep": True, "trials": 4}, "out/logs") as processes:
    with GraphClient(processes) as graph:
        graph.wait_until_ready()
        graph.set_parameters("arm_simulator", object="bottle", seed=3)
        before = graph.run_trials(4, new_session=True, on_transition=print)
        outcome = graph.adapt()              # dict: version, effective_sample_size, ...
        after = graph.run_trials(4)          # by the adapted policy, with the history kept
        graph.restore_initial()              # the meta-trained policy again, before the next object
        print(graph.transport())             # {"rmw": ..., "processes": 5, "messages": {topic: count}}
print(processes.exit_codes)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.utilities import get_rmw_implementation_identifier
from std_srvs.srv import SetBool, Trigger

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.ros.base.parameters import Value, parameters_of
from mql_ros.ros.base.repeated_call import RepeatedCall
from mql_ros.ros.bringup.graph import SERVICES, GraphProcesses, ends_of, nodes_of
from mql_ros.ros.bringup.listener import GraphError, GraphListener
from mql_ros.ros.driver.arm_ends import NO_SIMULATOR
from mql_ros.ros.driver.command_publisher import NOBODY, NOT_FRESH
from mql_ros.ros.messages.records import Transition

__all__ = ["GraphClient", "GraphError"]

MAY_PASS = (NOT_FRESH, NO_SIMULATOR, NOBODY)
"""Refusals to start that a busy machine, or DDS that asks again every 3 s for what it lost, brings about by itself."""
PASSED = 10.0
"""Longest time to wait until such a refusal has passed, s."""


class GraphClient(GraphListener):
    """Starts trials and adaptations and hears what comes of them; a context manager.

    Every method that waits has a limit in seconds, and fails at once when a node has ended or trials were given up.
    Callbacks are called from within these methods. All errors are GraphError or UserError.
    """

    def __init__(
        self, processes: GraphProcesses | None = None, *, namespace: str = "", profile: RobotProfile | None = None
    ) -> None:
        """As GraphListener's."""
        super().__init__(processes, namespace=namespace, profile=profile)
        self._clients: dict[str, Any] = {}

    def wait_until_ready(self, seconds: float = 60.0, sim: bool = True) -> None:
        """Wait until nodes, topics and services are connected, the policy is loaded and all nodes are active."""
        for service in SERVICES:
            if sim or not service.startswith("arm_simulator"):
                client = self._client(Trigger if not service.endswith("hold") else SetBool, service)
                self.wait_for(client.service_is_ready, seconds, f"the service {service}")
        for entry in nodes_of(sim):
            client = self._client(SetParameters, f"{entry.name}/set_parameters")
            self.wait_for(client.service_is_ready, seconds, f"the parameters of {entry.name}")
        for topic, (publishers, subscribers) in ends_of(self._topics).items():
            self.wait_for(lambda: self._connected(topic, publishers, subscribers, sim), seconds, f"all ends of {topic}")  # noqa: B023
        self.wait_for(
            lambda: self.state.get("policy_version") or self.state.get("state") == "error", seconds, "the policy"
        )
        if not self.state.get("policy_version"):
            self._raise_error()
        self.wait_for(lambda: self.counts["context"], seconds, "the context_encoder's policy")
        for entry in nodes_of(sim):  # launch files activate them one after the other
            self.wait_for(lambda: self._is_active(entry.name, seconds), seconds, f"{entry.name} to become active")  # noqa: B023

    def _is_active(self, node: str, seconds: float) -> bool:
        response = self._ask(GetState, f"{node}/get_state", GetState.Request(), seconds)
        return bool(response.current_state.id == State.PRIMARY_STATE_ACTIVE)

    def _connected(self, topic: str, publishers: tuple[str, ...], subscribers: tuple[str, ...], sim: bool) -> bool:
        senders = {info.node_name for info in self.node.get_publishers_info_by_topic(topic)}
        takers = {info.node_name for info in self.node.get_subscriptions_info_by_topic(topic)}
        absent = set() if sim else {"arm_simulator"}
        return set(publishers) - absent <= senders and set(subscribers) - absent <= takers

    def _raise_error(self) -> None:
        if self.state.get("state") == "error":
            raise GraphError(f"policy_server: {self.state.get('reason')}")

    # Asking.

    def _client(self, kind: Any, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        return self._clients[service]

    def call(
        self,
        service: str,
        *,
        data: bool | None = None,
        seconds: float = 30.0,
        done: Callable[[], bool] | None = None,
    ) -> str:
        """Call a Trigger service, or a SetBool one with `data`; returns its message, GraphError when it refuses.

        The answer may be lost, and then the service is called again. Where that would do a thing twice, `done` tells
        whether it was done, as can be seen elsewhere; then it is called once, and the message may be empty.
        """
        kind: Any = Trigger if data is None else SetBool
        request = kind.Request() if data is None else kind.Request(data=data)
        response = self._ask(kind, service, request, seconds, done)
        if response is not None and not response.success:
            raise GraphError(f"{service}: {response.message}")
        return "" if response is None else str(response.message)

    def _ask(
        self, kind: Any, service: str, request: Any, seconds: float = 30.0, done: Callable[[], bool] | None = None
    ) -> Any:
        """The response; None where it was lost, but `done` says that what was asked for was done."""
        client = self._client(kind, service)
        self.wait_for(client.service_is_ready, seconds, f"the service {service}")
        call = RepeatedCall(client, request, time.monotonic, again=done is None)

        def answered() -> bool:
            return call.response() is not None or (done is not None and call.overdue and done())

        try:
            self.wait_for(answered, seconds, f"an answer from {service}")
            return call.response()
        finally:
            call.close()

    def set_parameters(self, node: str, given: Mapping[str, Value] | None = None, **more: Value) -> None:
        """Set parameters of a node; GraphError gives its reason for refusing."""
        wanted = {**(given or {}), **more}
        values = parameters_of(node, wanted)
        if unknown := sorted(set(wanted) - set(values)):
            raise GraphError(f"the node {node} has no parameter '{unknown[0]}'")
        request = SetParameters.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        response = self._ask(SetParameters, f"{node}/set_parameters", request)
        for result in response.results:
            if not result.successful:
                raise GraphError(f"{node}: {result.reason}")

    def set_camera(self, periods: int) -> None:
        """Have pictures taken every so many control periods and after each reset; 0 for none."""
        self.set_parameters("arm_simulator", camera_periods=periods)

    # Trials and adaptation.

    def start(self, *, new_session: bool = False) -> Callable[[], bool]:
        """Start trials and wait for none; the function returned tells whether the state says that they began.

        A driver that policy_server has not discovered yet is waited for, and so are joint states that are not fresh.
        """
        starts = self.state.get("starts", 0)
        started = lambda: self.state.get("starts", 0) > starts  # noqa: E731
        service = "policy_server/start_session" if new_session else "policy_server/start_trials"
        deadline = time.monotonic() + PASSED
        while True:
            heard = self.counts[self._topics.joint_states]
            try:
                self.call(service, done=started)
                return started
            except GraphError as error:
                if not any(words in str(error) for words in MAY_PASS) or time.monotonic() > deadline:
                    raise
            self.wait_for(lambda: self.counts[self._topics.joint_states] > heard, PASSED, "joint_states")  # noqa: B023

    def run_trials(
        self,
        trials: int,
        *,
        new_session: bool = False,
        on_transition: Callable[[Transition], None] | None = None,
        seconds_per_trial: float = 30.0,
    ) -> list[Transition]:
        """Run trials and return their transitions; a new session (new object) forgets what was felt before."""
        self.set_parameters("policy_server", trials=trials)
        first = len(self.transitions)
        kept, self.on_transition = self.on_transition, on_transition or self.on_transition
        try:
            started = self.start(new_session=new_session)
            self.wait_for(
                lambda: started() and self.state["state"] != "running",
                20.0 + trials * seconds_per_trial,
                f"the end of {trials} trials",
            )
            self._raise_error()
            finished = lambda: sum(t.done for t in self.transitions[first:])  # noqa: E731
            if self.state["reason"]:
                raise GraphError(f"the trials were {self.state['reason']} after {finished()} of {trials}")
            self.wait_for(lambda: finished() >= trials, 5.0, "the last transition")
        finally:
            self.on_transition = kept
        return self.transitions[first:]

    def adapt(self, seconds: float = 180.0) -> dict[str, Any]:
        """Adapt to the session's transitions; returns the outcome once the policy server knows the new policy.

        Where the outcome says `rolled_back`, there is none.
        """
        before = self.counts["adaptation"]
        finished = lambda: self.counts["adaptation"] > before  # noqa: E731
        self.call("adaptation_manager/adapt", seconds=seconds, done=finished)
        self.wait_for(finished, seconds, "the adaptation")
        if self.adaptation.get("failed"):
            raise GraphError(f"the adaptation failed: {self.adaptation['reason']}")
        if not self.adaptation["rolled_back"]:
            self._wait_for_version(int(self.adaptation["version"]))
        return self.adaptation

    def roll_back(self) -> int:
        """Return to the policy before the present one; its version."""
        return self._go_back("adaptation_manager/roll_back")

    def restore_initial(self) -> int:
        """Return to the policy of the start; its version."""
        return self._go_back("adaptation_manager/restore_initial")

    def _go_back(self, service: str) -> int:
        before = self.counts["policy"]
        version = int(self.call(service, done=lambda: self.counts["policy"] > before) or self.policy["version"])
        self._wait_for_version(version)
        return version

    def _wait_for_version(self, version: int) -> None:
        """Until the policy server has heard of it: it then uses it from the next trial on."""
        self.wait_for(lambda: self.state.get("announced_version") == version, 10.0, f"policy version {version}")

    def hold(self, held: bool = True) -> None:
        """Hold the arm where it is and refuse to start trials, until called with False."""
        self.call("policy_server/hold", data=held)

    def transport(self) -> dict[str, Any]:
        """What carried the messages: middleware, number of node processes, messages heard here by topic."""
        count = len(self._processes.pids) if self._processes is not None else 0
        return {"rmw": get_rmw_implementation_identifier(), "processes": count, "messages": dict(self.counts)}
