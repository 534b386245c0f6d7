"""Who may be moved, and by whom: what the policy server asks before trials begin."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mql_ros.grasping.driver_check.checks import IMAGE_AGE, Verdict
from mql_ros.grasping.driver_check.report import make_report
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.ros.base.parameters import parameter_table
from mql_ros.ros.bringup.node_table import implied_parameters, usual_watchdog
from mql_ros.ros.driver import permission
from mql_ros.ros.driver.permission import check_refusal, has_simulator, tighten_limit

PROFILE = load_profile("panda")
SIMULATOR, CLIENT, DRIVER = "arm_simulator", "mql_client", "controller_manager"


class FakeNode:
    """A policy server with these nodes at the arm's topics, and these settings."""

    def __init__(self, subscribers: str, publishers: str, commanders: str = "policy_server", **settings: Any) -> None:
        self.setting = {"sim": True, "require_check": False, **settings}.get
        self.names = {"subscribers": subscribers, "publishers": publishers, "commanders": commanders}
        self.warnings: list[str] = []

    def get_name(self) -> str:
        return "policy_server"

    def get_namespace(self) -> str:
        return "/"

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def forget_old_warnings(self, seconds: float) -> None:
        assert seconds == 0.0

    def get_subscriptions_info_by_topic(self, topic: str) -> list[SimpleNamespace]:
        assert topic == PROFILE.topics.arm_command
        return self._infos("subscribers")

    def get_publishers_info_by_topic(self, topic: str) -> list[SimpleNamespace]:
        return self._infos("publishers" if topic == PROFILE.topics.joint_states else "commanders")

    def _infos(self, end: str) -> list[SimpleNamespace]:
        return [SimpleNamespace(node_name=name, node_namespace="/") for name in self.names[end].split()]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(permission, "DISCOVERY", 0.0)
    yield


def refusal(*ends: str, **settings: Any) -> str | None:
    node: Any = FakeNode(*ends, **settings)
    return check_refusal(node, PROFILE)


def test_the_simulator_alone_is_moved_as_a_simulation() -> None:
    assert refusal(SIMULATOR, SIMULATOR) is None
    assert refusal(f"{SIMULATOR} {CLIENT}", SIMULATOR) is None


def test_the_simulator_is_found_by_the_name_of_its_node() -> None:
    assert has_simulator({"joint_states": [DRIVER], "wrench": [SIMULATOR]})
    assert not has_simulator({"joint_states": [DRIVER], "wrench": []})


@pytest.mark.parametrize(
    ("subscribers", "publishers", "words"),
    [
        (f"{SIMULATOR} {DRIVER}", SIMULATOR, "controller_manager would be commanded too, by arm_controller/joint_traj"),
        (DRIVER, SIMULATOR, "controller_manager would be commanded too"),
        (f"{SIMULATOR} _NODE_NAME_UNKNOWN_", SIMULATOR, "a node of unknown name would be commanded too"),
        (SIMULATOR, f"{SIMULATOR} {DRIVER}", "joint_states is published by controller_manager"),
        (SIMULATOR, "", "no arm_simulator publishes joint_states"),
        (CLIENT, SIMULATOR, "no arm_simulator subscribes to arm_controller/joint_trajectory"),
        ("", "", "no arm_simulator subscribes to"),
    ],
)
def test_a_simulation_that_may_move_a_real_arm_is_refused(subscribers: str, publishers: str, words: str) -> None:
    sentence = refusal(subscribers, publishers)
    assert sentence is not None and sentence.startswith("sim:=true moves the simulator only, but ")
    assert words in sentence and "ROS_DOMAIN_ID" in sentence and "\n" not in sentence


@pytest.mark.parametrize("other", ["check_robot", "policy_server"])
def test_nobody_else_may_command_a_real_arm(other: str) -> None:
    assert refusal(DRIVER, DRIVER, "policy_server", sim=False) is None
    sentence = refusal(DRIVER, DRIVER, f"policy_server {other}", sim=False)
    assert sentence == f"arm_controller/joint_trajectory is published by {other} too; stop that before trials begin"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, None),
        ({"limit_scale": 0.9}, "limit_scale may be at most 0.87; set it"),
        ({"watchdog": 0.06}, "joint_states came up to 0.06 s apart"),
        ({"use_wrench": True}, "publishes no wrench; set use_wrench:=false"),
    ],
)
def test_parameters_must_go_with_what_the_check_found(
    settings: dict[str, Any], words: str | None, tmp_path: Path
) -> None:
    found = {"wrench": {"published": False}, "latency": {"limit_scale": 0.87}, "gaps and jitter": {"longest": 0.06}}
    verdicts = [Verdict(check, True, "", figures) for check, figures in found.items()]
    report = make_report(PROFILE, "", {"joint_states": [DRIVER]}, verdicts, complete=True, simulator=False)
    path = tmp_path / "check.json"
    path.write_text(json.dumps(report))
    given = {"sim": False, "require_check": True, "check_report": str(path), "robot": "panda", "use_wrench": False}
    sentence = refusal(DRIVER, DRIVER, **{**given, "limit_scale": 0.8, "watchdog": 0.1, **settings})
    assert sentence is None if words is None else sentence is not None and words in sentence


def test_the_override_is_said_at_every_start_on_hardware() -> None:
    for sim, warnings in ((False, 2), (True, 0)):
        name = SIMULATOR if sim else DRIVER
        node: Any = FakeNode(name, name, sim=sim)
        assert check_refusal(node, PROFILE) is check_refusal(node, PROFILE) is None
        assert len(node.warnings) == warnings and all("require_check:=false" in text for text in node.warnings)


def test_the_limits_are_those_of_the_policy_server() -> None:
    defaults = {name: spec.default for name, spec in parameter_table()["policy_server"].items()}
    assert defaults["stale_after"] > IMAGE_AGE and defaults["watchdog"] == usual_watchdog(sim=False) == 0.1
    assert usual_watchdog(sim=True) == implied_parameters("policy_server", sim=True)["watchdog"]


def refused_change(panda: RobotProfile, name: str, value: Any, sim: bool = False) -> str | None:
    present = {"sim": sim, "watchdog": 0.1, "stale_after": 0.5, "limit_scale": 1.0, "force_limit": 1000.0}
    return tighten_limit(TrialMachine(panda), present.__getitem__, name, value)


@pytest.mark.parametrize(("seconds", "sim", "allowed"), [(1.0, False, True), (1.1, False, False), (60.0, True, True)])
def test_a_real_arm_is_not_left_alone_for_long_between_two_decisions(
    panda: RobotProfile, seconds: float, sim: bool, allowed: bool
) -> None:
    sentence = refused_change(panda, "context_deadline", seconds, sim)
    assert (sentence is None) == allowed
    assert allowed or "context_deadline can be at most 1 s on a real arm" in str(sentence)


@pytest.mark.parametrize(("name", "present"), [("stale_after", 0.5), ("watchdog", 0.1)])
def test_how_old_inputs_may_be_is_only_lowered(panda: RobotProfile, name: str, present: float) -> None:
    assert refused_change(panda, name, present) is None and refused_change(panda, name, 0.5 * present) is None
    assert f"{name} can only be lowered while the node runs" in str(refused_change(panda, name, 60.0))
