"""A facade of the graph for programs that run trials.

with Domain(), GraphProcesses({"lockstep": True, "trials": 4}, "out/logs") as processes:
    with GraphClient(processes) as graph:
        graph.wait_until_ready()
        graph.set_parameters("arm_simulator", object="bottle", seed=3)
        before = graph.run_trials(4, new_session=True, on_transition=print)
        outcome = graph.adapt()              # dict: version, effective_sample_size, ...
        after = graph.run_trials(4)          # by the adapted policy, with the history kept
        graph.restore_initial()              # the meta-trained policy again, before the next object
        print(graph.middleware())             # {"rmw": ..., "processes": 5, "messages": {topic: count}}
print(processes.exit_codes)
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import WrenchStamped
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image, JointState, PointCloud2
from std_msgs.msg import Float64, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import RobotProfile, Topics
from mql_ros.ros.base.parameters import Value, parameters_of
from mql_ros.ros.base.qos import LATCHED, LATCHED_FEW, RELIABLE
from mql_ros.ros.base.service_calls import RepeatedCall
from mql_ros.ros.bringup.node_table import SERVICES, endpoints, nodes_of
from mql_ros.ros.bringup.processes import GraphProcesses
from mql_ros.ros.driver.command_publisher import NO_SUBSCRIBER, NOT_FRESH
from mql_ros.ros.driver.permission import CLIENT, NO_SIMULATOR
from mql_ros.ros.messages.encoding import nanoseconds
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES
from mql_ros.ros.messages.transition import Transition, read_transition

SPIN_SECONDS = 0.1
MAY_PASS = (NOT_FRESH, NO_SIMULATOR, NO_SUBSCRIBER)
"""Refusals of a start that pass by themselves: on a busy machine, or while DDS repeats a lost discovery message."""
PASSED = 10.0
"""Longest time to wait until such a refusal has passed, s."""


class GraphError(UserError):
    """The graph did not do what was asked of it, in one sentence."""


class GraphClient:
    """Starts trials and adaptations, keeps the newest message of each topic, and counts messages; a context manager.

    Every method that waits has a limit in seconds, and fails at once when a node has ended or trials were given up.
    Callbacks are called from within these methods. All errors are GraphError or UserError.
    """

    def __init__(
        self, processes: GraphProcesses | None = None, *, namespace: str = "", profile: RobotProfile | None = None
    ) -> None:
        """`processes`, if given, are checked while waiting; None if others started the nodes.

        `profile` gives the driver's topics and the type of gripper commands; None stands for the usual topic names and
        `gripper.command: joint_trajectory`.
        """
        self._processes = processes
        self._clients: dict[str, Any] = {}
        self.topics = profile.topics if profile is not None else Topics()
        self._context = Context()
        self._context.init()
        self.node = Node(
            CLIENT,
            context=self._context,
            namespace=namespace,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self.counts: dict[str, int] = {}
        """Number of messages received, by topic."""
        self.transitions: list[Transition] = []
        """All transitions received, in order."""
        self.state: dict[str, Any] = {}
        """Newest `session_state`: state (idle, running, held or error), session, trial, policy_version, reason ..."""
        self.policy: dict[str, Any] = {}
        """The announced policy: bundle, version, hash."""
        self.adaptation: dict[str, Any] = {}
        """Outcome of the newest adaptation, as `GraphClient.adapt` returns it; `rolled_back` may become true later."""
        self.pictures: deque[tuple[float, NDArray[np.uint8]]] = deque(maxlen=50)
        """The newest camera pictures: driver time (s) and pixels [height, width, 3]; see `GraphClient.set_camera`."""
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        """Newest status by node name."""
        self.on_transition: Callable[[Transition], None] | None = None
        self.on_picture: Callable[[float, NDArray[np.uint8]], None] | None = None
        gripper_message, _ = GRIPPER_MESSAGES[profile.gripper_command if profile is not None else "joint_trajectory"]
        # Only counted, so they are not deserialized.
        for topic, kind in (
            (self.topics.joint_states, JointState), (self.topics.depth_image, Image),
            (self.topics.wrench, WrenchStamped), (self.topics.arm_command, JointTrajectory),
            (self.topics.gripper_command, gripper_message), ("grasp_reward", Float64), ("object_view", PointCloud2),
        ):  # fmt: skip
            self._subscribe(kind, topic, lambda message: None, raw=True)
        self._subscribe(Float64MultiArray, "context", lambda message: None, LATCHED_FEW, raw=True)
        self._subscribe(Float64MultiArray, "transition", self._on_transition)
        self._subscribe(String, "session_state", self._keep("state"), LATCHED)
        self._subscribe(String, "policy", self._keep("policy"), LATCHED)
        self._subscribe(String, "adaptation", self._keep("adaptation"), LATCHED)
        self._subscribe(Image, "camera/image_raw", self._on_picture)
        self._subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics)

    # Subscriptions.

    def _subscribe(
        self, kind: Any, topic: str, received: Callable[[Any], None], quality: Any = RELIABLE, raw: bool = False
    ) -> None:
        self.counts[topic] = 0

        def counted(message: Any) -> None:
            self.counts[topic] += 1
            received(message)

        self.node.create_subscription(kind, topic, counted, quality, raw=raw)

    def _keep(self, attribute: str) -> Callable[[String], None]:
        return lambda message: setattr(self, attribute, json.loads(message.data))

    def _on_transition(self, message: Float64MultiArray) -> None:
        transition = read_transition(message)
        self.transitions.append(transition)
        if self.on_transition is not None:
            self.on_transition(transition)

    def _on_picture(self, message: Image) -> None:
        pixels = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.width, 3)
        picture = nanoseconds(message.header.stamp) * 1e-9, pixels
        self.pictures.append(picture)
        if self.on_picture is not None:
            self.on_picture(*picture)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        prefix = self.node.get_namespace().strip("/")
        for status in message.status:
            namespace, _, name = status.name.rpartition("/")
            if namespace == prefix:  # /diagnostics is one topic for all namespaces
                self.diagnostics[name] = status

    # Waiting.

    def wait_for(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """Handle messages until `condition` returns something true, and return that; GraphError names `what`."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if self._processes is not None:
                self._processes.check()
            left = deadline - time.monotonic()
            if left <= 0:
                problems = [f"{n}: {s.message}" for n, s in self.diagnostics.items() if s.level != DiagnosticStatus.OK]
                raise GraphError(
                    f"waited {seconds:g} s in vain for {what} ({'; '.join(problems) or 'no node complains'})"
                )
            self._executor.spin_once(timeout_sec=min(left, SPIN_SECONDS))
        return value

    def close(self) -> None:
        """Destroy the client's node."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def __enter__(self) -> GraphClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def wait_until_ready(self, seconds: float = 60.0, sim: bool = True) -> None:
        """Wait until nodes, topics and services are connected, the policy is loaded and all nodes are active."""
        for service in SERVICES:
            if sim or not service.startswith("arm_simulator"):
                client = self._client(Trigger if not service.endswith("hold") else SetBool, service)
                self.wait_for(client.service_is_ready, seconds, f"the service {service}")
        for entry in nodes_of(sim):
            client = self._client(SetParameters, f"{entry.name}/set_parameters")
            self.wait_for(client.service_is_ready, seconds, f"the parameters of {entry.name}")
        for topic, (publishers, subscribers) in endpoints(self.topics).items():
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
        response = self.ask(GetState, f"{node}/get_state", GetState.Request(), seconds)
        return bool(response.current_state.id == State.PRIMARY_STATE_ACTIVE)

    def _connected(self, topic: str, publishers: tuple[str, ...], subscribers: tuple[str, ...], sim: bool) -> bool:
        senders = {info.node_name for info in self.node.get_publishers_info_by_topic(topic)}
        takers = {info.node_name for info in self.node.get_subscriptions_info_by_topic(topic)}
        absent = set() if sim else {"arm_simulator"}
        return set(publishers) - absent <= senders and set(subscribers) - absent <= takers

    def _raise_error(self) -> None:
        if self.state.get("state") == "error":
            raise GraphError(f"policy_server: {self.state.get('reason')}")

    # Services.

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
        """Call a Trigger service, or a SetBool one with `data`, and return its message; GraphError if it refuses.

        A response may be lost; the service is then called again. For a service that must not run twice, `done` returns
        whether its effect is seen on the topics: it is then called once, and the message may be "".
        """
        kind: Any = Trigger if data is None else SetBool
        request = kind.Request() if data is None else kind.Request(data=data)
        response = self.ask(kind, service, request, seconds, done)
        if response is not None and not response.success:
            raise GraphError(f"{service}: {response.message}")
        return "" if response is None else str(response.message)

    def ask(
        self, kind: Any, service: str, request: Any, seconds: float = 30.0, done: Callable[[], bool] | None = None
    ) -> Any:
        """Call a service of any type and return its response; None if it was lost but `done` returns true."""
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
        response = self.ask(SetParameters, f"{node}/set_parameters", request)
        for result in response.results:
            if not result.successful:
                raise GraphError(f"{node}: {result.reason}")

    def set_camera(self, periods: int) -> None:
        """Take a picture every `periods` control periods and after each reset; 0 for none."""
        self.set_parameters("arm_simulator", camera_periods=periods)

    # Trials and adaptation.

    def start(self, *, new_session: bool = False) -> Callable[[], bool]:
        """Start trials without waiting for them; the function returned shows whether they have begun.

        Refusals that pass by themselves (MAY_PASS) are retried for PASSED seconds.
        """
        starts = self.state.get("starts", 0)
        started = lambda: self.state.get("starts", 0) > starts  # noqa: E731
        service = "policy_server/start_session" if new_session else "policy_server/start_trials"
        deadline = time.monotonic() + PASSED
        while True:
            count = self.counts[self.topics.joint_states]
            try:
                self.call(service, done=started)
                return started
            except GraphError as error:
                if not any(words in str(error) for words in MAY_PASS) or time.monotonic() > deadline:
                    raise
            self.wait_for(lambda: self.counts[self.topics.joint_states] > count, PASSED, "joint_states")  # noqa: B023

    def run_trials(
        self,
        trials: int,
        *,
        new_session: bool = False,
        on_transition: Callable[[Transition], None] | None = None,
        seconds_per_trial: float = 30.0,
    ) -> list[Transition]:
        """Run trials and return their transitions; a new session (new object) begins with an empty history."""
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
        """Adapt to the session's transitions; return the outcome once the policy server knows the new policy."""
        before = self.counts["adaptation"]
        finished = lambda: self.counts["adaptation"] > before  # noqa: E731
        self.call("adaptation_manager/adapt", seconds=seconds, done=finished)
        self.wait_for(finished, seconds, "the adaptation")
        if self.adaptation.get("failed"):
            raise GraphError(f"the adaptation failed: {self.adaptation['reason']}")
        self._wait_for_version(int(self.adaptation["version"]))
        return self.adaptation

    def roll_back(self) -> int:
        """Return to the policy before the present one; return its version."""
        return self._go_back("adaptation_manager/roll_back")

    def restore_initial(self) -> int:
        """Return to the policy of the start; return its version."""
        return self._go_back("adaptation_manager/restore_initial")

    def _go_back(self, service: str) -> int:
        before = self.counts["policy"]
        announced = lambda: self.counts["policy"] > before  # noqa: E731
        self.call(service, done=announced)
        self.wait_for(announced, 10.0, "the announcement of the policy")
        version = int(self.policy["version"])
        self._wait_for_version(version)
        return version

    def _wait_for_version(self, version: int) -> None:
        """Wait until the policy server has received the announcement; it uses the policy from the next trial on."""
        self.wait_for(lambda: self.state.get("announced_version") == version, 10.0, f"policy version {version}")

    def hold(self, held: bool = True) -> None:
        """Hold the arm where it is and refuse to start trials, until called with False."""
        self.call("policy_server/hold", data=held)

    def middleware(self) -> dict[str, Any]:
        """Return what carried the messages: middleware, number of node processes, messages received here by topic."""
        count = len(self._processes.pids) if self._processes is not None else 0
        return {"rmw": get_rmw_implementation_identifier(), "processes": count, "messages": dict(self.counts)}
