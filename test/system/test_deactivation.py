"""In real time: a policy server that is deactivated within a trial stops the arm; once active again it goes on."""

from collections.abc import Callable

import pytest
from helpers.graph import Graph, change_state
from lifecycle_msgs.msg import Transition as Change

from mql_ros.ros.bringup.client import GraphError

ARM = "arm_controller/joint_trajectory"


def test_deactivated_within_a_trial_it_holds_the_arm(make_graph: Callable[..., Graph]) -> None:
    with make_graph("deactivated", lockstep=False, object="can", seed=4) as graph:
        client = graph.client
        client.start(new_session=True)
        first = client.counts[ARM]
        client.wait_for(lambda: client.counts[ARM] > first + 1, 20, "the first motion, after a hold")
        sent, received = client.counts[ARM], client.counts["transition"]
        change_state(client, "policy_server", Change.TRANSITION_DEACTIVATE)
        client.wait_for(lambda: "deactivated" in client.state["reason"], 5, "the end of the trial")
        client.wait_for(lambda: client.counts[ARM] > sent, 5, "the hold")
        with pytest.raises(GraphError, match="is not active; activate it"):
            client.start()
        assert client.counts["transition"] == received
        change_state(client, "policy_server", Change.TRANSITION_ACTIVATE)
        assert len(client.run_trials(1)) == 3
        # Without a monitor there is no reward: the trial does not begin.
        change_state(client, "grasp_monitor", Change.TRANSITION_DEACTIVATE)
        with pytest.raises(GraphError, match="grasp_monitor is not active"):
            client.run_trials(1)
        change_state(client, "adaptation_manager", Change.TRANSITION_DEACTIVATE)
        with pytest.raises(GraphError, match="adaptation_manager is not active"):
            client.adapt()
