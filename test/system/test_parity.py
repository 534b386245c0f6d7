"""In lockstep, trials over the graph equal those of the same policy in one process, to the last bit."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from helpers.graph import Graph
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from mql_ros.algorithm.adaptation.config import ExplorationConfig
from mql_ros.grasping.learning.grasp_search import GraspSearch
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.rollouts.rollout import PolicyAgent, run_session, successes
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy, check_bundle, load_policy
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object


class InProcess:
    """The reference: simulator, reward, context and policy by plain calls."""

    def __init__(self, name: str, seed: int) -> None:
        self._task = GraspTask(load_profile("panda"))
        self._task.set_object(find_object(name), seed)
        self._rows: list[tuple] = []

    def run(self, policy: LoadedPolicy, trials: int, noise: float = 0.0, noise_seed: int = 0) -> np.ndarray:
        """Trials of the session by a policy, whose encoder has gone over the history of those before."""
        tracker, rng = policy.new_tracker(), np.random.default_rng([noise_seed, 23])
        for row in self._rows:
            _experience(tracker, row)
        first = len(self._rows)
        for _ in range(trials):
            observation, done = self._task.begin_trial(), False
            while not done:
                action = policy.act(observation, tracker.context)
                if noise:
                    action = action + noise * rng.normal(size=4)
                action = np.clip(action, -1, 1).astype(np.float32).astype(np.float64)
                following, reward, done = self._task.decide(action)
                action = self._task.machine.executed.astype(np.float32).astype(np.float64)
                self._rows.append((observation, action, reward, following, done))
                _experience(tracker, self._rows[-1])
                observation = following
        return np.array([[*o, *a, r, *f, d] for o, a, r, f, d in self._rows[first:]])

    def close(self) -> None:
        self._task.world.close()


def _experience(tracker, row: tuple) -> None:
    _, action, reward, following, done = row
    tracker.append(action.astype(np.float32), reward, following.astype(np.float32), done)


def matrix(transitions: Sequence[Transition]) -> np.ndarray:
    return np.array([[*t.observation, *t.action, t.reward, *t.next_observation, t.done] for t in transitions])


class LossyReset(Node):
    """Passes resets on to the simulator, and loses the answer to every second one."""

    def __init__(self, context: Context) -> None:
        super().__init__("lossy", context=context, namespace="lossy")
        others = ReentrantCallbackGroup()  # the answer comes while the service's callback waits for it
        self._simulator = self.create_client(Trigger, "arm_simulator/reset", callback_group=others)
        service = self.create_service(Trigger, "~/reset", self._pass_on)
        self._send, self.asked = service.send_response, 0
        setattr(service, "send_response", self._lose)  # noqa: B010

    async def _pass_on(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.asked += 1
        return await self._simulator.call_async(request)

    def _lose(self, response: Trigger.Response, header: object) -> None:
        if self.asked % 2 == 0:
            self._send(response, header)


@pytest.fixture
def lossy() -> Iterator[LossyReset]:
    context = Context()
    context.init()
    node, executor = LossyReset(context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=executor.spin)
    thread.start()
    yield node
    executor.shutdown()
    thread.join()
    node.destroy_node()
    context.try_shutdown()


def test_a_reset_whose_answer_is_lost_uses_up_no_placement(
    make_graph: Callable[..., Graph], bundle: Path, lossy: LossyReset
) -> None:
    with make_graph("lossy", lockstep=True, object="can", seed=8, reset_service="lossy/reset") as graph:
        reference = InProcess("can", 8)
        policy = load_policy(check_bundle(bundle, "panda"), "panda")
        assert np.array_equal(matrix(graph.client.run_trials(3, new_session=True)), reference.run(policy, 3))
        assert lossy.asked == 6
        reference.close()


@pytest.mark.parametrize(("name", "seed"), [("bottle", 4), ("mug", 11)])
def test_actions_observations_and_rewards_are_equal(graph: Graph, bundle: Path, name: str, seed: int) -> None:
    client, reference = graph.begin(name, seed), InProcess(name, seed)
    policy = load_policy(check_bundle(bundle, "panda"), "panda")
    # More trials than the history holds, so that its window rolls.
    assert np.array_equal(matrix(client.run_trials(5, new_session=True)), reference.run(policy, 5))
    reference.close()


def test_and_so_they_are_after_an_adaptation_with_the_history_kept(graph: Graph, bundle: Path) -> None:
    client, reference = graph.begin("can", 2), InProcess("can", 2)
    first = load_policy(check_bundle(bundle, "panda"), "panda")
    assert np.array_equal(matrix(client.run_trials(2, new_session=True)), reference.run(first, 2))
    outcome = client.adapt()
    second = load_policy(check_bundle(Path(outcome["bundle"]), "panda"), "panda")
    after = client.run_trials(3)
    assert {t.policy_version for t in after} == {outcome["version"]}
    assert [t.trial for t in after] == [2] * 3 + [3] * 3 + [4] * 3
    assert np.array_equal(matrix(after), reference.run(second, 3))
    client.restore_initial()
    again = client.run_trials(1)
    assert {t.policy_version for t in again} == {1}
    assert np.array_equal(matrix(again), reference.run(first, 1))
    reference.close()


def test_and_when_the_policy_changes_within_a_trial(graph: Graph, bundle: Path) -> None:
    client, reference = graph.begin("can", 5), InProcess("can", 5)
    client.run_trials(1, new_session=True)
    outcome = client.adapt()
    policies = {1: load_policy(check_bundle(bundle, "panda"), "panda")}
    policies[outcome["version"]] = load_policy(check_bundle(Path(outcome["bundle"]), "panda"), "panda")
    with GraphClient() as other:
        other.wait_until_ready()

        def roll_back(transition: Transition) -> None:
            if transition.step == 0 and transition.trial == 2:
                other.call("adaptation_manager/roll_back")

        client.run_trials(4, on_transition=roll_back)
    rows = client.transitions[-15:]
    versions = [t.policy_version for t in rows[::3]]
    assert [t.policy_version for t in rows] == [version for version in versions for _ in range(3)]
    assert versions[1:3] == [outcome["version"]] * 2 and versions[-1] == 1
    assert np.array_equal(matrix(rows), np.concatenate([reference.run(policies[v], 1) for v in versions]))
    reference.close()


def test_exploration_is_equal_too(graph: Graph, bundle: Path) -> None:
    client, reference = graph.begin("can", 6), InProcess("can", 6)
    client.set_parameters("policy_server", exploration_noise=0.2, exploration_seed=9)
    policy = load_policy(check_bundle(bundle, "panda"), "panda")
    assert np.array_equal(matrix(client.run_trials(2, new_session=True)), reference.run(policy, 2, 0.2, 9))
    reference.close()


def test_a_search_is_equal_too(graph: Graph, bundle: Path) -> None:
    client = graph.begin("beyond-0020", 6)
    client.set_parameters("policy_server", exploration="search", exploration_noise=0.2, exploration_seed=9)
    found = matrix(client.run_trials(5, new_session=True))
    client.set_parameters("policy_server", exploration="noise")

    policy, task = load_policy(check_bundle(bundle, "panda"), "panda"), GraspTask(load_profile("panda"))
    guide = GraspSearch(policy.old_grasps(), 9)
    config = ExplorationConfig(noise=0.2, search=True)
    agent = PolicyAgent(policy.learner, policy.history_blocks, config, 9, guide=guide)
    wanted = run_session(task, find_object("beyond-0020"), 6, 5, agent)
    task.world.close()
    assert not successes(wanted)[:2].any(), "the search begins after two failures"
    for column, values in (("observation", found[:, :15]), ("action", found[:, 15:19]), ("reward", found[:, 19])):
        assert np.array_equal(values.astype(np.float32), getattr(wanted, column)), column
