"""The life cycle of the nodes: in this process where that suffices, else as processes over DDS."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from helpers.graph import make_bundle
from helpers.grasping import measured
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node, NodeNameNonExistentError
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import ArmState
from mql_ros.ros.base import managed_node
from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.bring_up import BringUp
from mql_ros.ros.bringup.node_table import NODES
from mql_ros.ros.bringup.processes import Domain
from mql_ros.ros.driver.command_publisher import CommandPublisher
from mql_ros.ros.messages.encoding import SECOND
from mql_ros.ros.messages.sensors import joint_state_message
from mql_ros.ros.nodes import policy_server
from mql_ros.ros.nodes.policy_server import PolicyServer

SECONDS = 60.0
"""Longest time to wait for anything here, s."""
MODULES = {entry.name: entry.module for entry in NODES}


@pytest.fixture(scope="module", autouse=True)
def domain() -> Iterator[None]:
    with Domain():
        yield


# In this process.


class Stumbling(GraspingNode):
    """Fails with `error`, if set, after it has made something."""

    error: Exception | None = None

    def configure(self) -> None:
        self.create_publisher(JointState, "made", RELIABLE)
        if self.error is not None:
            raise self.error


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "policy")


@pytest.fixture
def make_node(bundle: Path) -> Iterator[Callable[..., Any]]:
    made: list[GraspingNode] = []
    rclpy.init(args=["--ros-args", "-p", "autostart:=false", "-p", f"bundle:={bundle}"])

    def make(kind: type[GraspingNode], name: str = "grasp_monitor") -> Any:
        made.append(kind(name))
        return made[-1]

    yield make
    for node in made:
        node.finish()
        node.destroy_node()
    rclpy.try_shutdown()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(UserError("no arm"), TransitionCallbackReturn.FAILURE), (KeyError("arm"), TransitionCallbackReturn.ERROR)],
)
def test_where_configuring_fails_nothing_stays_and_it_can_be_tried_again(make_node, error, outcome) -> None:
    node = make_node(Stumbling)
    before = len(list(node.publishers))
    node.error = error
    assert node.trigger_configure() == outcome
    assert "arm" in node.problem and not node.configured and len(list(node.publishers)) == before
    node.error = None
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert node.active and len(list(node.publishers)) == before + 1


def test_a_warning_is_logged_once_while_it_goes_on_whatever_its_figures(make_node, monkeypatch) -> None:
    node, clock, logged = make_node(Stumbling), [100.0], []
    monkeypatch.setattr(managed_node.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(node, "get_logger", lambda: SimpleNamespace(warning=logged.append))
    for number in range(100):  # for 50 s two sentences take turns
        clock[0] += 0.5
        node.warn(f"{number} mm are too long", "too_large")
        node.warn("the table is not seen")
        node.forget_old_warnings()
    assert logged == ["0 mm are too long", "the table is not seen"] and node.warning == "the table is not seen"
    clock[0] += managed_node.WARNING_SECONDS + 1.0
    node.forget_old_warnings()
    assert node.warning == ""
    node.warn("7 mm are too long", "too_large")
    assert node.warning == logged[-1] == "7 mm are too long" and len(logged) == 3


@pytest.mark.parametrize("view_wait", ["0.5", "0.0"], ids=["destroyed", "refused"])
def test_a_destroyed_or_refused_node_leaves_the_graph(view_wait: str) -> None:
    """Its DDS threads end with it; they could crash a process that exits."""
    rclpy.init(args=["--ros-args", "-p", f"view_wait:={view_wait}"])
    witness = rclpy.create_node("witness")
    try:
        if float(view_wait):
            Stumbling("grasp_monitor").destroy_node()
        else:
            with pytest.raises(UserError, match=r"expected 0\.1"):
                Stumbling("grasp_monitor")
        assert witness.get_node_names() == ["witness"]
    finally:
        witness.destroy_node()
        rclpy.try_shutdown()


def deliver(node: GraspingNode, topic: str, message: Any) -> None:
    """Pass a message to the node's subscription, as an executor does."""
    name = node.resolve_topic_name(topic)
    next(one for one in node.subscriptions if one.topic_name == name).callback(message)


