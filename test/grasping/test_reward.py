from functools import lru_cache

import numpy as np
import pytest
from helpers.grasping import measured

from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.reward import HELD_EFFORT, HELD_WIDTH, SUCCESS_RETURN, GraspReward, RewardConfig
from mql_ros.grasping.types import Array, Measurement

C = RewardConfig()
PANDA = load_profile("panda")
GUARD, WIDEST = PANDA.guard_force, PANDA.max_width
PER = pytest.approx(C.period)
GRIPPED = 0.05
"""Height of the tool where it grips, m."""


@lru_cache
def joints(rise: float) -> Array:
    """Joint positions [n] with the tool pointing down, so much above where it grips (m)."""
    return PANDA.chain.inverse(np.array([0.5, 0.0, GRIPPED + rise]), tool_down(0.0), PANDA.home, iterations=100)[0]


def at(rise: float = 0.0, effort: float = 0.0, width: float = 0.08, force: float = 0.0) -> Measurement:
    push = np.array([0.0, 0.0, -force])
    return measured(joints(rise), finger_effort=effort, finger_width=width, contact_force=push)


def held(rise: float) -> Measurement:
    return at(rise, effort=5.0, width=0.03)


def begun() -> GraspReward:
    reward = GraspReward(PANDA)
    reward.begin(at())
    return reward


def test_the_reward_is_slightly_negative_in_every_period() -> None:
    reward = begun()
    assert [reward.step(at()) for _ in range(3)] == [PER] * 3
    assert reward.finish(gone=True) == 0.0, "an empty table alone is no success"


def test_the_reward_for_touching_with_both_pads_is_paid_once() -> None:
    reward = begun()
    assert reward.step(held(0.0)) == pytest.approx(C.period + C.touch)
    assert reward.step(held(0.0)) == PER
    assert reward.step(at(effort=0.2, width=0.03)) == PER, "too weak to count as held"


@pytest.mark.parametrize(
    ("width", "effort", "holds"),
    [
        (HELD_WIDTH, HELD_EFFORT, True),
        (WIDEST, 40.0, True),
        (WIDEST + 0.001, 40.0, False),  # pushed open: what is wider than the gripper is not grasped
        (HELD_WIDTH - 1e-4, 40.0, False),
        (0.03, HELD_EFFORT - 0.01, False),
    ],
)
def test_what_is_held_is_between_the_pads_and_pressed(width: float, effort: float, holds: bool) -> None:
    assert begun().is_held(at(width=width, effort=effort)) is holds


def test_the_reward_for_height_is_paid_for_the_best_so_far() -> None:
    reward = begun()
    reward.step(held(0.0))
    assert reward.step(held(0.02)) == pytest.approx(C.period + C.height * 0.4, abs=1e-4)
    assert reward.step(held(0.01)) == PER, "going down costs nothing and going up again earns nothing"
    assert reward.step(held(0.02)) == PER
    assert reward.step(held(0.03)) == pytest.approx(C.period + C.height * 0.2, abs=1e-4)
    assert reward.step(at(0.06)) == PER, "fingers that hold nothing earn nothing by being high"


def test_height_counts_from_where_something_was_gripped() -> None:
    """The tool waits high above the table before it has gripped anything, and may sink while it closes."""
    reward = begun()
    reward.step(at(0.2))
    assert reward.step(held(0.02)) == pytest.approx(C.period + C.touch)
    assert reward.step(held(0.0)) == PER
    assert reward.step(held(0.05)) == pytest.approx(C.period + C.height, abs=1e-4)


@pytest.mark.parametrize(("gone", "earned"), [(True, C.lifted), (None, C.lifted), (False, 0.0)])
def test_a_lift_is_paid_at_the_end_unless_the_camera_still_sees_the_object(gone: bool | None, earned: float) -> None:
    reward = begun()
    for rise in (0.0, 0.03, 0.06):
        reward.step(held(rise))
    assert reward.finish(gone) == earned


def test_a_lift_that_is_too_low_or_lost_at_the_end_is_not_paid() -> None:
    low, lost = begun(), begun()
    for rise in (0.0, 0.04):
        low.step(held(rise))
    assert low.finish(gone=True) == 0.0
    for rise in (0.0, 0.06):
        lost.step(held(rise))
    assert lost.step(at(0.06, width=0.0)) == pytest.approx(C.period + C.lost)
    assert lost.finish(gone=True) == 0.0


def test_the_penalty_for_losing_the_grip_is_paid_once() -> None:
    reward = begun()
    reward.step(held(0.0))
    shut = at(width=0.001)
    assert reward.step(shut) == pytest.approx(C.period + C.lost)
    assert reward.step(shut) == PER


def test_closing_the_fingers_on_nothing_has_no_penalty() -> None:
    assert begun().step(at(width=0.0)) == PER


def test_the_penalty_for_hitting_something_is_paid_once() -> None:
    reward = begun()
    assert reward.step(at(force=GUARD - 0.1)) == PER
    assert reward.step(at(force=GUARD + 0.1)) == pytest.approx(C.period + C.guard)
    assert reward.step(at(force=50.0)) == PER


def test_a_heavy_object_in_the_fingers_is_no_hit() -> None:
    reward = begun()
    reward.step(held(0.0))
    assert reward.step(at(effort=5.0, width=0.03, force=50.0)) == PER


def test_a_perfect_trial_earns_about_one_and_one_without_a_lift_less_than_a_success() -> None:
    for top, gone in ((0.10, True), (0.10, False), (0.04, True)):
        reward, rises = begun(), [0.0] * 10 + [0.2 * top, 0.4 * top, 0.6 * top, 0.8 * top, top]
        total = sum(reward.step(held(rise)) for rise in rises) + reward.finish(gone)
        if top == 0.10 and gone:
            assert total == pytest.approx(1.0, abs=0.05) and total > SUCCESS_RETURN
        else:
            assert total < SUCCESS_RETURN


def test_the_reward_of_each_trial_starts_afresh() -> None:
    reward = begun()

    def trial() -> list[float]:
        return [*(reward.step(held(rise)) for rise in (0.0, 0.06, 0.06)), reward.finish(gone=True)]

    first = trial()
    reward.begin(at())
    assert trial() == first


def test_a_reward_step_before_begin_raises() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        GraspReward(PANDA).step(at())
