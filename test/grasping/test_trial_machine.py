import itertools
from dataclasses import replace

import numpy as np
import pytest
from helpers.grasping import block, broken_limits, carry_out, measured

from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.perception.height_map import HeightMap
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import LAG, MOVING_SPEED
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.task.trial import (
    CLEARANCE,
    CLOSING_PERIODS,
    CONTACT_SPEED,
    RETREAT,
    SETTLING_PERIODS,
    TrialMachine,
)
from mql_ros.grasping.types import Measurement

UP = np.array([0.0, 0.0, 1.0])
HIT = {"contact_force": -30.0 * UP, "contact_torque": np.array([0.0, 0.6, 0.0])}


MIDDLE = np.zeros(spaces.ACTION_SIZE)
"""The middle of every range: above what is seen, with a force of 6 N."""


def down(x: float = 0.0, z: float = 0.02, y: float = 0.0, yaw: float = 0.0) -> np.ndarray:
    """A descent to a place about the middle of what is seen, m."""
    return spaces.grasp_action(x, y, z, yaw)


def begun(panda: RobotProfile) -> tuple[TrialMachine, Measurement]:
    machine = TrialMachine(panda)
    start = measured(panda.home)
    machine.begin(start, block())
    return machine, start


def felt(machine: TrialMachine, measurement: Measurement, name: str) -> float:
    return machine.observation(measurement)[spaces.VIEW_SIZE + spaces.SIGNAL_NAMES.index(name)]


def test_a_trial_places_closes_and_lifts(panda: RobotProfile) -> None:
    yaw = 0.3
    machine, now = begun(panda)
    along, across = np.array([np.cos(yaw), np.sin(yaw), 0.0]), np.array([np.sin(yaw), -np.cos(yaw), 0.0])

    place = carry_out(machine, down(0.03, 0.10, y=-0.02, yaw=yaw), now)
    tool, turn = panda.chain.forward(place[1].joint_positions)
    assert np.allclose(tool, [0.53, -0.02, 0.10], atol=1e-3) and np.allclose(turn, tool_down(yaw), atol=1e-3)
    assert {command.finger_target for _, command in place[0]} == {panda.max_width}
    assert machine.phase is Phase.CLOSE and not machine.done

    close = carry_out(machine, spaces.closing_action(-0.015, 0.005, 0.01, 12.0), place[1])
    corrected = panda.chain.forward(close[1].joint_positions)[0]
    assert np.allclose(corrected, tool - 0.015 * along + 0.005 * across + 0.01 * UP, atol=1e-3)
    targets = [command.finger_target for _, command in close[0]]
    assert targets[-CLOSING_PERIODS:] == [0.0] * CLOSING_PERIODS
    assert set(targets[:-CLOSING_PERIODS]) == {panda.max_width}, "the fingers close after the correction"
    assert close[0][-1][1].finger_force == pytest.approx(12.0)
    assert machine.phase is Phase.LIFT and not machine.done

    lift = carry_out(machine, spaces.lifting_action(20.0, 0.2), close[1])
    lifted = panda.chain.forward(lift[1].joint_positions)[0]
    assert np.allclose(lifted, corrected + spaces.LIFT_HEIGHT * UP, atol=1e-3)
    assert {(c.finger_target, round(c.finger_force, 6)) for _, c in lift[0]} == {(0.0, 20.0)}
    assert machine.done and machine.refusals == 0


@pytest.mark.parametrize("x", [0.0, 0.07])
def test_a_descent_passes_above_what_is_seen_and_is_slow_where_it_may_touch(panda: RobotProfile, x: float) -> None:
    machine, now = begun(panda)
    done, _ = carry_out(machine, down(x), now)
    tools = panda.chain.positions(np.array([now.joint_positions, *(c.motion.points[0] for _, c in done)]))
    speeds = np.linalg.norm(np.diff(tools, axis=0), axis=1) / panda.control_period
    there = np.linalg.norm(tools[:, :2] - tools[-1, :2], axis=1) < 0.01
    assert (tools[~there, 2] > 0.10 + CLEARANCE - 2e-3).all(), "on its way it passes above the block"
    # The open fingers reach 55 mm to either side: the block's top is below them at its middle and not beside it.
    top = 0.10 if x == 0.0 else 0.0
    slow = tools[1:, 2] < top + CLEARANCE
    assert slow.sum() >= 3 and (speeds[slow] <= CONTACT_SPEED * 1.01).all()
    assert speeds[~slow].max() > 2 * CONTACT_SPEED
    assert tools[-1, 2] == pytest.approx(0.02, abs=1e-3) and machine.refusals == 0


