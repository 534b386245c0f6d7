"""What `mql check-robot` writes and when, with a checker that neither subscribes nor moves."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mql_ros.cli import check_robot
from mql_ros.core.errors import UserError
from mql_ros.grasping.driver_check.checks import Verdict
from mql_ros.grasping.driver_check.report import default_path, load_report
from mql_ros.grasping.robot.profile import load_profile

PROFILE = load_profile("panda")


class FakeChecker:
    """A sound driver, unless a test chooses another."""

    driver = "a_driver"
    ends_by: type[BaseException] | None = None

    def __init__(self, *given: object, **more: object) -> None:
        pass

    def __enter__(self) -> FakeChecker:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait_for_driver(self) -> dict[str, list[str]]:
        return {"joint_states": [self.driver], "camera/depth/image_rect_raw": [self.driver], "wrench": []}

    def no_simulator(self) -> str | None:
        return None if self.driver == "arm_simulator" else f"{self.driver} would be commanded too"

    def listen(self) -> list[Verdict]:
        return [Verdict("rate", True, "20 Hz")]

    def move(self) -> Iterator[Verdict]:
        yield Verdict("nudge", True, "moved")
        if self.ends_by is not None:
            raise self.ends_by


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeChecker]:
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    monkeypatch.setattr("mql_ros.ros.bringup.processes.check_ros", lambda: None)
    made: Any = type("Checker", (FakeChecker,), {})
    monkeypatch.setitem(sys.modules, "mql_ros.ros.bringup.robot_checker", SimpleNamespace(RobotChecker=made))
    return made


def check(*words: str) -> int:
    parser = argparse.ArgumentParser()
    check_robot.add_arguments(parser)
    return check_robot.main(parser.parse_args([*words]))


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_a_check_that_is_broken_off_while_the_arm_moves_leaves_no_report_that_counts(
    end: type[BaseException], checker: type[FakeChecker]
) -> None:
    assert check("--yes") == 0
    assert load_report(default_path("panda"), PROFILE)["complete"]
    checker.ends_by = end
    with pytest.raises(end):
        check("--yes")
    with pytest.raises(UserError, match="the driver failed: motions to their end"):
        load_report(default_path("panda"), PROFILE)
    checker.ends_by = None
    assert check("--yes") == 0
    assert load_report(default_path("panda"), PROFILE)["passed"]


def test_reports_of_hardware_in_a_namespace_and_of_the_simulator_have_places_of_their_own(
    checker: type[FakeChecker],
) -> None:
    assert check("--yes", "--namespace", "/left") == 0
    assert load_report(default_path("panda", "left"), PROFILE, "left")["driver"]["joint_states"] == ["a_driver"]
    checker.driver = "arm_simulator"
    assert check("--namespace", "left") == 0
    assert json.loads(default_path("panda", "left", simulator=True).read_text())["simulator"]
    assert not load_report(default_path("panda", "left"), PROFILE, "left")["simulator"]


def test_what_would_move_more_than_the_simulator_is_not_done_unasked(
    checker: type[FakeChecker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    checker.driver = "arm_simulator"
    monkeypatch.setattr(checker, "no_simulator", lambda self: "a_driver would be commanded too")
    with pytest.raises(UserError, match="give --yes"):
        check()
    # Somebody may be discovered only after the check has begun.
    answers = iter([None, "a_driver would be commanded too"])
    monkeypatch.setattr(checker, "no_simulator", lambda self: next(answers))
    monkeypatch.setattr(checker, "move", lambda self: pytest.fail("the arm was moved"))
    with pytest.raises(UserError, match="give --yes"):
        check()
