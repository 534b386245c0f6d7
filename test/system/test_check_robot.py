"""`mql check-robot` against the simulator's process in real time: sound it passes, each fault is caught and named."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.graph import run_node
from rclpy.node import Node
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from mql_ros.cli import check_robot
from mql_ros.core.errors import UserError
from mql_ros.core.files import write_json
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.driver_check.report import content_hash, default_path, load_report, make_report
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient, GraphError
from mql_ros.ros.bringup.robot_checker import CheckTimes, RobotChecker

NAMESPACE = "checked"
SHORT = CheckTimes(listen=1.5, nudge=0.4, silence=0.8, slow_motion=1.0, gripper=1.0)
PROFILE = load_profile("panda")
MOTIONS = ["silence means hold", "nudge", "velocities", "latency", "stopping distance", "gripper"]


@pytest.fixture(scope="module")
def simulator() -> Iterator[GraphClient]:
    """A client beside the simulator alone; a test chooses the fault."""
    command = [sys.executable, "-m", "mql_sim.driver.arm_simulator", "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
    with subprocess.Popen(command) as process:
        try:
            with GraphClient(namespace=NAMESPACE) as client:
                client.call("arm_simulator/reset")
                yield client
        finally:
            process.terminate()
            assert process.wait(10) == 0


@pytest.fixture(scope="module")
def checker(simulator: GraphClient) -> Iterator[RobotChecker]:
    with RobotChecker(PROFILE, NAMESPACE, SHORT) as made:
        assert made.wait_for_driver()["joint_states"] == ["arm_simulator"]
        yield made


@pytest.fixture
def choose(simulator: GraphClient) -> Iterator[Callable[[str], None]]:
    """Have the simulator imitate a fault; afterwards it is sound again and the arm at home."""
    yield lambda fault: simulator.set_parameters("arm_simulator", fault=fault)
    simulator.set_parameters("arm_simulator", fault="none")
    simulator.call("arm_simulator/reset")


def failures(verdicts: list[Verdict]) -> dict[str, str]:
    return {verdict.check: verdict.text for verdict in verdicts if verdict.passed is False}


def test_a_sound_driver_passes(checker: RobotChecker) -> None:
    assert failures(checker.listen()) == {}
    verdicts = list(checker.move(joints=(0, 6)))
    assert failures(verdicts) == {}
    assert [verdict.check for verdict in verdicts] == MOTIONS


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("shuffled_names", "joint order", "names and positions do not belong together"),
        ("degrees", "units and ranges", "degrees in place of radians"),
        ("late_stamps", "time stamps", "after its stamp"),
        ("dropped_messages", "gaps and jitter", "periods without joint_states"),
        ("low_rate", "rate", "Hz (at least 16.0)"),
    ],
)
def test_a_fault_that_needs_no_motion_is_named(
    fault: str, check: str, words: str, checker: RobotChecker, choose: Callable[[str], None]
) -> None:
    choose(fault)
    failed = failures(checker.listen())
    assert list(failed) == [check]
    assert words in failed[check]


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("no_watchdog", "silence means hold", "panda_joint7 went on by"),
        ("stuck_gripper", "gripper", "0.080 m where 0.024 was asked for"),
    ],
)
def test_a_fault_that_shows_in_motion_is_named_and_ends_it(
    fault: str, check: str, words: str, checker: RobotChecker, choose: Callable[[str], None]
) -> None:
    choose(fault)
    assert failures(checker.listen()) == {}
    verdicts = list(checker.move(joints=(6,)))
    assert list(failures(verdicts)) == [check] == [verdicts[-1].check]
    assert words in verdicts[-1].text


def test_faults_are_for_real_time() -> None:
    ended = run_node("mql_sim.driver.arm_simulator", ["-p", "lockstep:=true", "-p", "fault:=degrees"])
    assert ended.returncode == 2
    assert ended.stderr.strip() == "arm_simulator: error: fault:=degrees needs real time; set lockstep:=false"


# The verb.


def simulators_report() -> Path:
    return default_path("panda", NAMESPACE, simulator=True)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    check_robot.add_arguments(parser)
    return parser.parse_args(["--namespace", NAMESPACE, *words])


@pytest.fixture
def ros_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "ros"))
    return tmp_path / "ros"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The verb's checker takes the times of the tests, and moves the last joint only."""
    monkeypatch.setattr("mql_ros.ros.bringup.robot_checker.CheckTimes", lambda: SHORT)
    monkeypatch.setattr("mql_ros.ros.bringup.processes.check_ros", lambda: None)  # a test that runs has ROS
    every = RobotChecker.move
    monkeypatch.setattr(RobotChecker, "move", lambda self: every(self, joints=(6,)))


