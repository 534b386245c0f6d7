"""In lockstep, trials over the graph equal those of the same policy in one process, to the last bit."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from helpers.graph import USUAL, Graph
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from mql_ros.grasping.learning.grasp_policy import NO_EXPLORATION, Exploration, GraspPolicy
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import PolicyAgent, run_session
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy, check_bundle, load_policy
from mql_sim.benches import Bench
from mql_sim.driver.arm_simulator import bench_of
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session

OBJECT = "random-002"
WORN = {"depth_noise": 0.003, "edge_holes": 0.5, "calibration_shift": 0.006, "calibration_turn": 0.02,
        "view_lag": 0.1, "pad_friction": 0.7}  # fmt: skip
"""A bench unlike that of training."""


class InProcess:
    """The reference: simulator, perception, reward, context and policy by plain calls."""

    def __init__(self, name: str, seed: int, bench: Bench | None = None, robot: str = "panda") -> None:
        self._task = GraspTask(load_profile(robot))
        self._task.set_thing(thing_of_session(name, seed), seed, bench)
        self._rows: list[tuple] = []
        self._acting: GraspPolicy | None = None

    def run(self, policy: LoadedPolicy, trials: int, exploration: Exploration = NO_EXPLORATION) -> np.ndarray:
        """Trials of the session by a policy, whose encoder has gone over the history of those before."""
        tracker, acting = policy.new_tracker(), self._acting or GraspPolicy(policy.learner)
        self._acting, acting.learner, acting.exploration = acting, policy.learner, exploration
        for _, action, reward, following, done in self._rows:
            tracker.append(action, reward, following, done)
        first = len(self._rows)
        for _ in range(trials):
            observation, done = single(self._task.begin_trial()), False
            while not done:
                action = single(acting.act(observation, tracker.context))
                following, reward, done = self._task.decide(action)
                action, following = single(self._task.machine.executed), single(following)
                self._rows.append((observation, action, reward, following, done))
                tracker.append(action, reward, following, done)
                acting.learn(action, reward, following.astype(np.float32), done)
                observation = following
        return np.array([[*o, *a, r, *f, d] for o, a, r, f, d in self._rows[first:]])

    def close(self) -> None:
        self._task.world.close()


def single(values: np.ndarray) -> np.ndarray:
    """The values in single precision, in which networks compute."""
    return values.astype(np.float32).astype(np.float64)


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
    with make_graph("lossy", lockstep=True, object=OBJECT, seed=8, reset_service="lossy/reset") as graph:
        reference = InProcess(OBJECT, 8)
        policy = load_policy(check_bundle(bundle, "panda"), "panda")
        assert np.array_equal(matrix(graph.client.run_trials(3, new_session=True)), reference.run(policy, 3))
        assert lossy.asked == 6
        reference.close()


@pytest.mark.parametrize(("name", "seed", "worn"), [("bottle", 4, {}), ("random-803", 11, WORN)])
def test_actions_observations_and_rewards_are_equal(
    graph: Graph, bundle: Path, name: str, seed: int, worn: dict[str, float]
) -> None:
    client, reference = graph.begin(name, seed, **worn), InProcess(name, seed, bench_of((USUAL | worn).__getitem__))
    policy = load_policy(check_bundle(bundle, "panda"), "panda")
    # More trials than the history holds, so that its window rolls.
    assert np.array_equal(matrix(client.run_trials(5, new_session=True)), reference.run(policy, 5))
    reference.close()


def test_and_so_they_are_after_an_adaptation_with_the_history_kept(graph: Graph, bundle: Path) -> None:
    client, reference = graph.begin(OBJECT, 2), InProcess(OBJECT, 2)
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
    client, reference = graph.begin(OBJECT, 5), InProcess(OBJECT, 5)
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
    client, reference = graph.begin(OBJECT, 6), InProcess(OBJECT, 6)
    client.set_parameters("policy_server", exploration_share=0.8)
    policy = load_policy(check_bundle(bundle, "panda"), "panda")
    found = matrix(client.run_trials(2, new_session=True))
    assert np.array_equal(found, reference.run(policy, 2, Exploration(0.8)))
    reference.close()


def test_a_session_over_the_graph_is_one_of_a_rollout(graph: Graph, bundle: Path) -> None:
    client, seed = graph.begin(OBJECT, 2), 2
    found = matrix(client.run_trials(3, new_session=True))
    policy, task = load_policy(check_bundle(bundle, "panda"), "panda"), GraspTask(load_profile("panda"))
    agent = PolicyAgent(policy.learner, policy.history_blocks)
    wanted = run_session(task, thing_of_session(OBJECT, seed), seed, 3, agent)
    task.world.close()
    assert wanted is not None
    o, a = wanted.observation.shape[1], wanted.action.shape[1]
    columns = {"observation": found[:, :o], "action": found[:, o : o + a], "reward": found[:, o + a]}
    for column, values in columns.items():
        assert np.array_equal(values.astype(np.float32), getattr(wanted, column)), column


def test_trials_with_estimated_efforts_are_equal(
    make_graph: Callable[..., Graph], bundle: Path, tmp_path: Path
) -> None:
    """The policy server estimates effort by the commanded force, and the monitor by the largest: rewards agree."""
    robot = tmp_path / "stall.yaml"
    robot.write_text("based_on: panda\ngripper: {effort: stall}\n")
    with make_graph("stall", lockstep=True, object=OBJECT, seed=8, robot=str(robot)) as graph:
        reference = InProcess(OBJECT, 8, robot=str(robot))
        policy = load_policy(check_bundle(bundle, "panda"), "panda")
        transitions = graph.client.run_trials(3, new_session=True)
        assert np.array_equal(matrix(transitions), reference.run(policy, 3))
        effort = spaces.VIEW_SIZE + spaces.SIGNAL_NAMES.index("effort")
        assert any(transition.next_observation[effort] > 0.0 for transition in transitions)
        reference.close()
