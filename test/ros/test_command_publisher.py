"""Holds: from a state that can be trusted, else from the motion sent last, else as soon as there is a state."""

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from helpers.grasping import broken_limits, measured
from std_msgs.msg import Float64MultiArray

from mql_ros.grasping.motion.joint_motion import stop, straight_line
from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import ArmState, Command
from mql_ros.ros.driver.command_publisher import CommandPublisher
from mql_ros.ros.driver.sent_commands import MOTION_MEMORY
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES, read_gripper


class FakeNode:
    """Takes down what is published."""

    def __init__(self, lockstep: bool) -> None:
        self.lockstep = lockstep
        self.listeners = 1
        self.now = 100.0
        self.grips: list[Any] = []
        self.wall_clock = None
        self.states: list[bytes] = []
        self.state_publishers = 0
        self.sent: list[tuple[str, list[list[float]]]] = []

    def setting(self, name: str) -> bool:
        return {"lockstep": self.lockstep}[name]

    def seconds(self) -> float:
        return self.now

    def create_timer(self, period: float, look: Any, clock: Any) -> None:
        self.look = look

    def count_publishers(self, topic: str) -> int:
        return self.state_publishers * (topic == "arm_controller/controller_state")

    def create_subscription(self, kind: type, topic: str, *rest: Any, **more: Any) -> Any:
        handle = MagicMock()
        handle.take_message = lambda kind, raw: self.states.pop() if self.states else None
        return SimpleNamespace(handle=handle)

    def create_publisher(self, kind: type, topic: str, quality: object) -> Any:
        methods = {
            "topic_name": topic,
            "publish": lambda _, message: self._take(topic, message),
            "get_subscription_count": lambda _: self.listeners,
        }
        return type("Publisher", (), methods)()

    def _take(self, topic: str, message: Any) -> None:
        if topic.startswith("gripper"):
            self.grips.append(message)
        if isinstance(message, Float64MultiArray):
            return
        self.sent.append((topic.partition("_")[0], [list(point.positions) for point in message.points]))


def publisher(panda: RobotProfile, lockstep: bool = False) -> tuple[CommandPublisher, FakeNode]:
    """One whose trials have begun."""
    commands, node = new_publisher(panda, lockstep)
    assert commands.begin(ArmState.at_rest(panda.home)) is None
    commands.forget_plan()
    node.sent.clear()
    return commands, node


def new_publisher(panda: RobotProfile, lockstep: bool = False) -> tuple[CommandPublisher, FakeNode]:
    node: Any = FakeNode(lockstep)
    return CommandPublisher(node, panda), node


def test_before_trials_have_begun_a_hold_sends_nothing(panda: RobotProfile) -> None:
    """The driver may be an unchecked one, that reports degrees: to hold there would fling the arm."""
    commands, node = new_publisher(panda)
    degrees = ArmState.at_rest(np.degrees(panda.home))
    for state in (degrees, ArmState.at_rest(panda.home), None):
        commands.hold(state)
        commands.settle(ArmState.at_rest(panda.home))
    assert "is measured outside its limits" in str(commands.begin(degrees))
    commands.hold(degrees)
    assert node.sent == [] and commands.count == 0


def test_no_hold_begins_outside_the_limits(panda: RobotProfile) -> None:
    motion = straight_line(panda, panda.home, np.array([0.6, 0.15, 0.2]), 0.2, 0.3)
    degrees = ArmState.at_rest(np.degrees(panda.home))
    commands, node = publisher(panda)
    commands.send(Command(motion, 0.05, 10.0), 0, True, panda)
    node.now += 0.33
    commands.hold(degrees)
    where = state_at(motion, 0.33, panda.control_period)
    assert np.allclose(node.sent[-1][1], stop(panda, where).points, atol=1e-9)
    # Where no motion is known either, the driver is stopped, once, and held when the state is plausible.
    node.now += 10.0
    for state in (degrees, None, degrees):
        commands.hold(state) if state is None else commands.settle(state)
    assert node.sent[-1] == ("arm", []) and len(node.sent) == 4
    commands.settle(ArmState.at_rest(panda.home))
    assert node.sent[4:] == [("arm", [panda.home.tolist()])]


