"""The whole graph against a driver that is not PyBullet: nothing depends on the simulator."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from helpers import first_order_driver
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from mql_ros.core.files import write_json
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.driver_check.report import load_report, make_report
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import heights_of
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.bringup.processes import GraphProcesses
from mql_ros.ros.bringup.robot_checker import CheckTimes, RobotChecker
from mql_ros.ros.driver.permission import has_simulator

NAMESPACE = "second_driver"
DRIVER = Path(first_order_driver.__file__)
SHORT = CheckTimes(listen=1.5, nudge=0.4, silence=0.8, slow_motion=1.0, gripper=1.5)


@contextmanager
def driving() -> Iterator[None]:
    """The driver's process."""
    command = [sys.executable, str(DRIVER), "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
    driver = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(DRIVER.parents[1])})
    try:
        yield
    finally:
        driver.send_signal(signal.SIGINT)
        driver.wait(10)


@pytest.fixture
def client(tmp_path: Path, bundle: Path, request: pytest.FixtureRequest) -> Iterator[GraphClient]:
    report = tmp_path / "check.json"
    verdict = Verdict("wrench", True, "100 Hz", {"published": True})
    driver = {"joint_states": ["first_order_driver"]}
    write_json(report, make_report(load_profile("panda"), NAMESPACE, driver, [verdict], complete=True, simulator=False))
    settings = {
        "bundle": str(bundle),
        "check_report": str(report),
        "limit_scale": 0.5,
        # Other processes may keep the driver from the processor.
        "watchdog": 20.0,
        "stale_after": 20.0,
        "adaptation.batch_size": 4,
        "adaptation.recycling_updates": 20,
        "rollback_trials": 0,
        **getattr(request, "param", {}),
    }
    with driving():
        with (
            GraphProcesses(settings, tmp_path / "logs", sim=False, namespace=NAMESPACE) as processes,
            GraphClient(processes, namespace=NAMESPACE) as client,
        ):
            client.wait_until_ready(sim=False)
            client.wait_for(lambda: client.counts["joint_states"], 20, "the driver")
            yield client
        assert set(processes.exit_codes.values()) == {0}


def prepare(client: GraphClient) -> None:
    """Bring the arm home, as a person does, and wait until everybody must have seen it there."""
    client.call("first_order_driver/home")
    before = client.counts["joint_states"]
    client.wait_for(lambda: client.counts["joint_states"] > before + 30, 10, "joint_states")


def test_its_check_passes_and_makes_a_report_for_a_real_arm(tmp_path: Path) -> None:
    """Only the last joint is moved. The check judges times, which other processes may spoil: three attempts."""
    profile, path = load_profile("panda"), tmp_path / "check.json"
    for _ in range(3):
        with driving(), RobotChecker(profile, NAMESPACE, SHORT) as checker:
            found = checker.wait_for_driver()
            assert checker.no_simulator() is not None
            verdicts = [*checker.listen(), *checker.move(joints=(6,))]
        if all(verdict.passed for verdict in verdicts):
            break
    write_json(path, make_report(profile, NAMESPACE, found, verdicts, complete=True, simulator=has_simulator(found)))
    assert [verdict for verdict in verdicts if not verdict.passed] == []
    assert not load_report(path, profile, NAMESPACE)["simulator"]


def test_a_session_of_trials_adaptation_and_trials_by_the_adapted_policy(client: GraphClient) -> None:
    for number in range(4):
        prepare(client)
        client.run_trials(1, new_session=number == 0)
    outcome = client.adapt()
    assert outcome["version"] == 2 and outcome["new_transitions"] == 12
    prepare(client)
    client.run_trials(1)
    steps = client.transitions
    assert [t.sequence for t in steps] == list(range(15)) and {t.session for t in steps} == {1}
    assert [t.policy_version for t in steps] == [1] * 12 + [2] * 3
    # The camera saw body and neck, and the fingers stopped on them.
    views = np.array([heights_of(t.observation) for t in steps])
    assert views.max() == pytest.approx(0.16, abs=0.005) and not np.array_equal(views[0], views[3])
    stopped = spaces.VIEW_SIZE + spaces.SIGNAL_NAMES.index("contact_peak")
    assert max(t.next_observation[stopped] for t in steps) > 0.1
    assert max(t.reward for t in steps) > 0.5, "the shipped policy has lifted it"
    status = client.diagnostics["policy_server"]
    assert {v.key: v.value for v in status.values}["refused_commands"] == "0"


@pytest.mark.parametrize("client", [{"stale_after": 20.0, "watchdog": 0.5}], indirect=True)
def test_a_wrench_that_falls_silent_in_a_motion_stops_the_arm(client: GraphClient) -> None:
    """Contact would not be felt any more, although joint_states go on."""
    prepare(client)
    client.start(new_session=True)
    client.wait_for(lambda: client.counts["arm_controller/joint_trajectory"] > 1, 10, "the first motion")
    client.call("first_order_driver/mute_wrench", data=True)
    client.wait_for(lambda: client.state["state"] == "error", 5, "the end of the trial")
    assert "the watchdog stopped the arm: no wrench" in client.state["reason"]


@pytest.mark.parametrize("client", [{"watchdog": 0.5, "limit_scale": 0.2}], indirect=True)
def test_an_arm_that_falls_silent_in_a_motion_is_brought_to_rest_where_its_plan_is_by_then(client: GraphClient) -> None:
    """The driver takes no empty trajectory, and nothing is known of the arm but what was sent."""
    trajectories: list[np.ndarray] = []
    joints: list[np.ndarray] = []
    names = load_profile("panda").joint_names
    client.node.create_subscription(
        JointTrajectory,
        "arm_controller/joint_trajectory",
        lambda message: trajectories.append(np.array([point.positions for point in message.points])),
        RELIABLE,
    )
    client.node.create_subscription(
        JointState,
        "joint_states",
        lambda message: joints.append(np.array([message.position[message.name.index(name)] for name in names])),
        RELIABLE,
    )
    prepare(client)
    client.start(new_session=True)
    client.wait_for(lambda: len(trajectories) == 2, 10, "the first plan")
    client.call("first_order_driver/mute_joint_states", data=True)
    client.wait_for(lambda: client.state["state"] == "error", 5, "the end of the trial")
    assert "the watchdog stopped the arm: no joint_states" in client.state["reason"]
    client.wait_for(lambda: len(trajectories) == 3, 5, "the stop")
    plan, stop = trajectories[1:]
    assert 0 < len(stop) < 10 < len(plan)
    client.call("first_order_driver/mute_joint_states", data=False)
    before = len(joints)
    client.wait_for(lambda: len(joints) > before + 80, 10, "the arm's rest")
    assert np.allclose(joints[-1], stop[-1], atol=1e-3)
    assert np.abs(joints[-1] - plan[-1]).max() > 0.05 and len(trajectories) == 3
