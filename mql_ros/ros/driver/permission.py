"""Whether the arm may move, and within which limits: nodes at its topics, check report, controller, holds, limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check.report import default_path, load_report
from mql_ros.grasping.robot.profile import RobotProfile, Topics
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.ros.base.node import GraspingNode, answer
from mql_ros.ros.base.parameters import contradiction
from mql_ros.ros.base.qos import RELIABLE, SENSOR
from mql_ros.ros.driver.driver_inputs import Unwatched

SIMULATOR = "arm_simulator"
"""Name of the simulator's node."""
UNKNOWN_NODE = "_NODE_NAME_UNKNOWN_"
"""Name that rclpy gives a node that is not fully discovered."""
NO_SIMULATOR = f"no {SIMULATOR}"
"""Begins a refusal while the simulator is absent or not discovered."""
DISCOVERY = 1.0
"""Longest time to wait for node names, s."""
LOOK_AGAIN = 0.02
"""Time between two looks at the graph, s."""
CLIENT = "mql_client"
"""Name of the node of GraphClient, which subscribes to every topic and commands nothing."""
CONTROLLER_POLL = 0.25
"""Time between two polls of the controller's state, s."""
CONTROLLER_SILENCE = 1.0
"""An active controller publishes its state more often than this, s."""


@dataclass(frozen=True)
class ArmEndpoints:
    """Names of the nodes at the topics of the arm, without the node that asks."""

    command_topic: str
    state_topic: str
    command_subscribers: tuple[str, ...]
    """Nodes that subscribe to the arm's commands."""
    state_publishers: tuple[str, ...]
    """Nodes that publish joint_states."""
    command_publishers: tuple[str, ...]
    """Other nodes that publish commands for the arm."""

    @property
    def known(self) -> bool:
        """Whether the driver's topics have a subscriber and a publisher, and all nodes have names."""
        everybody = (*self.command_subscribers, *self.state_publishers, *self.command_publishers)
        return bool(self.command_subscribers and self.state_publishers) and UNKNOWN_NODE not in everybody

    def no_simulator(self) -> str | None:
        """Return why commands may move more than the simulator; None if it is the sole subscriber.

        The package's own client only counts commands. Any other subscriber may be a real arm.
        """
        others = sorted({*self.command_subscribers} - {SIMULATOR, CLIENT})
        if others:
            return f"{_named(others)} would be commanded too, by {self.command_topic}"
        if SIMULATOR not in self.command_subscribers:
            return f"{NO_SIMULATOR} subscribes to {self.command_topic}"
        others = sorted({*self.state_publishers} - {SIMULATOR})
        if others:
            return f"{self.state_topic} is published by {_named(others)}"
        return None if self.state_publishers else f"{NO_SIMULATOR} publishes {self.state_topic}"

    def other_commander(self) -> str | None:
        """Return a refusal that names the other nodes that command the arm; None if there are none."""
        if not self.command_publishers:
            return None
        return (
            f"{self.command_topic} is published by {_named(self.command_publishers)} too; stop that before trials begin"
        )


def has_simulator(driver: Mapping[str, Sequence[str]]) -> bool:
    """Return whether a node of this driver, the names of nodes by topic, is the simulator."""
    return any(SIMULATOR in nodes for nodes in driver.values())


def _named(nodes: Iterable[str]) -> str:
    return " and ".join("a node of unknown name" if name == UNKNOWN_NODE else name for name in nodes)


def arm_endpoints(node: Node, topics: Topics, sim: bool) -> ArmEndpoints:
    """Return the nodes at the arm's topics once discovered (with `sim`, the simulator too), or after DISCOVERY."""
    deadline = time.monotonic() + DISCOVERY
    while True:
        ends = _endpoints_now(node, topics)
        if (ends.known and not (sim and ends.no_simulator())) or time.monotonic() >= deadline:
            return ends
        time.sleep(LOOK_AGAIN)


def _endpoints_now(node: Node, topics: Topics) -> ArmEndpoints:
    own = (node.get_name(), node.get_namespace())
    command_publishers = node.get_publishers_info_by_topic(topics.arm_command)
    names = [(info.node_name, info.node_namespace) for info in command_publishers]
    if own in names:
        names.remove(own)  # once: another one of the same name is somebody else
    return ArmEndpoints(
        topics.arm_command,
        topics.joint_states,
        tuple(info.node_name for info in node.get_subscriptions_info_by_topic(topics.arm_command)),
        tuple(info.node_name for info in node.get_publishers_info_by_topic(topics.joint_states)),
        tuple(name for name, _ in names),
    )


