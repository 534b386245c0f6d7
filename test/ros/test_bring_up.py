"""Bringing a node up where answers are lost."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.task import Future

from mql_ros.core.errors import UserError
from mql_ros.ros.bringup import bring_up
from mql_ros.ros.bringup.bring_up import BringUp

STEPS = {
    (State.PRIMARY_STATE_UNCONFIGURED, Transition.TRANSITION_CONFIGURE): State.PRIMARY_STATE_INACTIVE,
    (State.PRIMARY_STATE_INACTIVE, Transition.TRANSITION_ACTIVATE): State.PRIMARY_STATE_ACTIVE,
}


class FakeNode:
    """Stands in for the node that asks, and for the one that is asked, which carries out what it answers or not."""

    def __init__(self, lost: dict[type, int], sound: bool = True) -> None:
        self.state, self.sound = State.PRIMARY_STATE_UNCONFIGURED, sound
        self.lost = Counter(lost)
        """How many answers are still to be lost, by kind of service."""

    def create_client(self, kind: type, name: str) -> Any:
        methods = {
            "service_is_ready": lambda _: True,
            "call_async": lambda _, request: self._ask(kind, request),
            "remove_pending_request": lambda _, future: None,
        }
        return type("Client", (), methods)()

    def _ask(self, kind: type, request: Any) -> Future:
        future: Future = Future()
        if kind is GetState:
            answer: Any = GetState.Response(current_state=State(id=self.state))
        else:
            reached = STEPS.get((self.state, request.transition.id)) if self.sound else None
            self.state = self.state if reached is None else reached
            answer = ChangeState.Response(success=reached is not None)
        if self.lost[kind]:
            self.lost[kind] -= 1
        else:
            future.set_result(answer)
        return future


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring_up, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(bring_up, "POLL_SECONDS", 0.001)


@pytest.mark.parametrize("kind", [GetState, ChangeState])
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_node_becomes_active_whichever_answers_are_lost(kind: type, lost: int) -> None:
    node: Any = FakeNode({kind: lost})
    assert asyncio.run(BringUp(node, ["/arm"], lambda: False).bring_up("/arm"))
    assert node.state == State.PRIMARY_STATE_ACTIVE


@pytest.mark.parametrize("lost", [0, 1])
def test_one_that_refuses_is_named(lost: int) -> None:
    node: Any = FakeNode({ChangeState: lost}, sound=False)
    with pytest.raises(UserError, match="/arm cannot be configured"):
        asyncio.run(BringUp(node, ["/arm"], lambda: False).bring_up("/arm"))
