import numpy as np
import pytest
from grasping_cases import broken_limits, carry_out, measured, turned
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.grasping.kinematics import tool_down
from mql_ros.grasping.motion import straight_line
from mql_ros.grasping.robot_profile import RobotProfile
from mql_ros.grasping.safety import LAG, SafetyFilter
from mql_ros.grasping.spaces import Phase
from mql_ros.grasping.trial import TrialMachine
from mql_ros.grasping.types import Command

WILD = st.one_of(st.floats(-1.0, 1.0), st.sampled_from([-1.0, 1.0, -1e300, 1e300]))
ACTIONS = st.lists(st.lists(WILD, min_size=4, max_size=4), min_size=3, max_size=3)


def plan(panda: RobotProfile) -> Command:
    points, velocities = straight_line(panda, panda.home, np.array([0.55, 0.1, 0.2]), 0.2, 0.3)
    return Command(points, velocities, 0.05, 10.0)


def with_point(command: Command, k: int, joint: int, value: float) -> Command:
    points = command.points.copy()
    points[k, joint] = value
    return Command(points, command.velocities, command.finger_target, command.finger_force)


def test_an_allowed_command_passes_as_it_is(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    assert safety.filter(command, measured(panda.home)) is command
    assert (safety.refusals, safety.last_refusal) == (0, "")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: with_point(c, 3, 2, np.nan), "the motion holds a number that is not finite"),
        (lambda c: Command(c.points, c.velocities + np.inf, 0.05, 10.0), "the motion holds a number"),
        (lambda c: with_point(c, 3, 3, 0.5), "joint panda_joint4 would go to 0.500 rad"),
        (lambda c: with_point(c, 3, 0, 1.0), "joint panda_joint1 would move at"),
        (lambda c: Command(c.points, c.velocities + 9.0, 0.05, 10.0), "joint panda_joint1 would move at"),
        (lambda c: Command(c.points, c.velocities + 0.1, 0.05, 10.0), "the motion does not end at rest"),
        (lambda c: Command(c.points[12:], c.velocities[12:], 0.05, 10.0), "away from where the motion"),
        (lambda c: Command(c.points[:0], c.velocities[:0], 0.05, 10.0), "are not one row of 7 per period"),
        (lambda c: Command(c.points, c.velocities, 0.2, 10.0), "the fingers would open to 0.200 m"),
        (lambda c: Command(c.points, c.velocities, 0.05, -1.0), "the fingers would press with -1.0 N"),
        (lambda c: Command(c.points, c.velocities, 0.05, np.nan), "the finger command is not finite"),
    ],
)
def test_what_breaks_a_limit_becomes_a_hold(panda: RobotProfile, spoil, reason: str) -> None:
    safety, now = SafetyFilter(panda), measured(panda.home)
    allowed = safety.filter(spoil(plan(panda)), now)
    assert np.array_equal(allowed.points, panda.home[None]) and not allowed.velocities.any()
    assert broken_limits(panda, allowed, now) == []
    assert safety.refusals == 1 and reason in safety.last_refusal


def test_the_tool_stays_in_the_box(panda: RobotProfile) -> None:
    low = panda.chain.inverse(np.array([0.5, 0.0, 0.02]), tool_down(0.0), panda.home, iterations=100)[0]
    under = panda.chain.inverse(np.array([0.5, 0.0, 0.0]), tool_down(0.0), low, iterations=100)[0]
    safety = SafetyFilter(panda)
    points = low + np.linspace(0, 1, 9)[1:, None] * (under - low)
    command = Command(points, np.zeros_like(points), 0.05, 10.0)
    held = safety.filter(command, measured(low))
    assert held is not command and "outside the workspace" in safety.last_refusal
    back = Command(points[::-1], np.zeros_like(points), 0.05, 10.0)
    assert safety.filter(back, measured(under)) is back, "an arm that is outside may come back"


