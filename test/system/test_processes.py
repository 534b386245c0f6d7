"""Starting, stopping, and what happens to those who start wrongly."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.graph import Graph, alive, make_bundle, run_node

from mql_ros.core.errors import UserError
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.bringup.processes import Domain, GraphProcesses, check_ros

MONITOR, SERVER = "mql_ros.ros.nodes.grasp_monitor", "mql_ros.ros.nodes.policy_server"
BAD_STARTS = {
    "out of range": (
        "mql_ros.ros.nodes.grasp_monitor",
        ["-p", "view_wait:=0.0"],
        "'view_wait' is 0.0; expected 0.1",
    ),
    "wrong type": (
        "mql_ros.ros.nodes.grasp_monitor",
        ["-p", "lockstep:=maybe"],
        "'lockstep' is 'maybe'; expected true or",
    ),
    "unknown parameter": (MONITOR, ["-p", "stale_atfer:=1.0"], "did you mean 'stale_after'?"),
    "wrong choice": (SERVER, ["-p", "reward_source:=me"], "expected monitor or external"),
    "unknown robot": ("mql_ros.ros.nodes.context_encoder", ["-p", "robot:=pando"], "unknown robot 'pando'"),
    "unknown object": ("mql_sim.driver.arm_simulator", ["-p", "object:=bottel"], "did you mean bottle?"),
    "no bundle": ("mql_ros.ros.nodes.adaptation_manager", ["-p", "bundle:=/nonexistent"], "is not a policy bundle"),
    "lockstep of a real arm": (
        "mql_ros.ros.nodes.policy_server",
        ["-p", "lockstep:=true"],
        "needs the simulator, for a real",
    ),
    "wrong ROS argument": (MONITOR, ["-p", "nonsense"], "ROS 2 cannot be started"),
}


def check_one_sentence(result: subprocess.CompletedProcess[str], name: str, words: str) -> None:
    assert result.returncode == 2, result.stderr
    # rcl may have logged a line of its own.
    (line,) = [line for line in result.stderr.splitlines() if line.strip() and "[rcl]" not in line]
    assert line.startswith(f"{name}: error: ") and words in line


@pytest.mark.parametrize("case", BAD_STARTS)
def test_a_wrong_start_is_one_sentence_and_exit_code_2(case: str) -> None:
    module, arguments, words = BAD_STARTS[case]
    check_one_sentence(run_node(module, arguments), module.rpartition(".")[2], words)


def test_a_bundle_that_was_changed_or_is_for_another_robot_is_refused(bundle: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(bundle, changed)
    weights = bytearray((changed / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (changed / "weights.safetensors").write_bytes(weights)
    newer = tmp_path / "newer"
    shutil.copytree(bundle, newer)
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    cases = {
        "weights.safetensors do not fit the hash": changed,
        "schema 99": newer,
        "trained for robot 'ur5e', not for 'panda'": make_bundle(tmp_path / "other", robot="ur5e"),
    }
    for words, path in cases.items():
        result = run_node("mql_ros.ros.nodes.adaptation_manager", ["-p", f"bundle:={path}"])
        check_one_sentence(result, "adaptation_manager", words)


def test_a_wrong_parameter_for_the_graph_starts_nothing(tmp_path: Path) -> None:
    for given, words in {"sede": "did you mean 'seed'", "seed": "'seed' is -1; expected 0"}.items():
        with pytest.raises(UserError, match=words):
            GraphProcesses({given: -1}, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_a_missing_middleware_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_carrier_pigeon_cpp")
    with pytest.raises(UserError, match="rmw_carrier_pigeon_cpp") as caught:
        check_ros()
    assert "\n" not in str(caught.value) and "pip install" in str(caught.value)


def test_two_claims_get_two_domains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DOMAIN_ID")
    claims, numbers = [], []
    for _ in range(2):
        claims.append(Domain())
        numbers.append(os.environ.pop("ROS_DOMAIN_ID"))
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    with Domain():
        assert os.environ["ROS_DOMAIN_ID"] == "7"
    assert numbers[0] != numbers[1]
    for claim in claims:
        claim.release()


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline, pause = time.monotonic() + seconds, 0.02
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain for {what}"
        time.sleep(pause)


def test_in_real_time_trials_run_and_two_interrupts_end_every_node_cleanly(
    make_graph: Callable[..., Graph],
) -> None:
    with make_graph("second_arm", lockstep=False, object="can", seed=4) as graph:
        transitions = graph.client.run_trials(1, new_session=True)
        assert [t.step for t in transitions] == [0, 1, 2]
        # Of a plan that is followed as made, only the decisions are sent.
        assert graph.client.counts["arm_controller/joint_trajectory"] <= 6
        pids = graph.processes.pids
        assert len(pids) == 6 and all(alive(pid) for pid in pids.values())
        for pid in pids.values():
            os.kill(pid, signal.SIGINT)
        time.sleep(0.05)  # what Ctrl-C under `ros2 launch` does: one from the terminal, one from launch
        for pid in pids.values():
            if alive(pid):
                os.kill(pid, signal.SIGINT)
        assert graph.processes.stop() == dict.fromkeys(pids, 0)
    assert not any(alive(pid) for pid in pids.values())


def test_a_driver_that_falls_silent_ends_the_trial_with_a_hold(make_graph: Callable[..., Graph]) -> None:
    with make_graph("silent", lockstep=False, object="can", seed=4, stale_after=0.3) as graph:
        client, simulator = graph.client, graph.processes.pids["arm_simulator"]
        client.start(new_session=True)
        client.wait_for(lambda: client.counts["arm_controller/joint_trajectory"] > 1, 10, "the first motion")
        sent = client.counts["arm_controller/joint_trajectory"]
        os.kill(simulator, signal.SIGSTOP)
        client.wait_for(lambda: client.state["state"] == "error", 5, "the end of the trial")
        assert client.state["reason"] == "waited 0.3 s in vain for the next measurement"
        client.wait_for(lambda: client.counts["arm_controller/joint_trajectory"] > sent, 5, "the hold")
        before = client.counts["joint_states"]
        os.kill(simulator, signal.SIGCONT)
        client.wait_for(lambda: client.counts["joint_states"] > before + 10, 10, "joint states in time again")
        # It can be started again.
        assert len(client.run_trials(1)) == 3


def test_where_no_context_comes_in_time_the_arm_goes_on(make_graph: Callable[..., Graph]) -> None:
    with make_graph("late", lockstep=False, object="can", seed=4, context_deadline=0.1, watchdog=2.0) as graph:
        client, encoder = graph.client, graph.processes.pids["context_encoder"]
        os.kill(encoder, signal.SIGSTOP)
        try:
            transitions = client.run_trials(1, new_session=True)
        finally:
            os.kill(encoder, signal.SIGCONT)
        # Each decision was carried out: no hold, no refusal, and one more hold at the start only.
        assert [t.step for t in transitions] == [0, 1, 2] and client.state["state"] == "idle"
        assert client.counts["arm_controller/joint_trajectory"] <= 6
        client.wait_for(lambda: figures(client).get("missed_context_deadlines") == "3", 5, "figures of the last miss")
        assert figures(client)["decisions"] == "3" and figures(client)["refused_commands"] == "0"
        # The encoder has missed nothing of it.
        client.wait_for(lambda: client.counts["context"] >= 4, 10, "the contexts")


def figures(client: GraphClient) -> dict[str, str]:
    status = client.diagnostics.get("policy_server")
    return {value.key: value.value for value in status.values} if status else {}


def test_a_node_that_ends_is_named(bundle: Path, tmp_path: Path) -> None:
    processes = GraphProcesses({"bundle": str(bundle), "object": "bottel"}, tmp_path, namespace="ending")
    with processes, pytest.raises(UserError, match=r"arm_simulator has ended with code 2: .*did you mean bottle"):
        wait_until(lambda: processes.check() is not None, 30, "the simulator's end")  # type: ignore[func-returns-value]
    assert processes.exit_codes["arm_simulator"] == 2


def test_nodes_end_with_whoever_started_them(bundle: Path, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from mql_ros.ros.bringup.processes import GraphProcesses\n"
        f"processes = GraphProcesses({{'bundle': {str(bundle)!r}}}, {str(tmp_path)!r}, namespace='orphans')\n"
        "processes.start()\n"
        "print(*processes.pids.values(), flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert len(pids) == 6
        starter.kill()
    wait_until(lambda: not any(alive(pid) for pid in pids), 30, "the end of the nodes")
