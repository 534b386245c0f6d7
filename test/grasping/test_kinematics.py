import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transforms3d.axangles import axangle2mat
from transforms3d.euler import euler2mat
from transforms3d.quaternions import axangle2quat, quat2mat

from mql_ros.grasping.motion.kinematics import (
    quaternion_to_matrix,
    rotation_vector,
    small_rotation,
    tool_down,
    yaw_of,
)
from mql_ros.grasping.robot.profile import RobotProfile

UNIT = st.floats(0.0, 1.0)
ANGLE = st.floats(-np.pi, np.pi)


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
    assert np.allclose(quaternion_to_matrix(quaternion), euler2mat(0.0, 0.0, yaw))


def about(k: int, angle: float) -> np.ndarray:
    """Rotation matrix [3, 3] about axis k of the base frame."""
    return axangle2mat(np.eye(3)[k], angle)


@given(roll=ANGLE, pitch=ANGLE, yaw=ANGLE)
def test_roll_pitch_and_yaw_turn_about_fixed_axes_as_urdf_wants(roll: float, pitch: float, yaw: float) -> None:
    expected = about(2, yaw) @ about(1, pitch) @ about(0, roll)
    assert np.abs(euler2mat(roll, pitch, yaw) - expected).max() < 1e-12


@given(axis=st.tuples(ANGLE, ANGLE, ANGLE).filter(lambda axis: np.linalg.norm(axis) > 0.1), angle=ANGLE)
def test_the_fast_rotations_are_those_of_transforms3d(axis: tuple[float, ...], angle: float) -> None:
    quaternion = axangle2quat(axis, angle)
    assert np.abs(quaternion_to_matrix(np.roll(quaternion, -1)) - quat2mat(quaternion)).max() < 1e-12
    assert np.abs(tool_down(angle) - about(2, angle) @ np.diag([1.0, -1.0, -1.0])).max() < 1e-12
    small = axangle2mat(axis, angle / 4.0)
    assert np.abs(small_rotation(rotation_vector(small)) - small).max() < 1e-12
