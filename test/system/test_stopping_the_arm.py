"""In real time: when the policy server ends or pauses within a motion, the arm stays near where it was."""

import os
import signal
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from helpers.graph import Graph
from sensor_msgs.msg import JointState

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.trial import TRAVEL_SPEED
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient

FAST, STILL = 0.008, 0.001
"""Way of the tool in one control period while it moves, and below which it is at rest, m."""
LIMIT = 0.03
"""Longest way from the signal to rest, m; of the motion there is much more left."""
STEP_LIMIT = TRAVEL_SPEED * 0.05
"""Way in one control period at the top speed of the task, m: the descent alone makes 16 mm of its plan in one."""
REST_PERIODS = 15


class Tool:
    """Where the tool was in each control period, from joint_states."""

    def __init__(self, client: GraphClient) -> None:
        self.client, self._chain = client, load_profile("panda").chain
        self.path: list[np.ndarray] = []
        client.node.create_subscription(JointState, "joint_states", self._on_joints, RELIABLE)

    def _on_joints(self, message: JointState) -> None:
        self.path.append(self._chain.forward(np.array(message.position)[:7])[0])

    def start_and_wait_for_motion(self) -> None:
        self.client.start(new_session=True)
        begin = self.client.counts["arm_controller/joint_trajectory"]
        self.client.wait_for(
            lambda: self.client.counts["arm_controller/joint_trajectory"] > begin and self._steps()[-1] > FAST,
            20,
            "the first motion",
        )

    def _steps(self) -> np.ndarray:
        """Ways in the last control periods."""
        return np.linalg.norm(np.diff(self.path[-REST_PERIODS - 1 :], axis=0), axis=1)

    def wait_for(self, periods: int) -> None:
        begin = len(self.path)
        self.client.wait_for(lambda: len(self.path) >= begin + periods, 10, "control periods")

    def way_until_rest(self) -> tuple[float, float]:
        """From here until it rests: how far it gets from here, and its longest way in one control period."""
        begin = len(self.path) - 1
        self.client.wait_for(
            lambda: len(self.path) > begin + REST_PERIODS and (self._steps() < STILL).all(), 10, "the arm's rest"
        )
        rest = np.array(self.path[begin:])
        ways = np.linalg.norm(rest - rest[0], axis=1), np.linalg.norm(np.diff(rest, axis=0), axis=1)
        return float(ways[0].max()), float(ways[1].max())


@pytest.fixture
def graph_and_tool(make_graph: Callable[..., Graph]) -> Iterator[tuple[Graph, Tool]]:
    with (
        make_graph("stopping", lockstep=False, object="can", seed=4, stale_after=0.3) as graph,
        GraphClient(namespace="stopping") as client,  # one that does not mind when a node ends
    ):
        client.wait_until_ready()
        tool = Tool(client)
        tool.wait_for(20)
        yield graph, tool


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_policy_server_that_ends_stops_the_arm(graph_and_tool: tuple[Graph, Tool], number: int) -> None:
    graph, tool = graph_and_tool
    server = graph.processes.pids["policy_server"]
    tool.start_and_wait_for_motion()
    os.kill(server, number)
    way, step = tool.way_until_rest()
    assert way < LIMIT and step < STEP_LIMIT
    # The exit is clean, and the state of the session showed it.
    tool.client.wait_for(lambda: "policy_server ended" in tool.client.state["reason"], 5, "the reason")
    assert graph.processes.stop()["policy_server"] == 0


def test_after_a_pause_the_arm_is_not_driven_back(graph_and_tool: tuple[Graph, Tool]) -> None:
    graph, tool = graph_and_tool
    server = graph.processes.pids["policy_server"]
    tool.start_and_wait_for_motion()
    os.kill(server, signal.SIGSTOP)
    tool.wait_for(12)
    os.kill(server, signal.SIGCONT)
    tool.client.hold()
    way, step = tool.way_until_rest()
    assert way < LIMIT and step < STEP_LIMIT