def adversarial_state(rng: np.random.Generator, panda: RobotProfile, arm: ArmState) -> ArmState | None:
    """What joint_states may report of an arm that is at `arm`, or elsewhere, and of how it moves."""
    kind = rng.choice(["true", "noisy", "degrees", "shuffled", "elsewhere", "outside", "fast", "silent"])
    positions, velocities = arm.positions, arm.velocities
    if kind == "silent":
        return None
    if kind == "noisy":
        return ArmState(positions + rng.normal(size=7) * 0.02, velocities + rng.normal(size=7), 0 * positions)
    if kind == "degrees":
        return ArmState(np.degrees(positions), np.degrees(velocities), 0 * positions)
    if kind == "shuffled":
        order = rng.permutation(7)
        return ArmState(positions[order], velocities[order], 0 * positions)
    if kind in ("elsewhere", "outside"):
        wide = 1.0 if kind == "elsewhere" else 1.5
        velocities = rng.uniform(-2, 2, size=7) * panda.velocity
        return ArmState(rng.uniform(wide * panda.lower, wide * panda.upper), velocities, 0 * positions)
    speeds = rng.choice([-1e9, -1.0, 1.0, 1e9, np.inf], size=7) * panda.velocity if kind == "fast" else velocities
    return ArmState(positions, speeds, 0 * positions)


def test_no_hold_that_is_published_ever_breaks_a_limit(panda: RobotProfile) -> None:
    kinds = {"measured": 0, "sent": 0, "nothing": 0}
    for trial in range(150):
        rng = np.random.default_rng(trial)
        commands, node = publisher(panda)
        place = rng.uniform([0.35, -0.2, 0.05], [0.65, 0.2, 0.4])
        motion = straight_line(panda, panda.home, place, rng.uniform(-1, 1), rng.uniform(0.1, 0.5))
        commands.send(Command(motion, 0.05, 10.0), 0, True, panda)
        for _ in range(3):  # the second and third hold come within the stop before, or long after
            node.now += float(rng.choice([rng.uniform(0.0, 1.0), 30.0], p=[0.9, 0.1]))
            sent = commands.sent.state(node.now)
            arm = sent or ArmState.at_rest(panda.home)
            state = adversarial_state(rng, panda, arm)
            count = len(node.sent)
            commands.hold(state)
            assert len(node.sent) == count + 1
            hold = commands.sent.motion
            usable = state is not None and np.isfinite(state.velocities).all()
            usable = usable and ((panda.lower <= state.positions) & (state.positions <= panda.upper)).all()
            if hold is None:
                assert node.sent[-1] == ("arm", []) and sent is None and not usable
                kinds["nothing"] += 1
                continue
            assert node.sent[-1][1] == hold.points.tolist()
            near = usable and (sent is None or np.abs(state.positions - sent.positions).max() < 0.4)
            begins = state if near and np.array_equal(state.positions, hold.start.positions) else sent
            kinds["sent" if begins is sent else "measured"] += 1
            now = measured(begins.positions, joint_velocities=begins.velocities)
            broken = set(broken_limits(panda, Command(hold, 0.05, 10.0), now, running=sent))
            # A stop is as short as the arm can make it, and is not planned around box and links.
            assert broken <= {"workspace", "clearance"}, f"trial {trial}: {broken}"
    assert min(kinds.values()) > 10, kinds


def test_fresh_positions_are_held_and_the_gripper_is_left_alone(panda: RobotProfile) -> None:
    commands, node = publisher(panda)
    commands.hold(ArmState.at_rest(panda.home))
    commands.settle(ArmState.at_rest(panda.home + 0.1))
    assert node.sent == [("arm", [panda.home.tolist()])]


def test_without_them_it_is_stopped_and_held_as_soon_as_they_are_known(panda: RobotProfile) -> None:
    commands, node = publisher(panda)
    commands.settle(ArmState.at_rest(panda.home))
    assert node.sent == []
    commands.hold(None)
    commands.settle(None)
    assert node.sent == [("arm", [])]
    for shift in (0.0, 0.1):
        commands.settle(ArmState.at_rest(panda.home + shift))
    assert node.sent[1:] == [("arm", [panda.home.tolist()])]


def test_nothing_begins_without_a_controller_or_a_fresh_state_and_the_first_command_is_where_the_arm_stands(
    panda: RobotProfile,
) -> None:
    commands, node = publisher(panda)
    node.listeners = 0
    assert "nobody subscribes to arm_controller/joint_trajectory" in str(commands.begin(None))
    node.listeners = 1
    assert "there are no joint_states" in str(commands.begin(None))
    assert node.sent == []
    assert commands.begin(ArmState.at_rest(panda.home)) is None
    assert node.sent == [("arm", [panda.home.tolist()])]


def test_a_hold_brings_a_moving_arm_to_rest_within_its_limits(panda: RobotProfile) -> None:
    commands, node = publisher(panda)
    moving = replace(ArmState.at_rest(panda.home), velocities=0.5 * panda.velocity)
    commands.hold(moving)
    points = np.array([panda.home, *node.sent[0][1]])
    steps = np.diff(points, axis=0)
    assert len(steps) > 2 and (steps[-1] < 0.2 * steps[0]).all() and (steps > 0).all()
    assert (np.abs(np.diff(steps, axis=0)) <= panda.acceleration * panda.control_period**2).all()


