import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mql_ros.grasping.task import spaces

WITHIN = st.floats(-1.0, 1.0)


@given(entries=arrays(float, 4, elements=WITHIN))
def test_grasps_survive_the_action_space(entries: np.ndarray) -> None:
    x, y, z, yaw = spaces.grasps_of(np.concatenate([entries, np.zeros(2)]))
    assert abs(x) <= spaces.REACH and abs(y) <= spaces.REACH
    assert spaces.Z_LOW - 1e-12 <= z <= spaces.Z_HIGH + 1e-12 and abs(yaw) <= np.pi / 2
    again = spaces.grasps_of(spaces.grasp_action(x, y, z, yaw))
    assert np.allclose(again[:3], [x, y, z], atol=1e-12)
    assert abs(np.sin(again[3] - yaw)) < 1e-9, "up to half a turn"


@given(yaw=st.floats(-10.0, 10.0))
def test_half_a_turn_of_the_gripper_is_the_same_grasp(yaw: float) -> None:
    there, turned = (spaces.grasps_of(spaces.grasp_action(0.0, 0.0, 0.1, way))[3] for way in (yaw, yaw + np.pi))
    assert abs(np.sin(turned - there)) < 1e-9 and abs(np.sin(there - yaw)) < 1e-9


@given(force=WITHIN, speed=WITHIN)
def test_forces_and_speeds_survive_the_action_space(force: float, speed: float) -> None:
    action = np.array([0.0, 0.0, 0.0, 0.0, force, speed])
    newton, metres = spaces.force_from_action(action), spaces.speed_from_action(action)
    assert np.allclose(spaces.lifting_action(newton, metres), action, atol=1e-12)
    assert spaces.closing_action(0.0, 0.0, 0.0, newton)[spaces.FORCE] == pytest.approx(force)
    assert spaces.FORCE_LOW <= newton <= spaces.FORCE_HIGH * (1 + 1e-12)
    assert spaces.SPEED_LOW <= metres <= spaces.SPEED_HIGH


def test_actions_out_of_range_are_clipped() -> None:
    assert spaces.grasp_action(1.0, -1.0, 9.0, 0.0).tolist() == [1.0, -1.0, 1.0, 0.0, 0.0, 0.0]
    assert spaces.closing_action(-1.0, 1.0, -1.0, 1000.0).tolist() == [-1.0, 1.0, -1.0, 0.0, 1.0, 0.0]
    assert spaces.lifting_action(0.1, 0.0).tolist() == [0.0, 0.0, 0.0, 0.0, -1.0, -1.0]
    wild = np.array([3.0, -3.0, 0.5, 0.0, 1e300, -1e300])
    assert spaces.sanitized(wild).tolist() == [1.0, -1.0, 0.5, 0.0, 1.0, -1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        spaces.sanitized(np.array([0.0, bad, 0.0, 0.0, 0.0, 0.0]))


@given(heights=arrays(np.float32, (spaces.VIEW_CELLS, spaces.VIEW_CELLS), elements=st.floats(0.0, 0.3125, width=32)))
def test_a_view_holds_heights_to_a_millimetre(heights: np.ndarray) -> None:
    entries = spaces.view_entries(heights)
    again = spaces.heights_of(entries)
    assert np.abs(again - np.minimum(heights, 0.255)).max() <= 0.0005 + 1e-6
    assert np.array_equal(spaces.view_entries(again), entries), "one byte holds a cell: no second rounding"


def test_the_spaces_are_those_of_shipped_policies() -> None:
    """A change here makes every policy bundle unusable: it needs a new TASK_NAME."""
    assert spaces.TASK_NAME == "grasp-seen-1"
    assert spaces.ACTION_NAMES == ("x", "y", "z", "yaw", "force", "speed")
    assert spaces.SIGNAL_SIZE == len(set(spaces.SIGNAL_NAMES)) == 22
    assert (spaces.VIEW_CELLS, spaces.CELL, spaces.VIEW_SCALE) == (32, 0.005, 0.1)
    assert spaces.OBSERVATION_SIZE == 32 * 32 + 22
    assert (spaces.REACH, spaces.Z_LOW, spaces.Z_HIGH, spaces.CORRECTION) == (0.09, 0.005, 0.305, 0.02)
    assert (spaces.FORCE_LOW, spaces.FORCE_HIGH) == (1.0, 40.0)
    assert (spaces.SPEED_LOW, spaces.SPEED_HIGH, spaces.LIFT_HEIGHT) == (0.12, 0.40, 0.12)
