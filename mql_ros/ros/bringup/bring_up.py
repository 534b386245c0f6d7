"""Brings lifecycle nodes up: configured at once, active in order; launch/grasp.launch.py does it with this.

It goes by the answers of the nodes' services: the topic transition_event can be missed while a node is discovered, and
a node that is started anew has an earlier self whose services seem to be there for some seconds more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node

from mql_ros.core.errors import UserError

ANSWER_SECONDS = 2.0
"""Something that is not answered for so long is asked again: it may have gone to an earlier self."""
CHANGE_SECONDS = 60.0
"""Longest time for one transition: on a busy machine a node loads for long."""
POLL_SECONDS = 0.02
START_SECONDS = 120.0
"""Longest time until a node is configured, and from its turn until it is active."""

_NEXT = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
}
_WORDS = {Transition.TRANSITION_CONFIGURE: "configured", Transition.TRANSITION_ACTIVATE: "activated"}


class BringUp:
    """Asks through a node that somebody else spins; all waiting is asynchronous."""

    def __init__(self, node: Node, names: Sequence[str], cancelled: Callable[[], bool]) -> None:
        """`names`, fully qualified, in the order in which they become active; all ends once `cancelled`."""
        self._names, self._cancelled = list(names), cancelled
        self._active: set[str] = set()
        self._starts = dict.fromkeys(names, 0)
        # Made long before they are used, so that the nodes know where to send their answers.
        self._clients: dict[str, Any] = {
            f"{name}/{service}": node.create_client(kind, f"{name}/{service}")
            for name in names
            for service, kind in (("get_state", GetState), ("change_state", ChangeState))
        }

    async def bring_up(self, name: str) -> bool:
        """A node was started, perhaps anew: make it active once all before it are.

        False when cancelled before that, or when the node was started once more. UserError names a node that refuses or
        does not become active in time.
        """
        self._active.discard(name)
        self._starts[name] += 1
        start = self._starts[name]

        def over() -> bool:
            return self._cancelled() or self._starts[name] != start

        before = set(self._names[: self._names.index(name)])
        deadline = time.monotonic() + START_SECONDS
        while not over():
            if time.monotonic() > deadline:
                raise UserError(f"{name} did not become active within {START_SECONDS:g} s")
            state = await self._state(name, over)
            if state == State.PRIMARY_STATE_ACTIVE:
                self._active.add(name)
                return True
            if state == State.PRIMARY_STATE_INACTIVE and not before <= self._active:
                deadline = time.monotonic() + START_SECONDS  # it is not its turn yet
                await asyncio.sleep(POLL_SECONDS)
            elif state is not None and state in _NEXT:
                await self._change(name, state, over)
        return False

    async def _change(self, name: str, state: int, over: Callable[[], bool]) -> None:
        """Have a node leave `state`, or ask it to in vain; UserError when it refuses.

        It answers nothing while it changes, which may take long. Its answer may also be lost: once it tells its state
        instead, that is the answer.
        """
        transition, deadline = _NEXT[state], time.monotonic() + CHANGE_SECONDS
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = await self._ask(f"{name}/change_state", request, over)
        while answer is None and not over() and time.monotonic() < deadline:
            if await self._state(name, over) is not None:
                return
        # A second request, made because the answer to the first was lost, is refused too.
        if answer is not None and not answer.success and await self._state(name, over) == state:
            raise UserError(f"{name} cannot be {_WORDS[transition]}; what it printed says why")

    async def _state(self, name: str, over: Callable[[], bool]) -> int | None:
        """A node's state; None when there is no answer in time, or when nobody wants it any more."""
        answer = await self._ask(f"{name}/get_state", GetState.Request(), over)
        return None if answer is None else int(answer.current_state.id)

    async def _ask(self, service: str, request: Any, over: Callable[[], bool]) -> Any:
        """The response; None when there is none in time, or when nobody wants it any more."""
        client, deadline = self._clients[service], time.monotonic() + ANSWER_SECONDS
        future = None
        while not over() and time.monotonic() < deadline:
            if future is None and client.service_is_ready():
                future = client.call_async(request)
            if future is not None and future.done():
                return future.result()
            await asyncio.sleep(POLL_SECONDS)
        if future is not None:
            client.remove_pending_request(future)
        return None