@pytest.mark.parametrize("late", [0.0, 0.33, 0.7])
def test_without_a_state_the_stop_begins_where_the_motion_sent_last_has_brought_the_arm(
    panda: RobotProfile, late: float
) -> None:
    commands, node = publisher(panda)
    motion = straight_line(panda, panda.home, np.array([0.6, 0.15, 0.2]), 0.2, 0.3)
    commands.send(Command(motion, 0.05, 10.0), 0, True, panda)
    node.now += late
    commands.hold(None)
    where = state_at(motion, late, panda.control_period)
    assert np.allclose(node.sent[-1][1], stop(panda, where).points, atol=1e-9)
    assert (np.abs(where.velocities) > 0.1).any() == (late > 0)
    # That is all that is needed: no state that comes later is held at.
    commands.settle(ArmState.at_rest(panda.home))
    assert len(node.sent) == 3
    # And it stops as well when it is commanded for the second time, in the middle of the stop.
    node.now += 0.02
    commands.hold(None)
    again = stop(panda, state_at(stop(panda, where), 0.02, panda.control_period))
    assert np.allclose(node.sent[-1][1], again.points, atol=1e-9)


def test_a_motion_that_ended_long_ago_or_was_forgotten_tells_nothing(panda: RobotProfile) -> None:
    motion = straight_line(panda, panda.home, np.array([0.6, 0.15, 0.2]), 0.2, 0.3)
    for forget in (False, True):
        commands, node = publisher(panda)
        commands.send(Command(motion, 0.05, 10.0), 0, True, panda)
        if forget:
            commands.forget_plan()
        else:
            node.now += len(motion.points) * panda.control_period + MOTION_MEMORY + 0.01
        commands.hold(None)
        assert node.sent[-1] == ("arm", [])


@pytest.mark.parametrize("lockstep", [False, True])
def test_no_hold_comes_into_later_trials_nor_moves_a_simulator_that_waits(panda: RobotProfile, lockstep: bool) -> None:
    commands, node = publisher(panda, lockstep)
    commands.hold(None)
    commands.forget_plan()
    commands.settle(ArmState.at_rest(np.zeros(7)))
    assert node.sent == ([] if lockstep else [("arm", [])])


@pytest.mark.parametrize("kind", GRIPPER_MESSAGES)
def test_a_hold_stops_fingers_that_move_freely_and_lets_go_of_nothing(panda: RobotProfile, kind: str) -> None:
    profile = replace(panda, gripper_command=kind)

    def held(late: float, effort: float, lockstep: bool = False) -> list[Any]:
        commands, node = publisher(profile, lockstep)
        resting = stop(profile, ArmState.at_rest(profile.home))
        commands.send(Command(resting, 0.0, 10.0), 0, True, profile)
        node.now += late
        commands.send(Command(resting, 0.0, 12.0), 0, False, profile)  # more force makes the way no longer
        node.grips.clear()
        for _ in range(2):
            commands.hold(ArmState.at_rest(profile.home), (0.031, effort))
        return node.grips

    on_the_way = 0.5 * profile.finger_seconds
    for message in (grips := held(on_the_way, 0.0)):
        last = read_gripper(profile, message)
        assert last.positions[-1].sum() == pytest.approx(0.031)
        assert kind == "position_trajectory" or (last.efforts[-1] == 12.0).all()
    assert len(grips) == 2
    assert held(on_the_way, 5.0) == [], "something is between them"
    assert held(profile.finger_seconds + 0.1, 0.0) == [], "they are there"
    assert held(on_the_way, 0.0, lockstep=True) == []
    commands, node = publisher(profile)
    commands.hold(ArmState.at_rest(profile.home), (0.031, 0.0))
    assert node.grips == [], "nothing was sent to them"


def test_nothing_begins_with_a_controller_that_is_not_active(
    panda: RobotProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It subscribes to trajectories, as an active one does, but publishes no state."""
    messages = SimpleNamespace(JointTrajectoryControllerState=object)
    monkeypatch.setitem(sys.modules, "control_msgs", SimpleNamespace(msg=messages))
    monkeypatch.setitem(sys.modules, "control_msgs.msg", messages)
    commands, node = new_publisher(panda)
    here = ArmState.at_rest(panda.home)
    assert commands.begin(here) is None, "a driver without such a topic"
    node.sent.clear()
    node.state_publishers = 1
    assert "the arm controller is not active; activate it" in str(commands.begin(here))
    node.states = [b"", b""]
    node.look()
    node.now += 0.9
    assert commands.begin(here) is None and len(node.sent) == 1
    node.now += 0.2
    assert "nothing comes on arm_controller/controller_state" in str(commands.begin(here))
    assert len(node.sent) == 1


def test_without_control_msgs_a_controller_that_listens_will_do(
    panda: RobotProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "control_msgs.msg", None)
    commands, node = new_publisher(panda)
    node.state_publishers = 1
    assert commands.begin(ArmState.at_rest(panda.home)) is None
