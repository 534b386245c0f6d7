"""What the facade does about refusals, without a graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from mql_ros.grasping.robot.profile import Topics
from mql_ros.ros.bringup.client import PASSED, GraphClient, GraphError
from mql_ros.ros.driver.command_publisher import NO_SUBSCRIBER, NOT_FRESH
from mql_ros.ros.driver.permission import NO_SIMULATOR


class RefusedClient(GraphClient):
    """Is refused with these sentences, one after the other, before trials start; joint states go on coming."""

    def __init__(self, refusals: list[str]) -> None:
        self.counts, self.state, self.refusals = Counter(), {"starts": 3}, refusals
        self.topics = Topics()

    def call(self, service: str, **unused: Any) -> str:
        if self.refusals:
            raise GraphError(f"{service}: {self.refusals.pop(0)}")
        self.state["starts"] += 1
        return "session 1"

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        self.counts["joint_states"] += 1
        assert condition() and seconds == PASSED


@pytest.mark.parametrize(
    "words", [NOT_FRESH, f"{NO_SIMULATOR} subscribes to arm_controller", f"{NO_SUBSCRIBER} arm_controller"]
)
def test_refusals_that_pass_by_themselves_are_waited_for(words: str) -> None:
    client = RefusedClient([f"sim:=true, but {words}; stop that", words])
    assert client.start(new_session=True)() and client.counts["joint_states"] == 2


def test_they_are_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr("mql_ros.ros.bringup.client.time.monotonic", lambda: float(next(now)))
    client = RefusedClient([NOT_FRESH] * 100)
    with pytest.raises(GraphError, match="no joint_states"):
        client.start()
    assert client.counts["joint_states"] == 2


def test_other_refusals_are_raised_at_once() -> None:
    client = RefusedClient(["the arm is held"])
    with pytest.raises(GraphError, match="policy_server/start_trials: the arm is held"):
        client.start()
    assert not client.counts
