"""What the policy server does in which order, with the other nodes made up in the same process."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from helpers.fake_graph import FakeGraph, reply_of
from helpers.ros import CountingPolicy
from std_srvs.srv import Trigger

from mql_ros.grasping.learning.grasp_policy import Exploration
from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Command, Measurement
from mql_ros.ros.trials.interface import TrialSettings
from mql_sim.driver.simulated_driver import SimulatedDriver
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session

LOCKSTEP = TrialSettings(
    lockstep=True,
    has_reset=True,
    use_monitor=True,
    stale_after=0.5,
    context_deadline=0.2,
    reward_wait=0.0,
    view_wait=5.0,
    exploration_share=0.0,
    exploration_uniform=0.4,
    exploration_temperature=0.15,
    exploration_seed=0,
)
OBJECT = "mug"
REAL_TIME = replace(LOCKSTEP, lockstep=False)


@pytest.fixture(scope="module")
def driver(panda: RobotProfile) -> Iterator[SimulatedDriver]:
    made = SimulatedDriver(panda, OBJECT, 3)
    yield made
    made.close()


@pytest.fixture
def graph(driver: SimulatedDriver) -> FakeGraph:
    driver.set_seed(3)
    made = FakeGraph(driver, {1: CountingPolicy(1), 2: CountingPolicy(2)})
    made.announce(1)
    made.encode(1)
    return made


def in_process(panda: RobotProfile, versions: list[int]) -> np.ndarray:
    """The same trials by GraspTask, the history encoded by each version from the start."""
    task, rows, steps, acting = GraspTask(panda), [], 0, CountingPolicy(1).new_session(0)
    task.set_thing(thing_of_session(OBJECT, 3), 3)
    for version in versions:
        acting.learner = CountingPolicy(version).learner
        observation, done = single(task.begin_trial()), False
        while not done:
            action = single(acting.act(observation, np.full(2, steps * version, dtype=np.float32)))
            following, reward, done = task.decide(action)
            following = single(following)
            acting.learn(action, reward, following.astype(np.float32), done)
            rows.append([*observation, *single(task.machine.executed), reward, *following])
            observation, steps = following, steps + 1
    task.world.close()
    return np.array(rows)


def single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def test_trials_equal_those_in_one_process_to_the_last_bit(graph: FakeGraph, panda: RobotProfile) -> None:
    assert graph.run(2, LOCKSTEP) == [None]
    assert np.array_equal(graph.rows(), in_process(panda, [1, 1]))
    assert [(t.trial, t.step, t.done, t.sequence) for t in graph.transitions] == [
        (k // 3, k % 3, k % 3 == 2, k) for k in range(6)
    ]
    assert {t.session for t in graph.transitions} == {1}


def test_a_monitor_that_sees_the_reset_late_begins_again_and_loses_nothing(
    graph: FakeGraph, panda: RobotProfile
) -> None:
    assert graph.run(1, LOCKSTEP) == [None]
    graph.monitor_is_late = 1
    assert graph.run(1, LOCKSTEP, new_session=False) == [None, None]
    assert graph.calls.count("begin_trial") == 3
    assert np.array_equal(graph.rows(), in_process(panda, [1, 1]))


def test_a_lost_reply_of_the_monitor_changes_no_reward(panda: RobotProfile) -> None:
    def rows(asked_again: bool) -> np.ndarray:
        made = SimulatedDriver(panda, OBJECT, 3)
        graph = FakeGraph(made, {1: CountingPolicy(1)})
        graph.announce(1)
        graph.encode(1)
        graph.periods_at_begin, graph.begin_is_asked_again = 3, asked_again
        assert graph.run(2, REAL_TIME) == [None]
        assert graph.trials.rewards.missed == 0
        made.close()
        return graph.rows()

    assert np.array_equal(rows(asked_again=True), rows(asked_again=False))


def test_a_policy_is_changed_between_trials_with_the_history_kept(graph: FakeGraph, panda: RobotProfile) -> None:
    graph.run(1, LOCKSTEP)
    graph.announce(2)
    graph.encode(2)
    assert graph.run(1, LOCKSTEP, new_session=False) == [None, None]
    assert [t.policy_version for t in graph.transitions] == [1] * 3 + [2] * 3
    assert np.array_equal(graph.rows(), in_process(panda, [1, 2]))


def test_a_policy_that_comes_within_a_trial_waits_for_the_next(graph: FakeGraph, panda: RobotProfile) -> None:
    def change() -> None:
        graph.announce(2)
        graph.encode(2)

    graph.at_transition = {2: change}
    assert graph.run(2, LOCKSTEP) == [None]
    assert [t.policy_version for t in graph.transitions] == [1] * 3 + [2] * 3
    assert np.array_equal(graph.rows(), in_process(panda, [1, 2]))


def test_a_new_policy_waits_for_its_encoder(graph: FakeGraph) -> None:
    graph.run(1, LOCKSTEP)
    graph.announce(2)
    assert graph.run(1, LOCKSTEP, new_session=False)[-1] == (
        "waited 20 s in vain for the context_encoder's context for transition 2 by policy version 2"
    )
    assert graph.trials.policy is graph.policies[1]
    assert len(graph.transitions) == 3


def test_a_policy_that_cannot_be_loaded_leaves_the_old_one_in_place(graph: FakeGraph) -> None:
    graph.run(1, LOCKSTEP)
    graph.announce(9)
    assert graph.run(1, LOCKSTEP, new_session=False) == [None, None]
    assert graph.reports == ["bundle-9 is damaged"]
    assert {t.policy_version for t in graph.transitions} == {1}


def test_without_any_policy_nothing_starts(driver: SimulatedDriver) -> None:
    graph = FakeGraph(driver, {})
    assert "no policy was announced" in str(graph.run(1, LOCKSTEP)[0])
    graph.announce(9)
    assert graph.run(1, LOCKSTEP)[-1] == "bundle-9 is damaged"


def test_a_missed_context_is_an_error_in_lockstep_and_is_counted_in_real_time(graph: FakeGraph) -> None:
    graph.encoder_is_deaf = True
    assert "context for transition 0" in str(graph.run(1, LOCKSTEP)[0])
    assert graph.run(1, REAL_TIME)[-1] is None
    assert graph.trials.context.missed == 3


def test_a_late_context_leaves_the_previous_one_in_use_and_is_included_in_the_next(graph: FakeGraph) -> None:
    def deaf(now: bool) -> None:
        graph.encoder_is_deaf = now

    # Contexts for transitions 1 and 2 are missed; that of transition 3 comes, and holds what was missed.
    graph.at_transition = {1: lambda: deaf(True), 3: lambda: deaf(False)}
    assert graph.run(2, REAL_TIME) == [None]
    assert graph.trials.context.missed == 2
    acting = CountingPolicy(1).new_session(0)
    for transition, context in zip(graph.transitions, (0, 1, 1, 1, 4, 5), strict=True):
        wanted = acting.act(transition.observation, np.full(2, context, dtype=np.float32))
        acting.learn(wanted, transition.reward, transition.next_observation.astype(np.float32), transition.done)
        assert np.allclose(transition.action[4:], wanted[4:], atol=1e-6)  # limits change no force of this policy


@pytest.mark.parametrize("settings", [REAL_TIME, LOCKSTEP], ids=["real time", "lockstep"])
def test_a_decision_is_planned_from_where_the_arm_is_after_the_waits(graph: FakeGraph, settings: TrialSettings) -> None:
    send, sent = graph.send, []

    def moved() -> None:  # by somebody, while rewards and the context are waited for
        now = graph.inbox.measurement
        assert now is not None
        stamp = now.stamp + 0.1
        graph.inbox.put_measurement(replace(now, joint_positions=now.joint_positions + 0.05, stamp=stamp))

    def listen(command: Command, new_plan: bool) -> None:
        sent.append((new_plan, command.motion, graph.inbox.measurement))
        send(command, new_plan)

    graph.send = listen  # type: ignore[method-assign]
    graph.at_transition = {1: moved}
    graph.run(1, settings)
    second = [motion for new_plan, motion, _ in sent if new_plan][1]
    [place] = [measurement.joint_positions for new_plan, _, measurement in sent if new_plan][1:2]
    assert np.array_equal(second.start.positions, place) == (not settings.lockstep)


def test_no_decision_is_begun_on_what_was_measured_long_ago(graph: FakeGraph) -> None:
    def fall_silent() -> None:
        graph.silent = "no joint_states for 0.30 s"

    graph.at_transition = {1: fall_silent}
    [problem] = graph.run(1, REAL_TIME)
    assert problem == "no decision is begun on what was measured long ago: no joint_states for 0.30 s"
    assert len(graph.transitions) == 1


def test_missed_rewards_are_counted_in_real_time(graph: FakeGraph) -> None:
    graph.monitor_is_mute = True
    assert graph.run(1, replace(REAL_TIME, view_wait=0.5)) == [None]
    assert graph.trials.rewards.missed > 10
    assert [t.reward for t in graph.transitions] == [0.0] * 3


def test_rewards_may_come_from_elsewhere(graph: FakeGraph) -> None:
    graph.external_reward = 0.25
    assert graph.run(1, replace(LOCKSTEP, use_monitor=False)) == [None]
    assert "begin_trial" not in graph.calls
    assert [t.reward for t in graph.transitions] == [0.0, 0.25, 0.25]


def test_a_reward_from_elsewhere_may_come_after_the_lift(graph: FakeGraph) -> None:
    settings, given = replace(LOCKSTEP, use_monitor=False, reward_wait=5.0), []
    graph.trials.new_session()
    graph.runner.start(graph.trials.run(1, settings))
    for _ in range(400):
        graph.pass_time(settings)
        if len(graph.transitions) == 2 and graph.machine.done and not given:
            given.append(graph.now)
            graph.inbox.rewards.append(0.75)
    assert graph.ends == [None] and [t.reward for t in graph.transitions] == [0.0, 0.0, 0.75]
    # Without one the trial ends after the wait.
    assert graph.run(1, settings) == [None, None]
    assert graph.transitions[-1].reward == 0.0 and graph.trials.rewards.missed == 1


def test_a_session_explores_as_its_settings_say_with_its_own_seed(graph: FakeGraph) -> None:
    graph.run(1, replace(LOCKSTEP, exploration_share=0.1, exploration_seed=5))
    acting, first = CountingPolicy(1).new_session(5), graph.transitions[0]
    acting.exploration = Exploration(0.1)
    assert np.allclose(first.action, acting.act(first.observation, np.zeros(2, dtype=np.float32)), atol=1e-6)


@pytest.mark.parametrize("settings", [REAL_TIME, LOCKSTEP], ids=["real time", "lockstep"])
def test_without_a_camera_no_trial_begins(graph: FakeGraph, settings: TrialSettings) -> None:
    graph.camera_is_blind = True
    [problem] = graph.run(1, replace(settings, view_wait=0.5))
    assert str(problem).startswith("waited 0.5 s in vain for a view of the object on object_view")
    assert graph.transitions == [] and "begin_trial" not in graph.calls


@pytest.mark.parametrize("settings", [REAL_TIME, LOCKSTEP], ids=["real time", "lockstep"])
def test_with_an_empty_table_no_trial_begins(graph: FakeGraph, settings: TrialSettings) -> None:
    graph.table_is_empty = True
    assert graph.run(1, settings) == ["the camera sees nothing on the table; put an object there"]
    assert graph.transitions == []


def test_an_object_that_moves_begins_no_trial(graph: FakeGraph) -> None:
    graph.object_moves = True
    [problem] = graph.run(1, REAL_TIME)
    assert "the object moved by 14 mm between two images" in str(problem) and graph.transitions == []


def test_what_was_seen_before_the_reset_begins_no_trial(graph: FakeGraph) -> None:
    """A camera that lags by 0.3 s shows the object where it was; its images are waited for until they are new."""
    begun: list[float] = []
    begin = graph.machine.begin

    def watched(measurement: Measurement, view: HeightMap) -> None:
        begun.append(view.stamp)
        begin(measurement, view)

    graph.machine.begin, graph.camera_is_late = watched, 0.3  # type: ignore[method-assign]
    resets: list[float] = []
    call = graph.call

    def called(service: str) -> Callable[[], Trigger.Response | None]:
        reply = call(service)
        if service == "reset":
            resets.append(graph.inbox.stamp)
        return reply

    graph.call = called  # type: ignore[method-assign]
    assert graph.run(2, REAL_TIME) == [None]
    assert all(seen > reset for seen, reset in zip(begun, resets, strict=True))


def test_a_view_that_is_too_old_beside_the_joints_begins_no_trial(graph: FakeGraph) -> None:
    graph.camera_is_late = 0.8
    [problem] = graph.run(1, REAL_TIME)
    assert "older than the joint_states; at most 0.5 s (stale_after) are acted on" in str(problem)


def test_an_object_outside_the_workspace_is_told_in_one_sentence(graph: FakeGraph) -> None:
    graph.object_is_at = np.array([0.1, 0.0])
    assert graph.run(1, LOCKSTEP) == ["the object is seen at (0.10, 0.00), outside the workspace"]


def test_an_action_that_is_not_finite_is_not_sent(driver: SimulatedDriver) -> None:
    graph = FakeGraph(driver, {1: CountingPolicy(1, np.array([0.0, np.nan, 0.0, 0.0, 0.0, 0.0]))})
    graph.announce(1)
    graph.encode(1)
    assert "not finite" in str(graph.run(1, LOCKSTEP)[0])
    assert graph.transitions == []


def test_a_refused_reset_ends_the_trials(graph: FakeGraph) -> None:
    graph.reset_reply = reply_of(False, "the door is open")
    assert graph.run(1, LOCKSTEP) == ["the reset service refused: the door is open"]


def test_a_measurement_that_does_not_come_ends_the_trials(graph: FakeGraph) -> None:
    graph.send = lambda command, new_plan: None  # type: ignore[method-assign]
    assert graph.run(1, REAL_TIME) == ["waited 0.5 s in vain for the next measurement"]
    # If a person prepares the trials, a measurement is waited for at the start.
    by_hand, graph.driver_is_mute = replace(REAL_TIME, has_reset=False), True
    assert "in vain for a measurement" in str(graph.run(1, by_hand)[-1])


def test_a_position_that_jumps_ends_the_trials_and_is_not_learned_from(graph: FakeGraph) -> None:
    measured, sent = graph.measured, []

    def send(command: Command, new_plan: bool) -> None:
        sent.append(command.motion)
        graph.driver.grip(command.finger_target, command.finger_force)
        now = graph.driver.step(command.motion.points[0], command.motion.velocities[0])
        measured(replace(now, joint_positions=now.joint_positions + 0.5) if len(sent) == 10 else now)

    graph.send = send  # type: ignore[method-assign]
    [problem] = graph.run(2, LOCKSTEP)
    assert "the arm was stopped: joint panda_joint" in str(problem) and "was measured to jump by" in str(problem)
    assert graph.transitions == []
    assert np.array_equal(sent[10].start.positions, sent[9].points[0]), "the arm stops at its place in the plan"
    assert not sent[-1].velocities.any()
