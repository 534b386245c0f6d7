"""Two simulated arms in namespaces of one graph learn at the same time, as if each were alone."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.graph import Graph, change_state
from lifecycle_msgs.msg import Transition as Change
from rosgraph_msgs.msg import Clock

from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient, GraphError

ARMS = {"left": ("bottle", 4), "right": ("can", 9)}
"""Namespaces, with the object and the seed of its placements."""


@dataclass
class Learned:
    """What came of a session."""

    numbers: np.ndarray
    """A row for each transition."""
    versions: list[tuple[int, int]]
    """Sequence number and policy version of each transition."""
    weights: bytes
    """The adapted policy."""
    clock: list[int]
    """Simulated time as it was published, ns."""


def learn(client: GraphClient) -> Learned:
    """Two trials, an adaptation, one trial by the adapted policy."""
    clock: list[int] = []
    subscription = client.node.create_subscription(
        Clock, "clock", lambda m: clock.append(m.clock.sec * 10**9 + m.clock.nanosec), RELIABLE
    )
    client.set_parameters("policy_server", exploration_share=0.5, exploration_seed=5)
    before = client.run_trials(2, new_session=True, seconds_per_trial=60)
    outcome = client.adapt()
    rows = [*before, *client.run_trials(1, seconds_per_trial=60)]
    client.node.destroy_subscription(subscription)
    return Learned(
        np.array([[*t.observation, *t.action, t.reward, *t.next_observation, t.done, t.stamp] for t in rows]),
        [(t.sequence, t.policy_version) for t in rows],
        (Path(outcome["bundle"]) / "weights.safetensors").read_bytes(),
        clock,
    )


def test_two_arms_adapt_at_once_as_each_does_alone(make_graph: Callable[..., Graph]) -> None:
    def arm(namespace: str) -> Graph:
        name, seed = ARMS[namespace]
        return make_graph(namespace, lockstep=True, object=name, seed=seed)

    alone = {}
    for namespace in ARMS:
        with arm(namespace) as graph:
            alone[namespace] = learn(graph.client)
    with ExitStack() as stack, ThreadPoolExecutor(len(ARMS)) as pool:
        graphs = {namespace: stack.enter_context(arm(namespace)) for namespace in ARMS}
        sessions = {namespace: pool.submit(learn, graph.client) for namespace, graph in graphs.items()}
        together = {namespace: session.result() for namespace, session in sessions.items()}
        # One arm's policy server leaves off; the other arm goes on.
        left, right = graphs["left"].client, graphs["right"].client
        change_state(left, "policy_server", Change.TRANSITION_DEACTIVATE)
        with pytest.raises(GraphError, match="/left/policy_server is not active"):
            left.run_trials(1)
        assert len(right.run_trials(1, seconds_per_trial=60)) == 3
    for namespace in ARMS:
        one, both = alone[namespace], together[namespace]
        assert np.array_equal(one.numbers, both.numbers)
        assert one.versions == both.versions
        assert one.weights == both.weights
        # The clock of the other arm, which is elsewhere in its session, is ignored.
        assert both.clock and both.clock == sorted(both.clock)
    assert not np.array_equal(together["left"].numbers, together["right"].numbers)
    assert together["left"].weights != together["right"].weights
