"""Effort estimated from stall: fingers that were stopped press; those that move, stand open or are shut do not."""

from collections.abc import Iterable

import numpy as np
import pytest
from helpers.grasping import measured
from hypothesis import given
from hypothesis import strategies as st

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.finger_effort import STALL_PERIODS, STALL_SPEED, StallEffort
from mql_ros.grasping.task.reward import HELD_WIDTH, GraspReward

PANDA = load_profile("panda")
PERIOD, WIDEST = PANDA.control_period, PANDA.max_width
PLAY = STALL_SPEED * 2 * PANDA.finger_speed * STALL_PERIODS * PERIOD
"""Most that the opening of stalled fingers changes, m."""
FORCE = 7.0
CLOSING = [WIDEST] * 5 + [0.06, 0.045]
"""Openings of a hand that stands open and then closes, m."""
HELD = [0.03] * (STALL_PERIODS + 1)


def efforts(widths: Iterable[float], period: float = PERIOD, start: float = 0.0) -> list[float]:
    """Efforts (N) estimated for openings (m), one a control period."""
    estimate = StallEffort(PANDA)
    measurements = (
        measured(PANDA.home, finger_width=width, stamp=start + k * period) for k, width in enumerate(widths)
    )
    return [estimate.put(measurement, FORCE).finger_effort for measurement in measurements]


def test_fingers_that_were_stopped_press_with_the_given_force_once_they_stand_still() -> None:
    assert efforts(CLOSING + HELD) == [0.0] * (len(CLOSING) + STALL_PERIODS) + [FORCE]


@given(st.lists(st.floats(0.0, WIDEST), min_size=1, max_size=30))
def test_fingers_that_move_do_not_press(widths: list[float]) -> None:
    for k, effort in enumerate(efforts(widths)):
        recent = widths[max(0, k - STALL_PERIODS) : k + 1]
        if np.ptp(recent) > PLAY + 1e-9 or k < STALL_PERIODS:
            assert effort == 0.0


@pytest.mark.parametrize("width", [WIDEST, WIDEST - 0.0005, WIDEST + 0.001, HELD_WIDTH - 1e-6, 0.0])
def test_open_and_shut_fingers_do_not_press(width: float) -> None:
    assert not any(efforts([*CLOSING, *[width] * 20]))


def test_a_hand_that_opens_less_far_than_its_profile_says_stands_open_there() -> None:
    narrow = WIDEST - 0.004
    assert not any(efforts([*[narrow] * 10, 0.02, *[narrow] * 10]))


@pytest.mark.parametrize("start", [0.0, 1.7e9])
def test_a_grip_holds_through_lifting_though_the_object_turns_a_little(start: float) -> None:
    """Stamps of a driver that counts from 1970 are rounded to 0.2 microseconds."""
    turning = 0.03 + 0.4 * PLAY * np.sin(np.arange(40))
    assert set(efforts([*CLOSING, *HELD, *turning], start=start)[-41:]) == {FORCE}


def test_an_object_that_slips_out_ends_the_grip_at_once() -> None:
    found = efforts([*CLOSING, *HELD, 0.02, 0.001, 0.0, 0.0])
    assert found[-5:] == [FORCE, 0.0, 0.0, 0.0, 0.0]


def test_a_lost_measurement_does_not_lose_the_stall() -> None:
    assert efforts([WIDEST, 0.03, 0.03], period=(STALL_PERIODS + 2) * PERIOD) == [0.0, 0.0, FORCE]


def test_stamps_that_go_back_begin_anew() -> None:
    estimate = StallEffort(PANDA)
    for start in (5.0, 1.0):
        found = [
            estimate.put(measured(PANDA.home, finger_width=w, stamp=start + k * PERIOD), FORCE).finger_effort
            for k, w in enumerate(CLOSING + HELD)
        ]
        assert found == [0.0] * (len(CLOSING) + STALL_PERIODS) + [FORCE]


def test_a_stalled_grip_is_held_for_the_reward() -> None:
    reward, estimate = GraspReward(PANDA), StallEffort(PANDA)
    held = [
        reward.is_held(estimate.put(measured(PANDA.home, finger_width=w, stamp=k * PERIOD), 1.0))
        for k, w in enumerate(CLOSING + HELD)
    ]
    assert held == [False] * (len(held) - 1) + [True]
