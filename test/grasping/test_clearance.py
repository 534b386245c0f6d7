"""Box and clearance all along a spline, beside brute force."""

import numpy as np
import pytest
from helpers.grasping import box_room, link_room, spline_of

from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.motion.spline import motion_through
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.safety.clearance import ArmClearance
from mql_ros.grasping.types import ArmState, Motion


def test_links_keep_away_from_the_table_and_from_each_other(panda: RobotProfile) -> None:
    clearance = ArmClearance(panda)
    rng = np.random.default_rng(1)
    joints = rng.uniform(panda.lower, panda.upper, size=(300, 7))
    places = panda.chain.joint_positions(joints)
    frames = np.array([[panda.chain.frames(q)[0][k][:3, 3] for k in range(7)] for q in joints])
    assert np.allclose(places[:, 1:-1], frames) and np.allclose(places[:, -1], panda.chain.positions(joints))
    resting = [motion_through(q, q[None], panda.control_period) for q in joints]
    faults = [clearance.fault(motion, panda.control_period) for motion in resting]
    low = places[:, 3:-1, 2].min(axis=1) < panda.clearance.link_radius + panda.clearance.table
    assert [("of the table" in fault) for fault in faults] == low.tolist()
    folded = np.array([0.0, -1.7, 0.0, -3.0, 0.0, 0.2, 0.0])  # the hand into the upper arm
    for joints, fault in ((folded, "of each other"), (panda.home, "")):
        there = motion_through(joints, joints[None], panda.control_period)
        assert fault in clearance.fault(there, panda.control_period)


def test_box_and_clearance_hold_between_the_points_of_a_motion(panda: RobotProfile) -> None:
    """Points that are all in order, and a spline between them that is not: no controller goes from point to point."""
    clearance, period = ArmClearance(panda), panda.control_period
    near = panda.chain.inverse(np.array([0.5, 0.0, 0.012]), tool_down(0.0), panda.home, iterations=200)[0]
    above = panda.chain.inverse(np.array([0.5, 0.0, 0.05]), tool_down(0.0), near, iterations=200)[0]
    for start, way in ((near, near - above), (near, above - near)):
        swing = Motion(
            ArmState.at_rest(start), np.array([start, start]), np.array([way / period, 0 * way]), np.zeros((2, 7))
        )
        lowest = panda.chain.positions(spline_of(swing, period)(np.linspace(0.0, 2 * period, 1000)))[:, 2].min()
        assert lowest < panda.workspace_lower[2] - 0.003, "it does leave the box"
        assert "mm outside the workspace" in clearance.fault(swing, period)
    assert clearance.fault(motion_through(near, near[None], period), period) == ""


@pytest.mark.parametrize("robot", ["panda", "iiwa", "ur5e"])
def test_what_clearance_lets_pass_is_clear_at_every_moment_and_what_it_refuses_nearly_is_not(robot: str) -> None:
    """Random splines; looked at by brute force, with points on the links."""
    profile = load_profile(robot)
    clearance, period, rng = ArmClearance(profile), profile.control_period, np.random.default_rng(3)
    passed = refused = 0
    for _ in range(60):
        end = profile.home + rng.normal(size=len(profile.home)) * 0.4
        place, turn = profile.chain.forward(profile.home + rng.normal(size=len(profile.home)) * 0.6)
        end = profile.chain.inverse(np.clip(place, profile.workspace_lower, profile.workspace_upper), turn, end)[0]
        speeds = rng.normal(size=(3, len(end))) * rng.choice([0.1, 3.0])
        points = profile.home + np.array([0.3, 0.7, 1.0])[:, None] * (end - profile.home)
        speeds[-1] = 0.0
        motion = Motion(ArmState.at_rest(profile.home), points, speeds, 0 * speeds)
        positions = spline_of(motion, period)(np.linspace(0.0, 3 * period, 120))
        found = min(box_room(profile, positions) + 0.002, link_room(profile, positions))
        if clearance.fault(motion, period):
            refused += 1
            assert found < 0.002, "no doubt is left that is larger than this"
        else:
            passed += 1
            assert found > -0.0005
    assert min(passed, refused) > 5
