import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.grasping.motion.kinematics import quaternion_to_matrix, rotation_from_rpy, tool_down, yaw_of
from mql_ros.grasping.robot.profile import RobotProfile

UNIT = st.floats(0.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(share=st.lists(UNIT, min_size=3, max_size=3), yaw=st.floats(-1.5, 1.5))
def test_inverse_brings_the_tool_where_it_is_wanted(panda: RobotProfile, share: list[float], yaw: float) -> None:
    # The part of the box that trials reach: its far upper corners are beyond the arm with the tool pointing down.
    lower, upper = np.array([0.35, -0.2, 0.015]), np.array([0.66, 0.2, 0.42])
    position = lower + np.array(share) * (upper - lower)
    joints, error = panda.chain.inverse(position, tool_down(yaw), panda.home, iterations=100)
    reached, turn = panda.chain.forward(joints)
    assert error < 1e-3
    assert np.allclose(reached, position, atol=1e-3)
    assert np.allclose(turn, tool_down(yaw), atol=5e-3)
    assert (joints >= panda.lower).all() and (joints <= panda.upper).all()


def test_inverse_stays_within_limits_out_of_reach(panda: RobotProfile) -> None:
    joints, error = panda.chain.inverse(np.array([2.0, 0.0, 2.0]), tool_down(0.0), panda.home, iterations=100)
    assert error > 0.5
    assert np.isfinite(joints).all()
    assert (joints >= panda.lower).all() and (joints <= panda.upper).all()


def test_positions_are_those_of_forward(panda: RobotProfile) -> None:
    joints = np.random.default_rng(0).uniform(panda.lower, panda.upper, size=(20, 7))
    one_by_one = np.array([panda.chain.forward(row)[0] for row in joints])
    assert np.allclose(panda.chain.positions(joints), one_by_one, atol=1e-12)


def test_home_is_where_the_profile_says(panda: RobotProfile) -> None:
    position, turn = panda.chain.forward(panda.home)
    assert np.allclose(position, panda.home_position, atol=1e-3)
    assert np.allclose(turn, tool_down(0.0), atol=5e-3)


@pytest.mark.parametrize("yaw", [-2.0, 0.0, 0.4])
def test_yaw_survives_the_quaternion(yaw: float) -> None:
    quaternion = np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)])
    assert yaw_of(quaternion) == pytest.approx(yaw)
    assert np.allclose(quaternion_to_matrix(quaternion), rotation_from_rpy(0.0, 0.0, yaw))
