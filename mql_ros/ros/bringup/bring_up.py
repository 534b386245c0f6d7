"""Bring-up of lifecycle nodes for launch/grasp.launch.py: all are configured at once and activated in order.

It relies on responses of the nodes' services: the topic transition_event can be missed while a node is discovered. The
services of a node that was restarted seem to be available for some seconds before it is there.
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
"""Time after which a request is repeated, s: it may have gone to a former process of the node."""
CHANGE_SECONDS = 60.0
"""Longest time for one transition, s: on a busy machine a node loads slowly."""
POLL_SECONDS = 0.02
"""Time between two looks at a response, s."""
START_SECONDS = 120.0
"""Longest time until a node is configured, and from its turn until it is active, s."""

_NEXT = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_CONFIGURE,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_ACTIVATE,
}
_WORDS = {Transition.TRANSITION_CONFIGURE: "configured", Transition.TRANSITION_ACTIVATE: "activated"}


class BringUp:
    """Calls services through a node that somebody else spins; all waiting is asynchronous."""

    def __init__(self, node: Node, names: Sequence[str], cancelled: Callable[[], bool]) -> None:
        """`names` are fully qualified, in order of activation; everything ends once `cancelled` returns true."""
        self._names, self._cancelled = list(names), cancelled
        self._active: set[str] = set()
        self._starts = dict.fromkeys(names, 0)
        # Created long before they are used, so that the nodes discover them in time.
        self._clients: dict[str, Any] = {
            f"{name}/{service}": node.create_client(kind, f"{name}/{service}")
            for name in names
            for service, kind in (("get_state", GetState), ("change_state", ChangeState))
        }

    async def bring_up(self, name: str) -> bool:
        """Configure a node that was started or restarted, and activate it once all before it are active.

        Return False if cancelled before that, or if the node was restarted meanwhile. UserError names a node that
        refuses or does not become active in time.
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
        """Request the transition out of `state` and wait; UserError if the node refuses it.

        A node does not respond during a transition, which may take long. Its response may also be lost: once it
        responds with its state, the transition is over.
        """
        transition, deadline = _NEXT[state], time.monotonic() + CHANGE_SECONDS
        request = ChangeState.Request(transition=Transition(id=transition))
        answer = await self._ask(f"{name}/change_state", request, over)
        while answer is None and not over() and time.monotonic() < deadline:
            if await self._state(name, over) is not None:
                return
        # A repeated request, whose first response was lost, is refused too.
        if answer is not None and not answer.success and await self._state(name, over) == state:
            raise UserError(f"{name} cannot be {_WORDS[transition]}; see what it printed")

    async def _state(self, name: str, over: Callable[[], bool]) -> int | None:
        """Return a node's state; None without a response in time, or once `over`."""
        answer = await self._ask(f"{name}/get_state", GetState.Request(), over)
        return None if answer is None else int(answer.current_state.id)

    async def _ask(self, service: str, request: Any, over: Callable[[], bool]) -> Any:
        """Return the response of a service; None if there is none in time, or once `over`."""
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
