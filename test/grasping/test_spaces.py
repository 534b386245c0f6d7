import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Place

WITHIN = st.floats(-1.0, 1.0)


@given(x=WITHIN, z=WITHIN)
def test_places_and_corrections_survive_the_action_space(x: float, z: float) -> None:
    action = np.array([x, z, 0.0, 0.0])
    assert np.allclose(spaces.action_for(place=spaces.place_from_action(action)), action, atol=1e-12)
    assert np.allclose(spaces.action_for(correction=spaces.correction_from_action(action)), action, atol=1e-12)


@given(force=WITHIN, speed=WITHIN)
def test_forces_and_speeds_survive_the_action_space(force: float, speed: float) -> None:
    action = np.array([0.0, 0.0, force, speed])
    again = spaces.action_for(force=spaces.force_from_action(action), speed=spaces.speed_from_action(action))
    assert np.allclose(again, action, atol=1e-12)
    assert spaces.FORCE_LOW <= spaces.force_from_action(action) <= spaces.FORCE_HIGH * (1 + 1e-12)
    assert spaces.SPEED_LOW <= spaces.speed_from_action(action) <= spaces.SPEED_HIGH


def test_actions_out_of_range_are_clipped() -> None:
    action = spaces.action_for(place=Place(1.0, -1.0), force=1000.0, speed=0.0)
    assert action.tolist() == [1.0, -1.0, 1.0, -1.0]
    assert spaces.sanitized(np.array([3.0, -3.0, 0.5, 0.0])).tolist() == [1.0, -1.0, 0.5, 0.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        spaces.sanitized(np.array([0.0, bad, 0.0, 0.0]))


@pytest.mark.parametrize(
    ("height", "width", "success"), [(0.049, 0.03, False), (0.051, 0.03, True), (0.051, 0.002, False)]
)
def test_success_is_an_object_held_up(height: float, width: float, success: bool) -> None:
    observation = np.zeros(spaces.OBSERVATION_SIZE)
    observation[spaces.OBSERVATION_NAMES.index("object_height")] = height / spaces.HEIGHT_SCALE
    observation[spaces.OBSERVATION_NAMES.index("finger_width")] = width / spaces.WIDTH_SCALE - 1.0
    assert spaces.is_success(observation) is success


def test_the_spaces_are_those_of_shipped_policies() -> None:
    """A change here makes every policy bundle unusable: it wants a new TASK_NAME."""
    assert spaces.TASK_NAME == "grasp-3"
    assert spaces.OBSERVATION_SIZE == len(set(spaces.OBSERVATION_NAMES)) == 15
    assert (spaces.X_MIDDLE, spaces.X_RANGE, spaces.Z_MIDDLE, spaces.Z_RANGE) == (0.04, 0.09, 0.150, 0.135)
    assert (spaces.CORRECTION, spaces.FORCE_LOW, spaces.FORCE_HIGH) == (0.03, 1.0, 40.0)
    assert (spaces.SPEED_LOW, spaces.SPEED_HIGH, spaces.LIFT_HEIGHT) == (0.12, 0.40, 0.12)
