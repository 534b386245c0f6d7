"""Limits that are tightened before a trial and in the middle of a motion."""

import numpy as np
import pytest
from helpers.grasping import block, broken_limits, carry_out, measured

from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.task.trial import TrialMachine


@pytest.mark.slow
def test_safety_limits_can_only_be_tightened(panda: RobotProfile) -> None:
    machine = TrialMachine(panda)
    machine.tighten(0.5, 10.0)
    with pytest.raises(ValueError, match="can only be tightened"):
        machine.tighten(0.6, 10.0)
    with pytest.raises(ValueError, match="can only be tightened"):
        machine.tighten(0.5, 20.0)
    assert np.allclose(machine.profile.velocity, 0.5 * panda.velocity) and machine.profile.max_force == 10.0
    start = measured(panda.home)
    machine.begin(start, block())
    for action in (np.array([0.3, -0.2, -0.5, 0.2, 0, 0]), np.array([0.5, 0.5, 0.2, 0, 1.0, 0]), np.ones(6)):
        done, start = carry_out(machine, action, start)
        for before, command in done:
            assert broken_limits(machine.profile, command, before) == []
    assert machine.refusals == 0


@pytest.mark.parametrize("phase", list(Phase))
def test_limits_that_are_tightened_in_a_motion_stop_it_where_it_breaks_them(panda: RobotProfile, phase: Phase) -> None:
    for scale, stops in ((0.999, False), (0.1, True)):
        machine, now = TrialMachine(panda), measured(panda.home)
        machine.begin(now, block())
        for _ in range(phase):
            _, now = carry_out(machine, np.zeros(6), now)
        machine.decide(np.array([0.0, 0.9, 0.9, 0.0, 0.0, 0.0]), now)
        for _ in range(4):
            before = machine.command(now)
            assert before is not None
            moves = before.motion.velocities[0]
            stamp = now.stamp + panda.control_period
            now = measured(before.motion.points[0], stamp=stamp, joint_velocities=moves)
        machine.tighten(scale, 40.0)
        after = machine.command(now)
        assert after is not None and machine.refusals == stops
        if not stops:
            assert np.array_equal(after.motion.points, before.motion.points[1:])
            continue
        assert machine.last_refusal.endswith("since limits were tightened")
        assert len(after.motion.points) < min(6, len(before.motion.points))
        assert broken_limits(panda, after, now) == [], "with the arm's own limits"
        machine.tighten(0.5 * scale, 40.0)
        for k in range(1, len(after.motion.points)):
            stamp += panda.control_period
            following = machine.command(measured(after.motion.points[k - 1], stamp=stamp))
            assert following is not None and np.array_equal(following.motion.points, after.motion.points[k:])
        assert machine.refusals == 1, "the stop is followed to its end"


def test_a_force_that_a_limit_has_lowered_is_what_is_recorded(panda: RobotProfile) -> None:
    machine, now = TrialMachine(panda), measured(panda.home)
    machine.begin(now, block())
    machine.tighten(1.0, 20.0)
    _, now = carry_out(machine, np.array([0.0, 0.0, 0.3, 0.0, 1.0, 0.0]), now)
    assert machine.executed[spaces.FORCE] == 1.0, "nothing is pressed yet"
    machine.decide(np.array([0.1, 0.2, 0.3, 0.0, 1.0, 0.4]), now)
    assert spaces.force_from_action(machine.executed) == pytest.approx(20.0)
    machine.tighten(1.0, 5.0)
    assert spaces.force_from_action(machine.executed) == pytest.approx(5.0)
    assert np.array_equal(machine.executed[[0, 1, 2, 5]], [0.1, 0.2, 0.3, 0.4])
    command = machine.command(now)
    assert command is not None and command.finger_force == 5.0 and machine.refusals == 0


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.3, 0.1, 0.05])
@pytest.mark.parametrize("robot", ["panda", "iiwa", "ur5e"])
def test_a_small_limit_scale_only_stretches_motions_in_time(robot: str, scale: float) -> None:
    profile = load_profile(robot)
    rng, ends = np.random.default_rng(1), []
    for limited in (1.0, scale):
        machine = TrialMachine(profile)
        machine.tighten(limited, 40.0)
        now = measured(profile.home)
        machine.begin(now, block(*profile.home_position[:2]))
        for _ in range(3):
            done, now = carry_out(machine, rng.uniform(-0.7, 0.7, size=6), now)
            assert broken_limits(machine.profile, *done[0][::-1]) == []
        assert machine.refusals == 0, machine.last_refusal
        rng = np.random.default_rng(1)
        ends.append(profile.chain.forward(now.joint_positions)[0])
    assert np.allclose(*ends, atol=2e-3)


def test_a_decision_of_an_arm_that_is_faster_than_a_tightened_limit_is_a_stop_from_its_true_speed(
    panda: RobotProfile,
) -> None:
    machine, now = TrialMachine(panda), measured(panda.home)
    machine.begin(now, block())
    machine.tighten(0.3, 40.0)
    moving = measured(panda.home, joint_velocities=0.5 * panda.velocity)
    machine.decide(np.zeros(6), moving)
    command = machine.command(moving)
    assert command is not None and machine.refusals == 1 and "would reach a speed of" in machine.last_refusal
    assert np.array_equal(command.motion.start.velocities, moving.joint_velocities) and len(command.motion.points) < 10
