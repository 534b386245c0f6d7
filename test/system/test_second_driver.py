"""The whole graph against a driver that is not PyBullet: nothing depends on the simulator."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mql_ros.nodes.client import GraphClient
from mql_ros.nodes.graph import GraphProcesses
from mql_ros.resources import share_path

NAMESPACE = "second_driver"
DRIVER = Path(__file__).with_name("first_order_driver.py")


@pytest.fixture
def client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[GraphClient]:
    settings = {
        "bundle": str(share_path("models", "grasp")),
        "require_check": False,
        "watchdog": 1.0,  # other tests' processes may keep the driver from the processor
        "exploration_noise": 0.1,
        "adaptation.batch_blocks": 16,
        "adaptation.recycling_updates": 20,
        "adaptation.pool_blocks": 200,
        "certificate_trials": 0,
        **getattr(request, "param", {}),
    }
    command = [sys.executable, str(DRIVER), "--ros-args", "-r", f"__ns:=/{NAMESPACE}"]
    driver = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        with (
            GraphProcesses(settings, tmp_path / "logs", sim=False, namespace=NAMESPACE) as processes,
            GraphClient(processes, namespace=NAMESPACE) as client,
        ):
            client.wait_until_ready(sim=False)
            client.wait_for(lambda: client.counts["joint_states"], 20, "the driver")
            yield client
        assert set(processes.exit_codes.values()) == {0}
    finally:
        driver.send_signal(signal.SIGINT)
        driver.wait(10)


def prepare(client: GraphClient) -> None:
    """Bring the arm home, as a person does, and wait until everybody must have seen it there."""
    client.call("first_order_driver/home")
    heard = client.counts["joint_states"]
    client.wait_for(lambda: client.counts["joint_states"] > heard + 30, 10, "joint_states")


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
    # The policy felt the body, and the neck in its fingers lifted it.
    assert max(t.reward for t in steps) > 0.5
    status = client.diagnostics["policy_server"]
    assert {v.key: v.value for v in status.values}["refused_commands"] == "0"


@pytest.mark.parametrize("client", [{"stale_after": 20.0, "watchdog": 0.5}], indirect=True)
def test_a_wrench_that_falls_silent_in_a_motion_stops_the_arm(client: GraphClient) -> None:
    """Contact would not be felt any more, although joint_states go on."""
    prepare(client)
    client.call("policy_server/start_session")
    client.wait_for(lambda: client.counts["arm_controller/joint_trajectory"] > 1, 10, "the first motion")
    client.call("first_order_driver/mute_wrench")
    client.wait_for(lambda: client.state["state"] == "error", 5, "the end of the trial")
    assert "the watchdog stopped the arm: no object_pose or no wrench" in client.state["reason"]
