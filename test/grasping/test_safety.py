from dataclasses import replace

import numpy as np
import pytest
from helpers.grasping import block, broken_limits, carry_out, measured

from mql_ros.grasping.motion.joint_motion import stop, straight_line
from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.motion.spline import largest, motion_through
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.safety.filter import LAG, MOVING_SPEED, SafetyFilter
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import ArmState, Command


def plan(panda: RobotProfile) -> Command:
    return Command(straight_line(panda, panda.home, np.array([0.55, 0.1, 0.2]), 0.2, 0.3), 0.05, 10.0)


def changed(command: Command, fingers: tuple[float, float] = (0.05, 10.0), **parts: np.ndarray) -> Command:
    return Command(replace(command.motion, **parts), *fingers)


def with_point(command: Command, k: int, joint: int, value: float) -> Command:
    points = command.motion.points.copy()
    points[k, joint] = value
    return changed(command, points=points)


def stretched(command: Command, what: str, factor: float) -> Command:
    rows = getattr(command.motion, what).copy()
    rows[4] *= factor
    return changed(command, **{what: rows})


def test_an_allowed_command_passes_as_it_is(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    assert safety.filter(command, measured(panda.home)) is command
    assert (safety.refusals, safety.last_refusal) == (0, "")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda c: with_point(c, 3, 2, np.nan), "the motion holds a number that is not finite"),
        (lambda c: changed(c, velocities=c.motion.velocities + np.inf), "the motion holds a number"),
        (lambda c: with_point(c, 3, 3, 0.5), "joint panda_joint4 would go to"),
        (lambda c: with_point(c, 3, 0, 1.0), "joint panda_joint1 would reach a speed of"),
        (lambda c: stretched(c, "velocities", 1.5), "would reach an acceleration of"),
        (lambda c: stretched(c, "accelerations", 60.0), "would reach a"),
        (lambda c: changed(c, velocities=c.motion.velocities + 0.1), "the motion does not end at rest"),
        (lambda c: changed(c, accelerations=c.motion.accelerations + 0.1), "the motion does not end at rest"),
        (lambda c: Command(c.motion.rest(12), 0.05, 10.0), "away from where the motion"),
        (lambda c: changed(c, points=c.motion.points[:0]), "are not one row of 7 per period"),
        (lambda c: changed(c, (0.2, 10.0)), "the fingers would open to 0.200 m"),
        (lambda c: changed(c, (0.05, -1.0)), "the fingers would press with -1.0 N"),
        (lambda c: changed(c, (0.05, np.nan)), "the finger command is not finite"),
    ],
)
def test_a_command_that_breaks_a_limit_becomes_a_hold(panda: RobotProfile, spoil, reason: str) -> None:
    safety, now = SafetyFilter(panda), measured(panda.home)
    allowed = safety.filter(spoil(plan(panda)), now)
    assert np.array_equal(allowed.motion.points, panda.home[None]) and not allowed.motion.velocities.any()
    assert broken_limits(panda, allowed, now) == []
    assert safety.refusals == 1 and reason in safety.last_refusal


def test_the_safety_filter_keeps_the_tool_in_the_workspace_box(panda: RobotProfile) -> None:
    low = panda.chain.inverse(np.array([0.5, 0.0, 0.02]), tool_down(0.0), panda.home, iterations=100)[0]
    under = panda.chain.inverse(np.array([0.5, 0.0, 0.0]), tool_down(0.0), low, iterations=100)[0]
    safety = SafetyFilter(panda)
    share = np.linspace(0, 1, 21)[1:, None]
    way = (10 * share**3 - 15 * share**4 + 6 * share**5) * (under - low)
    command = Command(motion_through(low, low + way, panda.control_period), 0.05, 10.0)
    held = safety.filter(command, measured(low))
    assert held is not command and "outside the workspace" in safety.last_refusal
    safety.begin(measured(under))
    back = Command(motion_through(under, under - way, panda.control_period), 0.05, 10.0)
    assert safety.filter(back, measured(under)) is back, "an arm that is outside may come back"