def check_refusal(node: GraspingNode, profile: RobotProfile) -> str | None:
    """Return why trials must not begin, in one sentence; None if they may.

    `sim:=true` is accepted only if the simulator is the sole subscriber of the command topic: a real driver in the same
    ROS domain would receive the same commands. A real arm needs a passing report of `mql check-robot`; with
    `require_check:=false` a warning is reported at each start instead.
    """
    sim = bool(node.setting("sim"))
    endpoints = arm_endpoints(node, profile.topics, sim)
    if sim:
        other = endpoints.no_simulator()
        return other and (
            f"sim:=true moves the simulator only, but {other}; stop that or use another ROS_DOMAIN_ID, and for a real "
            "arm set sim:=false"
        )
    if (refusal := endpoints.other_commander()) is not None:
        return refusal
    if not node.setting("require_check"):
        node.forget_old_warnings(0.0)  # this one is logged at every start
        node.warn("require_check:=false: the arm is moved without a passing report of `mql check-robot`")
        return None
    namespace = node.get_namespace()
    path = Path(node.setting("check_report") or default_path(profile.name, namespace))
    try:
        report = load_report(path, profile, namespace, robot=node.setting("robot"))
    except UserError as error:
        return f"{error}{'' if path.exists() else ', or set sim:=true where it is the simulator'}"
    return _unfit(node, {check["check"]: check["figures"] for check in report["checks"]})


def _unfit(node: GraspingNode, found: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return which parameter of this node contradicts the figures of the check report; None if none does."""
    shows = "the check report shows that"
    if node.setting("use_wrench") and not found.get("wrench", {}).get("published"):
        return f"{shows} the driver publishes no wrench; set use_wrench:=false"
    scale = found.get("latency", {}).get("limit_scale", 1.0)
    if node.setting("limit_scale") > scale:
        return f"{shows} the arm follows so late that limit_scale may be at most {scale}; set it"
    longest = found.get("gaps and jitter", {}).get("longest", 0.0)
    if node.setting("watchdog") <= longest:
        return f"{shows} joint_states came up to {longest} s apart, which is silence for the watchdog; set it higher"
    return None


class ControllerWatch:
    """Subscribes to `controller_state` beside the command topic, which an active controller publishes in each update.

    An inactive joint_trajectory_controller subscribes to commands too, and ignores them. Without control_msgs, or with
    a driver that publishes no such topic, nothing is known.
    """

    def __init__(self, node: GraspingNode, command_topic: str) -> None:
        self._node = node
        self._topic = f"{command_topic.rpartition('/')[0]}/controller_state".lstrip("/")
        if command_topic.startswith("/"):
            self._topic = f"/{self._topic}"
        self._received = -CONTROLLER_SILENCE
        try:
            self._kind: Any = import_module("control_msgs.msg").JointTrajectoryControllerState
        except ImportError:
            self._kind = None
            return
        # Up to 1000 a second: only their arrival counts, so none is deserialized.
        self._stream = node.create_subscription(
            self._kind, self._topic, lambda data: None, SENSOR, callback_group=Unwatched(), raw=True
        )
        node.create_timer(CONTROLLER_POLL, self._poll, clock=node.wall_clock)

    def refusal(self) -> str | None:
        """Return why the controller cannot carry out a motion; None if nothing shows that."""
        if self._kind is None or self._node.count_publishers(self._topic) == 0:
            return None
        self._poll()
        if self._node.seconds() - self._received <= CONTROLLER_SILENCE:
            return None
        return f"nothing comes on {self._topic}, so the arm controller is not active; activate it"

    def _poll(self) -> None:
        stream: Any = self._stream.handle
        with stream:
            while stream.take_message(self._kind, True) is not None:
                self._received = self._node.seconds()


class HoldSwitch:
    """Whether the arm is held: by the topic `hold` or the service `~/hold`; only the service releases it.

    So the `false` of one node, such as a button that is let go, does not undo the hold of another. A hold lasts as long
    as the node, through clean-up and a new configuration.
    """

    def __init__(self) -> None:
        self.on = False

    @property
    def state(self) -> str:
        """State of a session that does nothing: "held" or "idle"."""
        return "held" if self.on else "idle"

    def configure(self, node: GraspingNode, held: Callable[[], None], released: Callable[[], None]) -> None:
        """Create service and subscription; `held` and `released` are called when the hold begins and ends."""
        self._held, self._released = held, released
        node.create_service(SetBool, "~/hold", self._on_service)
        node.create_subscription(Bool, "hold", self._on_topic, RELIABLE)

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        was_on, self.on = self.on, request.data
        if self.on:
            self._held()
        elif was_on:
            self._released()
        return answer(response, None, "held" if self.on else "released")

    def _on_topic(self, message: Bool) -> None:
        if message.data and not self.on:
            self.on = True
            self._held()


def tighten_limit(machine: TrialMachine, setting: Callable[[str], Any], name: str, value: Any) -> str | None:
    """Set the parameter `name` of the machine if it is a limit; return why it must not change, or None.

    Limits are only tightened while the policy server runs. `setting` returns present values by name.
    """
    if problem := contradiction(setting("sim"), {name: value}):
        return problem
    if name in ("watchdog", "stale_after") and value > setting(name):
        return f"{name} can only be lowered while the node runs; start it anew with a longer time"
    if name in ("limit_scale", "force_limit"):
        now = {key: setting(key) for key in ("limit_scale", "force_limit")} | {name: value}
        try:
            machine.tighten(now["limit_scale"], now["force_limit"])
        except ValueError as error:
            return str(error)
    return None
