"""What may be changed while the policy server runs."""

from typing import Any

import pytest

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.ros.driver.limit_changes import refused_limit


def refusal(panda: RobotProfile, name: str, value: Any, sim: bool = False) -> str | None:
    present = {"sim": sim, "watchdog": 0.1, "stale_after": 0.5, "limit_scale": 1.0, "force_limit": 1000.0}
    return refused_limit(TrialMachine(panda), present.__getitem__, name, value)


@pytest.mark.parametrize(("seconds", "sim", "allowed"), [(1.0, False, True), (1.1, False, False), (60.0, True, True)])
def test_a_real_arm_is_not_left_alone_for_long_between_two_decisions(
    panda: RobotProfile, seconds: float, sim: bool, allowed: bool
) -> None:
    sentence = refusal(panda, "context_deadline", seconds, sim)
    assert (sentence is None) == allowed
    assert allowed or "context_deadline can be at most 1 s on a real arm" in str(sentence)


@pytest.mark.parametrize(("name", "present"), [("stale_after", 0.5), ("watchdog", 0.1)])
def test_how_old_inputs_may_be_is_only_lowered(panda: RobotProfile, name: str, present: float) -> None:
    assert refusal(panda, name, present) is None and refusal(panda, name, 0.5 * present) is None
    assert f"{name} can only be lowered while the node runs" in str(refusal(panda, name, 60.0))
