"""The check's own motions, with an arm whose motion a test chooses."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mql_ros.grasping.driver_check import motion_checks as motions
from mql_ros.grasping.driver_check.checks import JointRecord
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.bringup import robot_checker
from mql_ros.ros.bringup.robot_checker import CheckTimes, HeldError, RobotChecker

PROFILE = load_profile("panda")
JOINT = 6


class HeldArm(RobotChecker):
    """An arm at home that was held; `way` [n] (rad) is how far it gets within that second."""

    def __init__(self, way: np.ndarray, silent: bool = False) -> None:
        self._profile, self._times, self._announce = PROFILE, CheckTimes(), lambda text: None
        self._way, self._silent, self.holds, self.time = way, silent, 0, 0.0
        self._silence_limit = robot_checker.SILENT

    def _measurement(self) -> Any:
        return SimpleNamespace(joint_positions=PROFILE.home)

    def _plan(self, start: Any, joint: int, way: float, seconds: float) -> Any:
        return motions.plan_nudge(PROFILE, start, joint, way, seconds), way

    def _follow(self, motion: Any, seconds: float) -> float:
        return 0.0

    def _forget(self) -> None:
        pass

    def _hold(self) -> None:
        self.holds += 1

    def _now(self) -> float:
        return self.time

    def _spin(self, seconds: float) -> None:
        self.time += seconds

    def _newest(self) -> Any:
        at = 0.0 if self._silent else self.time
        return at, SimpleNamespace(positions=PROFILE.home + self._way * min(self.time, 1.0))

    def _record(self) -> JointRecord:
        times = np.linspace(0.0, min(self.time, 1.0), 20)
        positions = PROFILE.home + times[:, None] * self._way
        return JointRecord(times, times, positions, 0 * positions, np.full(20, 0.08))


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[HeldArm]:
    """The checker's clock is that of the arm."""
    arms: list[HeldArm] = []
    monkeypatch.setattr(robot_checker.time, "monotonic", lambda: arms[0].time)
    return arms


def test_an_arm_that_stops_in_time_passes(clock: list[HeldArm]) -> None:
    clock.append(HeldArm(0.01 * np.eye(7)[JOINT]))
    assert clock[0].stopping(JOINT).passed and clock[0].holds == 1


def test_an_arm_that_goes_on_after_a_hold_is_held_again_at_once(clock: list[HeldArm]) -> None:
    clock.append(HeldArm(1.0 * np.eye(7)[JOINT]))
    assert not clock[0].stopping(JOINT).passed
    assert clock[0].holds == 2 and clock[0].time < 0.3


def test_another_joint_or_silence_after_a_hold_ends_the_check(clock: list[HeldArm]) -> None:
    clock.append(HeldArm(1.0 * np.eye(7)[2]))
    with pytest.raises(HeldError, match="panda_joint3 left its course"):
        clock[0].stopping(JOINT)
    clock[:] = [HeldArm(np.zeros(7), silent=True)]
    with pytest.raises(HeldError, match=r"no joint_states came for 0\.25 s"):
        clock[0].stopping(JOINT)
