"""Sessions, adaptation, hold and pictures over the graph."""

import numpy as np
import pytest
from helpers.graph import Graph

from mql_ros.ros.bringup.client import GraphClient, GraphError


def test_an_adaptation_makes_a_new_policy_that_is_used_from_the_next_trial_on(graph: Graph) -> None:
    client = graph.begin("bottle", 1)
    before = client.run_trials(2, new_session=True)
    outcome = client.adapt()
    assert outcome["version"] > 1 and outcome["started_from"] == 1
    assert (outcome["new_trials"], outcome["new_transitions"]) == (2, 6)
    assert set(outcome["mean_importance_ratio"]) == {"mug", "can", "bottle"}
    assert 0 < outcome["effective_sample_size"] <= 1
    assert outcome["proximal_coefficient"] == pytest.approx(1 - outcome["effective_sample_size"])
    assert client.policy["version"] == outcome["version"] and client.policy["hash"] == outcome["hash"]
    after = client.run_trials(1)
    assert {t.session for t in [*before, *after]} == {before[0].session}
    assert {t.policy_version for t in after} == {outcome["version"]}
    assert client.roll_back() == 1
    with pytest.raises(GraphError, match="none came before"):
        client.roll_back()


def test_an_adaptation_may_go_by_several_sessions(graph: Graph) -> None:
    client = graph.begin("bottle", 1)
    client.set_parameters("adaptation_manager", sessions=2)
    for trials in (1, 1, 2):
        client.run_trials(trials, new_session=True)
    outcome = client.adapt()
    client.set_parameters("adaptation_manager", sessions=1)
    assert (outcome["new_sessions"], outcome["new_trials"], outcome["new_transitions"]) == (2, 3, 9)


def test_an_adapted_policy_that_does_worse_is_taken_back(graph: Graph) -> None:
    client = graph.begin("bottle", 1)
    client.set_parameters("adaptation_manager", rollback_trials=1, rollback_margin=0.0)
    before = client.run_trials(2, new_session=True)
    outcome = client.adapt()
    client.set_parameters("policy_server", exploration_share=1.0, exploration_uniform=1.0)
    after = client.run_trials(1)
    client.wait_for(lambda: client.adaptation["reason"], 10, "the verdict")
    worse = sum(t.reward for t in after) < sum(t.reward for t in before[3:])
    assert client.adaptation["rolled_back"] is worse
    assert client.adaptation["version"] == outcome["version"]
    assert client.policy["version"] == (1 if worse else outcome["version"])


def test_adapting_without_data_is_refused(graph: Graph) -> None:
    # The memory is of the present session; whether there is one depends on the tests before.
    client = graph.begin("bottle", 1)
    client.run_trials(1, new_session=True)
    client.set_parameters("adaptation_manager", {"adaptation.proximal": "much"})
    with pytest.raises(GraphError, match="expected 'ess' or a number"):
        client.adapt()
    client.set_parameters("adaptation_manager", {"adaptation.proximal": "ess"})


def test_a_held_arm_stays_and_refuses_to_start(graph: Graph) -> None:
    client = graph.begin("mug", 1)
    client.set_parameters("policy_server", trials=50)
    client.start(new_session=True)
    client.wait_for(lambda: client.state["state"] == "running" and client.state["trial"] >= 0, 20, "a trial")
    client.hold()
    client.wait_for(lambda: client.state["state"] == "held", 5, "the hold")
    before = client.counts["transition"]
    with pytest.raises(GraphError, match="the arm is held"):
        client.run_trials(1)
    assert client.counts["transition"] - before <= 1  # one may have been under way
    client.hold(False)
    assert len(client.run_trials(1)) == 3


def test_stopping_gives_up_the_trials(graph: Graph) -> None:
    client = graph.begin("mug", 1)
    with GraphClient() as other:
        other.wait_until_ready()
        with pytest.raises(GraphError, match=r"the trials were stopped after \d+ of 50"):
            client.run_trials(50, new_session=True, on_transition=lambda _: other.call("policy_server/stop"))


def test_what_cannot_be_set_is_refused_with_a_reason(graph: Graph) -> None:
    client = graph.begin("mug", 1)
    with pytest.raises(GraphError, match="arm_simulator: there is no object 'bottel'; did you mean bottle"):
        client.set_parameters("arm_simulator", object="bottel")
    with pytest.raises(GraphError, match="has no parameter 'objekt'"):
        client.set_parameters("arm_simulator", objekt="mug")
    with pytest.raises(GraphError, match="robot"):
        client.set_parameters("arm_simulator", robot="other")


def test_pictures_come_when_asked_for(graph: Graph) -> None:
    client = graph.begin("mug", 1)
    client.set_camera(1000)
    client.pictures.clear()
    client.run_trials(1, new_session=True)
    client.set_camera(0)
    stamp, pixels = client.wait_for(lambda: client.pictures and client.pictures[0], 5, "a picture")
    assert stamp > 0 and pixels.shape[2] == 3 and np.std(pixels) > 10


def test_every_node_reports_its_figures_and_every_topic_is_counted(graph: Graph) -> None:
    client = graph.begin("mug", 1)
    before = dict(client.counts)
    client.run_trials(1, new_session=True)
    count = lambda topic: client.counts[topic] - before[topic]  # noqa: E731
    # Topics arrive in any order: the end of the trial may come before its last command, reward and measurement.
    client.wait_for(lambda: count("joint_states") >= count("grasp_reward") > 20, 5, "the measurement after the reset")
    client.wait_for(lambda: count("arm_controller/joint_trajectory") + 1 == count("grasp_reward"), 5, "the rewards")
    assert count("transition") == 3
    client.wait_for(lambda: len(client.diagnostics) == 6, 5, "diagnostics of all nodes")
    figures = {value.key: value.value for value in client.diagnostics["policy_server"].values}
    assert figures["missed_rewards"] == figures["missed_context_deadlines"] == "0"
    transport = client.middleware()
    assert transport["processes"] == 6 and transport["rmw"].startswith("rmw_")
    assert transport["messages"] == client.counts