def test_a_hold_keeps_to_the_joint_limits_and_the_last_fingers(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    safety.filter(command, measured(panda.home))
    beyond = measured(panda.upper + 0.01)
    held = safety.filter(Command(command.points, command.velocities, np.inf, np.inf), beyond)
    assert np.array_equal(held.points[0], panda.upper)
    assert (held.finger_target, held.finger_force) == (0.05, 10.0)


def test_an_arm_may_lag_a_little(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    step = panda.velocity * panda.control_period
    behind = measured(command.points[0] - 0.99 * LAG * step)
    assert safety.filter(command, behind, "") is command
    too_far = measured(command.points[0] - 1.01 * LAG * step)
    assert safety.filter(command, too_far, "") is not command


def test_a_refusal_ends_the_decision_at_rest(panda: RobotProfile) -> None:
    """Somebody moves the arm in the middle of a motion."""
    machine = TrialMachine(panda)
    start = measured(panda.home)
    machine.begin(start)
    machine.decide(np.zeros(4), start)
    assert machine.command(start) is not None
    pushed = measured(panda.home + 0.4)
    held = machine.command(pushed)
    assert held is not None and np.array_equal(held.points, pushed.joint_positions[None])
    assert machine.refusals == 1 and "away from where the motion goes on" in machine.last_refusal
    assert machine.command(pushed) is None
    assert machine.phase is Phase.CLOSE


def test_what_cannot_be_reached_is_not_tried(panda: RobotProfile) -> None:
    command = plan(panda)
    end = panda.chain.forward(command.points[-1])[0]
    safety = SafetyFilter(panda)
    assert safety.plan_fault(command.points, command.velocities, panda.home, end) == ""
    fault = safety.plan_fault(command.points, command.velocities, panda.home, end + [0.0, 0.0, 0.03])
    assert "cannot bring the tool" in fault and "30 mm would be left" in fault


def test_the_far_corner_is_held_off(panda: RobotProfile) -> None:
    """In the far upper corners of the box the arm is too short to keep the tool pointing down."""
    machine = TrialMachine(panda)
    now = measured(panda.home, object_position=np.array([0.72, 0.25, 0.3]), object_orientation=turned(1.5))
    machine.begin(now)
    for action in (np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0, 0.0]), np.zeros(4)):
        done, now = carry_out(machine, action, now)
        for before, command in done:
            assert broken_limits(panda, command, before) == []
    assert machine.done and machine.refusals >= 1


@settings(max_examples=25, deadline=None)
@given(
    actions=ACTIONS,
    place=st.tuples(st.floats(0.3, 0.72), st.floats(-0.25, 0.25), st.floats(-0.05, 0.5)),
    yaw=st.floats(-3.1, 3.1),
    start=st.tuples(st.floats(0.32, 0.68), st.floats(-0.22, 0.22), st.floats(0.02, 0.45)),
    follow=st.floats(0.4, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_command_ever_breaks_a_limit(panda: RobotProfile, actions, place, yaw, start, follow, seed) -> None:
    """Whatever a policy asks for, wherever the object is said to be, whatever the arm feels and wherever it is put."""
    rng = np.random.default_rng(seed)
    joints, _ = panda.chain.inverse(np.array(start), tool_down(0.0), panda.home, iterations=100)
    machine = TrialMachine(panda)
    machine.begin(measured(panda.home, object_position=np.array(place), object_orientation=turned(yaw)))
    # Somebody moves the arm after the trial has begun.
    now = measured(joints, object_position=np.array(place), object_orientation=turned(yaw))

    def feel(period: int, joints: np.ndarray) -> dict[str, object]:
        changes: dict[str, object] = {"contact_force": rng.normal(size=3) * rng.choice([0.0, 5.0, 100.0])}
        if rng.random() < 0.02:
            changes["joint_positions"] = np.clip(joints + rng.normal(size=7) * 0.3, panda.lower, panda.upper)
        return changes

    for action in actions:
        done, now = carry_out(machine, np.array(action), now, feel, follow)
        for before, command in done:
            assert broken_limits(panda, command, before) == []
    assert machine.done