@pytest.mark.parametrize(("scale", "periods"), [(1.0, CLOSING_PERIODS), (0.2, 20)])
def test_slow_fingers_get_the_time_that_they_need(panda: RobotProfile, scale: float, periods: int) -> None:
    machine, now = begun(panda)
    machine.tighten(scale, panda.max_force)
    _, now = carry_out(machine, down(0.0, 0.15), now)
    commands, _ = carry_out(machine, spaces.closing_action(0.0, 0.0, 0.0, 12.0), now)
    assert [command.finger_target for _, command in commands].count(0.0) == periods


def test_a_plan_is_sent_from_its_next_point_on(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    done, _ = carry_out(machine, MIDDLE, now)
    for (_, before), (_, after) in itertools.pairwise(done):
        left = before.motion.points[min(1, len(before.motion.points) - 1) :]  # the arm is waited for at its end
        assert np.array_equal(left, after.motion.points)
    assert not done[-1][1].motion.velocities.any()


def test_the_guard_stops_the_descent_and_backs_off(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    done, after = carry_out(machine, down(), now, lambda k, _: HIT if k == 12 else {})
    hit_at = panda.chain.forward(done[12][0].joint_positions)[0]
    assert np.allclose(panda.chain.forward(after.joint_positions)[0], hit_at + RETREAT * UP, atol=1e-3)
    assert felt(machine, after, "guard_stop") == 1.0
    assert felt(machine, after, "contact_peak") == pytest.approx(np.log1p(30.0) / 3.0)
    assert felt(machine, after, "contact_x") == pytest.approx(0.02 / 0.03)
    assert machine.phase is Phase.CLOSE and machine.refusals == 0


@pytest.mark.parametrize("scale", [0.3, 0.05])
def test_the_guard_of_a_slowed_arm_backs_off_at_once(panda: RobotProfile, scale: float) -> None:
    machine = TrialMachine(panda)
    machine.tighten(scale, 40.0)
    now = measured(panda.home)
    machine.begin(now, block())
    periods = round(30 / scale)
    done, after = carry_out(machine, down(), now, lambda k, _: HIT if k == periods else {})
    hit_at = panda.chain.forward(done[periods][0].joint_positions)[0]
    below = min(panda.chain.forward(command.motion.points[0])[0][2] for _, command in done[periods:])
    assert below > hit_at[2] - 0.02 * scale, "slower is also less far"
    assert np.allclose(panda.chain.forward(after.joint_positions)[0], hit_at + RETREAT * UP, atol=1e-3)
    assert machine.refusals == 0, machine.last_refusal


def test_the_guard_backs_off_once(panda: RobotProfile) -> None:
    """Contact that lasts must not start one retreat after another."""
    machine, now = begun(panda)
    done, _ = carry_out(machine, down(), now, lambda k, _: HIT if k >= 12 else {})
    assert len(done) < 30


def test_lifting_is_not_guarded(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    for _ in range(2):
        _, now = carry_out(machine, MIDDLE, now)
    _, after = carry_out(machine, MIDDLE, now, lambda k, _: {"contact_force": 40.0 * UP})
    start = panda.chain.forward(now.joint_positions)[0]
    assert np.allclose(panda.chain.forward(after.joint_positions)[0], start + spaces.LIFT_HEIGHT * UP, atol=1e-3)
    assert felt(machine, after, "weight") == 5.0, "40 N are beyond the scale"


def test_a_new_trial_forgets_the_guard(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    _, after = carry_out(machine, MIDDLE, now, lambda k, _: HIT)
    assert felt(machine, after, "guard_stop") == 1.0
    machine.begin(now, block())
    assert felt(machine, now, "guard_stop") == 0.0
    assert machine.phase is Phase.PLACE


def test_an_action_that_is_not_finite_moves_nothing(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    with pytest.raises(ValueError, match="not finite"):
        machine.decide(np.array([0.0, np.nan, 0.0, 0.0, 0.0, 0.0]), now)
    assert machine.phase is Phase.PLACE


def test_observations_are_bounded_whatever_is_measured(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    wild = measured(
        panda.upper, finger_width=9.0, finger_effort=1e9, contact_force=np.full(3, 1e6), contact_torque=np.full(3, 1e6)
    )
    carry_out(machine, np.ones(spaces.ACTION_SIZE), now)
    machine.command(wild)
    observation = machine.observation(wild)
    assert observation.shape == (spaces.OBSERVATION_SIZE,) and observation.dtype == np.float64
    assert np.isfinite(observation).all() and np.abs(observation).max() <= spaces.SIGNAL_LIMIT


@pytest.mark.parametrize("name", ["joint_positions", "contact_force", "contact_torque", "finger_width"])
def test_a_measurement_that_is_not_finite_is_refused(panda: RobotProfile, name: str) -> None:
    bad = np.nan if name == "finger_width" else np.array([np.nan] * (7 if name == "joint_positions" else 3))
    with pytest.raises(ValueError, match="finite"):
        measured(panda.home, **{name: bad})


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (block(x=5.0), r"the object is seen at \(5\.00, 0\.00\), outside the workspace"),
        (block(y=-0.3), "outside the workspace"),
        (block(x=np.nan), "outside the workspace"),
        (block(height=0.34), r"0\.34 m high and the tool waits at 0\.36 m; it could not pass above"),
    ],
)
def test_a_view_of_what_cannot_be_reached_starts_nothing(panda: RobotProfile, view: HeightMap, message: str) -> None:
    machine = TrialMachine(panda)
    with pytest.raises(ValueError, match=message):
        machine.begin(measured(panda.home), view)
    assert machine.done


def test_the_policy_sees_the_view_of_the_trials_beginning_throughout(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    views = [machine.observation(now)[: spaces.VIEW_SIZE]]
    for phase in Phase:
        assert [felt(machine, now, f"phase_{p.name.lower()}") for p in Phase] == [float(p is phase) for p in Phase]
        _, now = carry_out(machine, MIDDLE, now)
        views.append(machine.observation(now)[: spaces.VIEW_SIZE])
    assert all(np.array_equal(view, spaces.view_entries(block().heights)) for view in views)


def test_where_the_tool_is_is_told_from_the_middle_of_what_is_seen(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    machine.begin(now, block(0.46, 0.06))
    _, after = carry_out(machine, down(0.02, 0.1, y=-0.01, yaw=0.4), now)
    place = [felt(machine, after, f"tool_{axis}") for axis in "xyz"]
    assert np.allclose(place, [0.02 / 0.05, -0.01 / 0.05, 0.1 / 0.1], atol=0.03)
    assert felt(machine, after, "tool_cos") == pytest.approx(np.cos(0.8), abs=0.01)
    assert felt(machine, after, "tool_sin") == pytest.approx(np.sin(0.8), abs=0.01)
    assert felt(machine, after, "top") == pytest.approx(1.0)


def test_a_trial_starts_at_home_only(panda: RobotProfile) -> None:
    machine = TrialMachine(panda)
    low, _ = panda.chain.inverse(np.array([0.42, -0.1, 0.03]), tool_down(0.0), panda.home, iterations=100)
    with pytest.raises(ValueError, match="bring the arm home first"):
        machine.begin(measured(low), block())
    assert machine.done


@pytest.mark.parametrize("lost", [0.0, 0.4, 3.0])
def test_the_guard_turns_back_from_where_the_plan_is_by_now_also_when_measurements_were_lost(
    panda: RobotProfile, lost: float
) -> None:
    machine, now = begun(panda)
    machine.decide(down(), now)
    for k in range(15):
        command = machine.command(now)
        now = measured(command.motion.points[0], stamp=(k + 1) * panda.control_period)
    where = state_at(command.motion, (1.0 + lost) * panda.control_period, panda.control_period)
    hit = measured(where.positions, stamp=now.stamp + lost * panda.control_period, **HIT)
    retreat = machine.command(hit).motion
    for part in ("positions", "velocities", "accelerations"):
        assert np.allclose(getattr(retreat.start, part), getattr(where, part), atol=1e-9)
    assert np.abs(retreat.start.velocities).max() > 0.1 and machine.refusals == 0


def test_a_plan_goes_on_where_it_is_by_now_when_measurements_were_lost(panda: RobotProfile) -> None:
    machine, now = begun(panda)
    machine.decide(MIDDLE, now)
    first = machine.command(now)
    later = measured(first.motion.points[3], stamp=4 * panda.control_period)
    assert np.array_equal(machine.command(later).motion.points, first.motion.points[4:])
    assert machine.refusals == 0


@pytest.mark.parametrize("phase", list(Phase))
def test_a_decision_of_a_moving_arm_begins_with_its_motion(panda: RobotProfile, phase: Phase) -> None:
    machine, now = at_phase(panda, phase)
    moving = replace(now, joint_velocities=0.2 * panda.velocity * np.array([1, -1, 1, -1, 1, -1, 1]))
    done, _ = carry_out(machine, MIDDLE, moving)
    assert np.array_equal(done[0][1].motion.start.velocities, moving.joint_velocities) and machine.refusals == 0
    assert all(broken_limits(panda, command, before) == [] for before, command in done)
    still, _ = carry_out(at_phase(panda, phase)[0], MIDDLE, replace(now, joint_velocities=np.zeros(7)))
    wanted, reached = (panda.chain.forward(c[-1][1].motion.points[-1])[0] for c in (still, done))
    assert np.allclose(wanted, reached, atol=1e-3), "and comes to what was decided"


def at_phase(panda: RobotProfile, phase: Phase) -> tuple[TrialMachine, Measurement]:
    machine, now = begun(panda)
    for _ in range(phase):
        _, now = carry_out(machine, MIDDLE, now)
    return machine, now


def test_a_trial_starts_at_rest_only(panda: RobotProfile) -> None:
    machine = TrialMachine(panda)
    with pytest.raises(ValueError, match=r"joint panda_joint2 moves at 0\.10 rad/s; a trial starts at rest"):
        machine.begin(measured(panda.home, joint_velocities=np.array([0, -0.1, 0, 0, 0, 0, 0.0])), block())
    assert machine.done


def test_what_follows_a_stop_that_was_refused_itself_begins_with_the_motion_that_is_left(panda: RobotProfile) -> None:
    """Somebody turns the hand in the middle of a motion and of the stop that follows."""
    machine, now = begun(panda)
    machine.decide(MIDDLE, now)
    velocities = np.zeros(7)
    while machine.refusals < 2:
        assert (command := machine.command(now)) is not None
        step = np.where(np.arange(7) == 6, 0.9 * LAG * panda.velocity * panda.control_period, 0.0)
        velocities = step / panda.control_period / LAG
        now = measured(now.joint_positions + step, stamp=now.stamp + 0.05, joint_velocities=velocities)
    assert machine.command(now) is None and machine.phase is Phase.CLOSE
    machine.decide(MIDDLE, now)
    command = machine.command(now)
    assert command is not None and machine.refusals == 2, machine.last_refusal
    assert np.array_equal(command.motion.start.velocities, velocities)


@pytest.mark.parametrize("follow", [0.3, 0.6])
def test_an_arm_that_lags_behind_reaches_its_place_before_the_next_decision(panda: RobotProfile, follow: float) -> None:
    machine, now = begun(panda)
    _, after = carry_out(machine, down(0.05, 0.1), now, follow=follow)
    assert np.abs(after.joint_velocities).max() <= MOVING_SPEED
    reached = panda.chain.forward(after.joint_positions)[0]
    assert np.allclose(reached, [0.55, 0.0, 0.1], atol=0.008) and machine.refusals == 0
    # It is not waited for for ever, and what is in its way is felt until then.
    machine, now = begun(panda)
    moving = {"joint_velocities": np.full(7, 0.2)}
    plan = len(carry_out(machine, MIDDLE, now)[0])
    machine, now = begun(panda)
    done, _ = carry_out(machine, MIDDLE, now, lambda k, _: moving)
    assert 0 < len(done) - plan <= SETTLING_PERIODS
    machine, now = begun(panda)
    done, after = carry_out(machine, MIDDLE, now, lambda k, _: moving | (HIT if k == plan + 2 else {}))
    assert (
        felt(machine, after, "guard_stop") == 1.0
        and done[-1][1].motion.points[0][1] < done[plan][1].motion.points[0][1]
    )