def call(node: GraspingNode, service: str, request: Any) -> Any:
    """Return the response of one of the node's own services."""
    server = next(one for one in node.services if one.srv_name == service)
    return server.callback(request, server.srv_type.Response())


def hold(node: GraspingNode, held: bool) -> None:
    assert call(node, "~/hold", SetBool.Request(data=held)).success


def is_held(node: GraspingNode) -> bool:
    return "the arm is held" in call(node, "~/start_session", Trigger.Request()).message


def test_a_hold_that_still_lacks_joint_states_ends_with_the_activity(
    make_node, panda: RobotProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CommandPublisher] = []

    def make_commands(*arguments: Any) -> CommandPublisher:
        made.append(CommandPublisher(*arguments))
        return made[-1]

    monkeypatch.setattr(policy_server, "CommandPublisher", make_commands)
    node = make_node(PolicyServer, "policy_server")
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    (commands,), at_home = made, ArmState.at_rest(panda.home)
    node.create_subscription(JointTrajectory, panda.topics.arm_command, lambda message: None, RELIABLE)
    deadline = time.monotonic() + SECONDS
    while (refusal := commands.begin(at_home)) is not None:
        assert time.monotonic() < deadline, refusal
    commands.forget_plan()
    before = commands.count
    deliver(node, "hold", Bool(data=True))
    assert commands.count == before + 1
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    commands.settle(at_home)
    assert commands.count == before + 1