def test_a_hold_keeps_to_the_joint_limits_and_the_last_fingers(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    safety.filter(command, measured(panda.home))
    beyond = measured(panda.upper + 0.01)
    safety.begin(beyond)
    held = safety.filter(changed(command, (np.inf, np.inf)), beyond)
    assert np.allclose(held.motion.points[-1], panda.upper)
    assert (held.finger_target, held.finger_force) == (0.05, 10.0)


def test_a_moving_arm_is_brought_to_rest_within_its_limits(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    moving = measured(panda.home, joint_velocities=0.5 * panda.velocity)
    held = safety.filter(with_point(command, 3, 2, np.nan), moving)
    assert len(held.motion.points) > 1 and broken_limits(panda, held, moving) == []
    assert np.array_equal(held.motion.start.velocities, moving.joint_velocities)


def test_a_motion_from_rest_is_not_for_a_moving_arm(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    moving = measured(panda.home, joint_velocities=0.1 * panda.velocity)
    held = safety.filter(command, moving)
    assert "joint panda_joint5 moves at 0.26 rad/s, but the motion begins at rest" in safety.last_refusal
    assert np.array_equal(held.motion.start.velocities, moving.joint_velocities)
    safety.begin(measured(panda.home))
    noisy = measured(panda.home, joint_velocities=np.full(7, 0.9 * MOVING_SPEED))
    assert safety.filter(command, noisy) is command


@pytest.mark.parametrize("share", [0.5, 1.0, 1.001, 1.2, 5.0])
@pytest.mark.parametrize("robot", ["panda", "iiwa", "ur5e"])
def test_a_stop_is_short_however_fast_the_arm_is_said_to_be(robot: str, share: float) -> None:
    profile = load_profile(robot)
    middle = np.clip(profile.home, profile.lower + 1.0, profile.upper - 1.0)
    sign = np.where(np.arange(len(middle)) % 2, 1.0, -1.0)
    motion = stop(profile, replace(ArmState.at_rest(middle), velocities=share * sign * profile.velocity))
    speed, rise, jerk = largest(motion, profile.control_period)
    assert (speed <= profile.velocity * (1 + 1e-6)).all()
    assert (rise <= profile.acceleration * (1 + 1e-5)).all() and (jerk <= profile.jerk * (1 + 1e-5)).all()
    # All joints stop together, in about 1.5 times the time that the slowest needs at its full deceleration.
    longest = 2.5 * (profile.velocity / profile.acceleration).max() + 3 * profile.control_period
    assert len(motion.points) * profile.control_period <= longest


def test_a_measured_position_that_jumps_is_not_acted_on(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    assert safety.filter(command, measured(panda.home)) is command
    jumped = measured(panda.home + 0.3, stamp=panda.control_period)
    later = Command(motion_through(panda.home + 0.3, panda.home[None] + 0.3, panda.control_period), 0.05, 10.0)
    held = safety.filter(later, jumped)
    assert held is not later and "was measured to jump by 0.300 rad" in safety.last_refusal
    assert np.abs(held.motion.points - panda.home).max() < 0.01


def test_the_recorded_action_is_the_executed_one(panda: RobotProfile) -> None:
    """The object stands so near the box's border that the place asked for lies outside."""
    machine = TrialMachine(panda)
    now = measured(panda.home)
    machine.begin(now, block(0.68))
    asked = np.array([0.9, 0.2, 0.1, -0.3, -0.2, 0.4])
    _, now = carry_out(machine, asked, now)
    x = panda.chain.forward(now.joint_positions)[0][0]
    assert x == pytest.approx(panda.workspace_upper[0], abs=1e-3)
    assert spaces.grasps_of(machine.executed)[0] == pytest.approx(x - 0.68, abs=1e-3)
    assert np.allclose(machine.executed[1:], asked[1:], atol=1e-12)
    # Of a correction along the fingers, turned by the heading, only the part within the box is carried out.
    _, now = carry_out(machine, np.array([1.0, 0.0, 0.0, 0.0, 0.3, 0.0]), now)
    assert panda.chain.forward(now.joint_positions)[0][0] == pytest.approx(x, abs=1e-3)
    yaw = -0.3 * np.pi / 2
    along, across = spaces.CORRECTION * machine.executed[:2]
    assert along * np.cos(yaw) + across * np.sin(yaw) == pytest.approx(0.0, abs=1e-3)
    assert machine.executed[spaces.FORCE] == 0.3
    machine.begin(measured(panda.home), block())
    inside = np.array([-0.1, 0.1, 0.0, 0.2, 0.0, 0.0])
    _, now = carry_out(machine, inside, measured(panda.home))
    assert np.array_equal(machine.executed, inside)


def test_the_safety_filter_lets_an_arm_lag_a_little(panda: RobotProfile) -> None:
    safety, command = SafetyFilter(panda), plan(panda)
    step = panda.velocity * panda.control_period
    behind = measured(command.motion.points[0] - 0.99 * LAG * step)
    assert safety.filter(command, behind, "") is command
    too_far = measured(command.motion.points[0] - 1.01 * LAG * step)
    safety.begin(too_far)
    assert safety.filter(command, too_far, "") is not command


def test_a_refusal_ends_the_decision_at_rest(panda: RobotProfile) -> None:
    """Somebody moves the arm in the middle of a motion, as fast as it could move itself."""
    machine = TrialMachine(panda)
    now = measured(panda.home)
    machine.begin(now, block())
    machine.decide(np.zeros(spaces.ACTION_SIZE), now)
    shift = 0.9 * LAG * panda.velocity * panda.control_period
    while machine.refusals == 0:
        held = machine.command(now)
        pushed = now
        now = measured(now.joint_positions + shift, stamp=now.stamp + panda.control_period)
    assert held is not None and np.array_equal(held.motion.points, pushed.joint_positions[None])
    assert "away from where the motion goes on" in machine.last_refusal and not machine.position_jumped
    assert machine.command(pushed) is None
    assert machine.phase is Phase.CLOSE


@pytest.mark.parametrize("periods", [1, 4])
@pytest.mark.parametrize("comes_back", [False, True])
def test_after_a_jump_the_arm_stops_where_the_plan_has_brought_it(
    panda: RobotProfile, periods: int, comes_back: bool
) -> None:
    """Nothing is commanded towards a position that is implausible, whatever is measured later."""
    machine = TrialMachine(panda)
    now = measured(panda.home)
    machine.begin(now, block())
    machine.decide(np.zeros(spaces.ACTION_SIZE), now)
    for k in range(12):
        command = machine.command(now)
        assert command is not None
        now = measured(command.motion.points[0], stamp=(k + 1) * panda.control_period)
    stamp = now.stamp + (periods - 1) * panda.control_period  # some measurements may have been lost before the jump
    plan = command.motion
    jumped = measured(now.joint_positions + 2.0, stamp=stamp)
    sent = []
    while (held := machine.command(jumped)) is not None:
        sent.append(held)
        stamp += panda.control_period
        jumped = replace(now if comes_back else jumped, stamp=stamp)
    stopped, state = sent[0].motion, plan.state(periods)
    for part in ("positions", "velocities", "accelerations"):
        assert np.array_equal(getattr(stopped.start, part), getattr(state, part))
    assert np.abs(stopped.points - now.joint_positions).max() < 0.2
    assert broken_limits(panda, sent[0], measured(state.positions)) == []
    for k, held in enumerate(sent):
        assert np.array_equal(held.motion.points, stopped.points[k:]), "one stop, followed to its end"
    assert machine.done and machine.position_jumped and machine.refusals == 1
    assert "was measured to jump by 2.0" in machine.last_refusal
    machine.begin(measured(panda.home), block())
    assert not machine.position_jumped and not machine.done


def test_a_plan_that_begins_where_the_arm_has_jumped_to_is_not_sent(panda: RobotProfile) -> None:
    machine = TrialMachine(panda)
    now = measured(panda.home)
    machine.begin(now, block())
    jumped = measured(panda.home + 0.3, stamp=panda.control_period)
    done, _ = carry_out(machine, np.zeros(spaces.ACTION_SIZE), jumped)
    assert [command.motion.points.tolist() for _, command in done] == [[panda.home.tolist()]]
    assert machine.done and machine.position_jumped


def test_a_target_out_of_reach_is_refused(panda: RobotProfile) -> None:
    command = plan(panda)
    end = panda.chain.forward(command.motion.points[-1])[0]
    safety = SafetyFilter(panda)
    assert safety.plan_fault(command.motion, end) == ""
    fault = safety.plan_fault(command.motion, end + [0.0, 0.0, 0.03])
    assert "cannot bring the tool" in fault and "30 mm would be left" in fault


def test_the_far_corner_of_the_workspace_is_refused(panda: RobotProfile) -> None:
    """In the far upper corners of the box the arm is too short to keep the tool pointing down."""
    machine = TrialMachine(panda)
    now = measured(panda.home)
    machine.begin(now, block(0.70, 0.24))
    corner = spaces.grasp_action(0.02, 0.01, spaces.Z_HIGH, 1.5)
    for action in (corner, spaces.closing_action(0.0, 0.0, 0.02, 10.0), spaces.lifting_action(10.0, 0.2)):
        done, now = carry_out(machine, action, now)
        for before, command in done:
            assert broken_limits(panda, command, before) == []
    assert machine.done and machine.refusals >= 1