def test_the_verb_writes_a_report_that_counts(
    simulator: GraphClient, ros_home: Path, short: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_robot.main(arguments("--json", str(tmp_path / "report.json"))) == 0
    printed = capsys.readouterr().out
    assert "moving panda_joint7" in printed and "all 18 checks passed" in printed
    report = json.loads(simulators_report().read_text())
    assert report["passed"] and report["complete"] and report["sha256"] == content_hash(report)
    assert report["simulator"] and report["namespace"] == NAMESPACE
    assert report["driver"]["joint_states"] == ["arm_simulator"]
    assert json.loads((tmp_path / "report.json").read_text()) == report
    # It opens nothing for hardware, not even where it is named, and it is not where that looks.
    assert not default_path("panda", NAMESPACE).exists()
    with pytest.raises(UserError, match="was made with the simulator"):
        load_report(simulators_report(), PROFILE, NAMESPACE)
    # Listening alone is no reason to give it up.
    assert check_robot.main(arguments("--passive")) == 0
    assert "the arm was not moved" in capsys.readouterr().out
    assert json.loads(simulators_report().read_text()) == report


def test_the_verb_tells_what_failed_and_moves_nothing(
    choose: Callable[[str], None], ros_home: Path, short: None, capsys: pytest.CaptureFixture[str]
) -> None:
    choose("degrees")
    assert check_robot.main(arguments()) == 1
    printed = capsys.readouterr().out
    assert "FAIL  units and ranges" in printed and "moving" not in printed
    report = json.loads(simulators_report().read_text())
    assert not report["passed"] and [c["check"] for c in report["checks"] if c["passed"] is False] == [
        "units and ranges"
    ]


def test_only_the_simulator_is_moved_unasked(
    simulator: GraphClient, ros_home: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it where another node subscribes to the commands too."""
    arm = Node("an_arm", context=simulator.node.context, namespace=NAMESPACE)
    arm.create_subscription(JointTrajectory, PROFILE.topics.arm_command, lambda message: None, RELIABLE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    try:
        with pytest.raises(UserError, match="give --yes"):
            check_robot.main(arguments())
    finally:
        arm.destroy_node()


# The gate.


@pytest.fixture
def beside_a_driver() -> Iterator[GraphClient]:
    """A client beside an arm that is not the simulator and that nobody commands yet."""
    with GraphClient(namespace="gate") as client:
        driver = Node("a_driver", context=client.node.context, namespace="gate")
        driver.create_subscription(JointTrajectory, PROFILE.topics.arm_command, lambda message: None, RELIABLE)
        driver.create_publisher(JointState, PROFILE.topics.joint_states, RELIABLE)
        yield client
        driver.destroy_node()


def test_the_policy_server_asks_for_the_report(beside_a_driver: GraphClient, tmp_path: Path) -> None:
    path = tmp_path / "check.json"
    given = ["-r", "__ns:=/gate", "-p", f"check_report:={path}"]
    command = [sys.executable, "-m", "mql_ros.ros.nodes.policy_server", "--ros-args", *given]

    def refusal() -> str:
        with pytest.raises(GraphError) as refused:
            beside_a_driver.start(new_session=True)
        return str(refused.value)

    def write(verdict: Verdict, simulator: bool = False, namespace: str = "gate", **changes: object) -> None:
        report = make_report(
            PROFILE, namespace, {"joint_states": ["driver"]}, [verdict], complete=True, simulator=simulator
        )
        write_json(path, {**report, **changes})

    with subprocess.Popen(command) as server:
        try:
            assert "there is no check report" in refusal()
            write(sound := Verdict("wrench", True, "20 Hz", {"published": True}), robot="iiwa")
            assert "was changed" in refusal()
            write(Verdict("rate", False, "10 Hz"))
            assert "the driver failed: rate" in refusal()
            write(Verdict("wrench", True, "nobody publishes it", {"published": False}))
            assert "use_wrench:=false" in refusal()
            write(sound, namespace="other")
            assert "is about an arm in namespace 'other'" in refusal()
            write(sound, simulator=True)
            assert "was made with the simulator" in refusal()
            write(sound)
            assert "no policy was announced" in refusal()  # that comes after the gate
            other = beside_a_driver.node.create_publisher(JointTrajectory, PROFILE.topics.arm_command, RELIABLE)
            server_hears = lambda: "is published by mql_client too" in refusal()  # noqa: E731
            beside_a_driver.wait_for(server_hears, 10, "the server to discover another commander")
            other.destroy()
        finally:
            server.terminate()
            assert server.wait(10) == 0