def test_joint_states_that_come_ever_later_are_as_good_as_none(
    panda: RobotProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    rclpy.init(args=["--ros-args", "-p", "lockstep:=true", "-p", "sim:=true"])
    node = PolicyServer("policy_server")
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        now, arm = [0.0], measured(panda.home)
        monkeypatch.setattr(node, "seconds", lambda: now[0])
        for k in range(400):  # 0.1 s later in each second
            stamp = 1.0 + 0.02 * k
            now[0] = stamp + 0.002 * k
            deliver(node, "joint_states", joint_state_message(panda, arm, round(stamp * SECOND), 0.0))
        assert re.fullmatch(r"joint_states come 0\.\d\d s later than they once did: .*", node.silence())
    finally:
        node.finish()
        node.destroy_node()
        rclpy.try_shutdown()


def test_only_the_service_releases_a_hold(make_node) -> None:
    node = make_node(PolicyServer, "policy_server")
    assert node.trigger_configure() == node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    for held in (True, False):
        hold(node, held)
        deliver(node, "hold", Bool(data=False))
        assert is_held(node) is held
    deliver(node, "hold", Bool(data=True))
    deliver(node, "hold", Bool(data=False))
    assert is_held(node)


def test_a_hold_outlives_clean_up(make_node) -> None:
    node = make_node(PolicyServer, "policy_server")
    up, down = (node.trigger_configure, node.trigger_activate), (node.trigger_deactivate, node.trigger_cleanup)
    for step in up:
        assert step() == TransitionCallbackReturn.SUCCESS
    hold(node, True)
    for step in (*down, *up):
        assert step() == TransitionCallbackReturn.SUCCESS
    assert is_held(node)
    hold(node, False)
    assert not is_held(node)


def test_a_warning_is_reported_while_it_is_new(make_node, monkeypatch: pytest.MonkeyPatch) -> None:
    node, levels, now = make_node(Stumbling), [], [100.0]
    monkeypatch.setattr(managed_node.time, "monotonic", lambda: now[0])
    diagnostics = next(one for one in node.publishers if one.topic_name == "/diagnostics")
    monkeypatch.setattr(diagnostics, "publish", lambda message: levels.append(message.status[0].level))
    (report,) = node.timers
    for age, warned in ((0.0, True), (9.0, True), (18.0, False), (20.0, False)):
        now[0] = 100.0 + age
        if warned:
            node.warn("refused: nonsense")
        report.callback()
    assert levels == [DiagnosticStatus.WARN] * 3 + [DiagnosticStatus.OK]


@pytest.mark.parametrize("name", MODULES)
def test_cleaning_up_destroys_what_configuring_made(make_node, name: str) -> None:
    module = __import__(MODULES[name], fromlist=["main"])
    kind = getattr(module, "".join(word.capitalize() for word in name.split("_")))
    node = make_node(kind, name)

    def count() -> dict[str, int]:
        kinds = ("publishers", "subscriptions", "clients", "services", "timers")
        return {entities: len(list(getattr(node, entities))) for entities in kinds}

    steps = (node.trigger_configure, node.trigger_activate, node.trigger_deactivate, node.trigger_cleanup)
    before, counts = count(), []
    for _ in range(2):
        for step in steps:
            assert step() == TransitionCallbackReturn.SUCCESS, node.problem
            counts.append(count())
    made, cleaned = counts[0], counts[3]
    assert cleaned == counts[7] == before != made == counts[4]
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    node.trigger_shutdown()
    assert count() == before and not node.configured


# As processes.


class Processes:
    """Nodes that wait for somebody to bring them up, and one that asks them."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._context = Context()
        self._context.init()
        self.node = Node("asking", context=self._context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        words = [f"__ns:=/{self._namespace}", "autostart:=false", *arguments]
        flags = [flag for word in words for flag in ("-r" if word.startswith("__") else "-p", word)]
        command = [sys.executable, "-m", MODULES[name], "--ros-args", *flags]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        self._running.append(process)
        return process

    def subscribe(self, kind: Any, topic: str) -> list[Any]:
        received: list[Any] = []
        self.node.create_subscription(kind, topic, received.append, RELIABLE)
        return received

    def wait_for(self, condition: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited {SECONDS:g} s in vain for {what}"
            self._executor.spin_once(timeout_sec=0.05)

    def ask(self, kind: Any, service: str, request: Any = None) -> Any:
        client = self.node.create_client(kind, service)
        self.wait_for(client.service_is_ready, service)
        future = client.call_async(request or kind.Request())
        self.wait_for(future.done, f"an answer from {service}")
        return future.result()

    def change(self, name: str, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.ask(ChangeState, f"{name}/change_state", request).success)

    def state(self, name: str) -> int:
        return int(self.ask(GetState, f"{name}/get_state").current_state.id)

    def services_of(self, name: str) -> set[str]:
        try:
            given = self.node.get_service_names_and_types_by_node(name, f"/{self._namespace}")
        except NodeNameNonExistentError:  # not discovered yet
            return set()
        return {service for service, _ in given}

    def bring_up(self, names: list[str]) -> tuple[list[str], list[str]]:
        """Bring nodes up, asking for the last one first: which became active, in order, and what went wrong."""
        full = [f"/{self._namespace}/{name}" for name in names]
        order: list[str] = []
        problems: list[str] = []
        over = threading.Event()
        bring_up = BringUp(self.node, full, over.is_set)

        async def one(name: str) -> None:
            try:
                if await bring_up.bring_up(name):
                    order.append(name.rpartition("/")[2])
            except UserError as error:
                problems.append(str(error))
                over.set()

        async def all_of_them() -> None:
            await asyncio.gather(*(one(name) for name in reversed(full)))

        thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
        thread.start()
        try:
            self.wait_for(lambda: not thread.is_alive(), "the bring-up")
        finally:
            over.set()
            thread.join()
        return order, problems

    def close(self) -> list[int]:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        codes = [process.wait(timeout=SECONDS) for process in self._running]
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()
        return codes


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> Iterator[Processes]:
    started = Processes(request.node.name.partition("[")[0])
    yield started
    assert set(started.close()) <= {0, -signal.SIGKILL}


def test_an_inactive_policy_server_sends_nothing_and_says_why(processes: Processes) -> None:
    sent = processes.subscribe(JointTrajectory, "arm_controller/joint_trajectory")
    processes.start("policy_server")
    assert processes.state("policy_server") == State.PRIMARY_STATE_UNCONFIGURED
    processes.wait_for(lambda: processes.services_of("policy_server"), "its services")
    assert not any("start_session" in service for service in processes.services_of("policy_server"))
    assert processes.change("policy_server", Transition.TRANSITION_CONFIGURE)
    for service in ("start_session", "start_trials"):
        reply = processes.ask(Trigger, f"policy_server/{service}")
        assert not reply.success
        assert reply.message.startswith(
            "/test_an_inactive_policy_server_sends_nothing_and_says_why/policy_server is not a"
        )
        assert "ros2 lifecycle set" in reply.message and "\n" not in reply.message
    # It can be held, and remembers that once it is active.
    assert processes.ask(SetBool, "policy_server/hold", SetBool.Request(data=True)).success
    assert not sent
    assert processes.change("policy_server", Transition.TRANSITION_ACTIVATE)
    assert "the arm is held" in processes.ask(Trigger, "policy_server/start_session").message
    assert processes.change("policy_server", Transition.TRANSITION_DEACTIVATE)
    assert processes.change("policy_server", Transition.TRANSITION_CLEANUP)
    gone = lambda: not any("start_session" in name for name in processes.services_of("policy_server"))  # noqa: E731
    processes.wait_for(gone, "the end of its services")
    assert not processes.change("policy_server", Transition.TRANSITION_ACTIVATE)
    assert processes.state("policy_server") == State.PRIMARY_STATE_UNCONFIGURED


def test_the_simulated_arm_is_silent_until_it_is_active(processes: Processes) -> None:
    joints, reports = (
        processes.subscribe(JointState, "joint_states"),
        processes.subscribe(DiagnosticArray, "/diagnostics"),
    )
    processes.start("arm_simulator")
    assert processes.change("arm_simulator", Transition.TRANSITION_CONFIGURE)
    assert "is not active" in processes.ask(Trigger, "arm_simulator/reset").message

    def wait_for_reports(number: int) -> None:
        wanted = len(reports) + number
        processes.wait_for(lambda: len(reports) >= wanted, "its reports on /diagnostics")

    wait_for_reports(2)
    assert not joints
    assert reports[-1].status[0].message == "not active"
    assert processes.change("arm_simulator", Transition.TRANSITION_ACTIVATE)
    processes.wait_for(lambda: len(joints) > 5, "joint states")
    assert processes.change("arm_simulator", Transition.TRANSITION_DEACTIVATE)
    wait_for_reports(1)
    silent_since = len(joints)
    wait_for_reports(1)
    assert len(joints) == silent_since
    assert processes.change("arm_simulator", Transition.TRANSITION_ACTIVATE)
    processes.wait_for(lambda: len(joints) > silent_since, "joint states again")


def test_nodes_come_up_in_order_and_again_after_they_were_killed(processes: Processes) -> None:
    names = ["grasp_monitor", "context_encoder", "scene_markers"]
    started = {name: processes.start(name) for name in reversed(names)}
    assert processes.bring_up(names) == (names, [])
    started["context_encoder"].kill()
    started["context_encoder"].wait()
    processes.start("context_encoder")
    active, problems = processes.bring_up(names)
    assert (sorted(active), problems) == (sorted(names), [])
    assert processes.state("context_encoder") == State.PRIMARY_STATE_ACTIVE


def test_a_node_that_cannot_be_configured_ends_the_bring_up_and_is_named(processes: Processes) -> None:
    reports = processes.subscribe(DiagnosticArray, "/diagnostics")
    processes.start("grasp_monitor", "robot:=pando")
    processes.start("scene_markers")
    order, problems = processes.bring_up(["grasp_monitor", "scene_markers"])
    assert order == [] and len(problems) == 1
    assert "grasp_monitor cannot be configured" in problems[0]
    reported = lambda: any("unknown robot 'pando'" in s.message for report in reports for s in report.status)  # noqa: E731
    processes.wait_for(reported, "its reason on /diagnostics")
