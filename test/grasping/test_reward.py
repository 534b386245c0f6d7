import numpy as np
import pytest
from helpers.grasping import measured

from mql_ros.grasping.task.reward import GraspReward, RewardConfig
from mql_ros.grasping.types import Measurement

C = RewardConfig()
GUARD = 15.0
PER = pytest.approx(C.period)


def at(height: float = 0.0, effort: float = 0.0, width: float = 0.08, force: float = 0.0) -> Measurement:
    return measured(
        np.zeros(7),
        object_position=np.array([0.5, 0.0, 0.01 + height]),
        finger_effort=effort,
        finger_width=width,
        contact_force=np.array([0.0, 0.0, -force]),
    )


def held(height: float) -> Measurement:
    return at(height, effort=5.0, width=0.03)


def begun() -> GraspReward:
    reward = GraspReward(GUARD)
    reward.begin(at())
    return reward


def test_the_reward_is_slightly_negative_in_every_period() -> None:
    reward = begun()
    assert [reward.step(at()) for _ in range(3)] == [PER] * 3


def test_the_reward_for_touching_with_both_pads_is_paid_once() -> None:
    reward = begun()
    assert reward.step(held(0.0)) == pytest.approx(C.period + C.touch)
    assert reward.step(held(0.0)) == PER
    assert reward.step(at(effort=0.2, width=0.03)) == PER, "too weak to count as held"


def test_the_reward_for_height_is_paid_for_the_best_so_far() -> None:
    reward = begun()
    reward.step(held(0.0))
    assert reward.step(held(0.02)) == pytest.approx(C.period + C.height * 0.4)
    assert reward.step(held(0.01)) == PER, "going down costs nothing and going up again earns nothing"
    assert reward.step(held(0.02)) == PER
    assert reward.step(held(0.03)) == pytest.approx(C.period + C.height * 0.2)
    assert reward.step(at(height=0.04)) == PER, "an object that is not held earns nothing by being high"


def test_the_reward_for_holding_the_object_up_is_paid_once() -> None:
    reward = begun()
    reward.step(held(0.05))
    assert reward.step(held(0.06)) == PER
    assert reward.step(held(0.06)) == pytest.approx(C.period + C.lifted)
    assert reward.step(held(0.06)) == PER


def test_the_reward_for_holding_the_object_up_needs_consecutive_periods() -> None:
    reward = begun()
    earned = [reward.step(held(h)) for h in (0.06, 0.06, 0.03, 0.06, 0.06)]
    assert max(earned) < C.lifted
    assert reward.step(held(0.06)) == pytest.approx(C.period + C.lifted)


def test_the_penalty_for_losing_the_grip_is_paid_once() -> None:
    reward = begun()
    reward.step(held(0.0))
    shut = at(width=0.001)
    assert reward.step(shut) == pytest.approx(C.period + C.lost)
    assert reward.step(shut) == PER


def test_dropping_what_was_lifted_takes_its_reward_back() -> None:
    reward = begun()
    for _ in range(3):
        reward.step(held(0.06))
    assert reward.step(at(width=0.001)) == pytest.approx(C.period + C.lost - C.lifted)


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


def test_a_perfect_trial_earns_about_one() -> None:
    reward = begun()
    heights = [0.0] * 10 + [0.02, 0.04, 0.06, 0.08, 0.10]
    assert sum(reward.step(held(h)) for h in heights) == pytest.approx(1.0, abs=0.05)


def test_the_reward_of_each_trial_starts_afresh() -> None:
    reward = begun()
    first = [reward.step(held(h)) for h in (0.0, 0.06, 0.06, 0.06)]
    reward.begin(at())
    assert [reward.step(held(h)) for h in (0.0, 0.06, 0.06, 0.06)] == first


def test_a_reward_step_before_begin_raises() -> None:
    with pytest.raises(RuntimeError, match="begin"):
        GraspReward(GUARD).step(at())
