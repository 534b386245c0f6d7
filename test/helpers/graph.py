"""A policy and a running graph for the tests of the whole system."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.policy_bundle import save_bundle
from mql_ros.grasping.learning.grasp_policy import grasp_learner
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task import spaces
from mql_ros.ros.base.parameters import parameter_table
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.bringup.processes import GraphProcesses
from mql_sim.driver.arm_simulator import BENCH

HISTORY_BLOCKS = 3
USUAL = {name: parameter_table()["arm_simulator"][name].default for name in BENCH}
"""The bench of training, as parameters of arm_simulator."""
NO_EXPLORATION = {
    name: parameter.default
    for name, parameter in parameter_table()["policy_server"].items()
    if name.startswith("exploration_")
}
"""The exploration of a graph that was just started, as parameters of policy_server: none."""
NETWORK = GraspNetworkConfig(context_size=8, embedding_size=8, hidden_size=16, item_size=8)


def make_bundle(path: Path, robot: str = "panda") -> Path:
    """A small policy with random weights and a replay of random sessions."""
    rng = np.random.default_rng(0)
    sessions = [random_session(rng, ("mug", "can", "bottle")[number % 3]) for number in range(12)]
    replay = Replay.of(sessions, spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, HISTORY_BLOCKS, spaces.VIEW_SIZE)
    learner = grasp_learner(NETWORK, seed=3)
    save_bundle(path, learner, robot={"name": robot}, task={"name": spaces.TASK_NAME}, replay=replay)
    return path


def random_session(rng: np.random.Generator, task: str, trials: int = 4) -> Session:
    """Trials with random numbers, each with one view."""
    rows = np.arange(trials * spaces.DECISIONS_PER_TRIAL)
    trial, step = rows // spaces.DECISIONS_PER_TRIAL, rows % spaces.DECISIONS_PER_TRIAL
    heights = rng.uniform(0.0, 0.1, (trials, spaces.VIEW_CELLS, spaces.VIEW_CELLS)).astype(np.float32)
    views = np.array([spaces.view_entries(one) for one in heights])[trial]

    def observations(step: np.ndarray) -> np.ndarray:
        signals = rng.normal(size=(len(rows), spaces.SIGNAL_SIZE))
        signals[:, :3] = np.eye(3)[step]
        return np.concatenate([views, signals], axis=1).astype(np.float32)

    done = step == spaces.DECISIONS_PER_TRIAL - 1
    return Session(
        task=task,
        observation=observations(step),
        action=rng.uniform(-1, 1, size=(len(rows), spaces.ACTION_SIZE)).astype(np.float32),
        reward=rng.normal(size=len(rows)).astype(np.float32),
        next_observation=observations(np.minimum(step + 1, 2)),
        done=done,
        terminal=done,
        block=trial,
    )


class Graph:
    """Processes and a client; a context manager."""

    def __init__(self, parameters: dict, logs: Path, namespace: str = "") -> None:
        self.processes = GraphProcesses(parameters, logs, namespace=namespace)
        self._namespace, self._profile = namespace, load_profile(parameters.get("robot", "panda"))

    def __enter__(self) -> Graph:
        self.processes.__enter__()
        try:
            self.client = GraphClient(self.processes, namespace=self._namespace, profile=self._profile)
            self.client.wait_until_ready()
        except BaseException:
            self.processes.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        self.processes.stop()

    def begin(self, name: str, seed: int, **bench: float) -> GraphClient:
        """Put an object on a bench and use the first policy again; the next trials must begin a session."""
        self.client.hold(False)
        self.client.restore_initial()
        self.client.set_parameters("arm_simulator", object=name, seed=seed, **(USUAL | bench))
        self.client.set_parameters("policy_server", NO_EXPLORATION)
        self.client.set_parameters("adaptation_manager", rollback_trials=0, rollback_margin=0.15)
        return self.client


def change_state(client: GraphClient, node: str, transition: int) -> None:
    """Activate or deactivate a node."""
    wanted = {
        Transition.TRANSITION_ACTIVATE: State.PRIMARY_STATE_ACTIVE,
        Transition.TRANSITION_DEACTIVATE: State.PRIMARY_STATE_INACTIVE,
    }
    # Not its answer counts: that may be lost, and the request, made again, is refused.
    client.ask(ChangeState, f"{node}/change_state", ChangeState.Request(transition=Transition(id=transition)))
    assert client.ask(GetState, f"{node}/get_state", GetState.Request()).current_state.id == wanted[transition]


def run_node(module: str, arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a node that is expected to end by itself."""
    command = [sys.executable, "-m", module, "--ros-args", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
    )


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
