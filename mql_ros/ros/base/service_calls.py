"""Service calls that survive lost messages and never block a callback.

DDS discovers the two directions of a service one after the other. A server that has not discovered its client's reader
carries out a request and drops the response. A request to the former process of a restarted node is never answered.
So a call is made once the service is available, and repeated while no response arrives. Servers must therefore accept
a repeated request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.client import Client
from rclpy.task import Future
from std_srvs.srv import Trigger

from mql_ros.ros.base.node import GraspingNode

ASK_AGAIN = 2.0
"""Time without a response after which a request is repeated, s; it doubles after each repetition.

A person who prepares a trial for half a minute is asked four times, not fifteen.
"""


class RepeatedCall:
    """One service call.

    A server handles requests in order, so the response to the last request ends the call: no earlier request can then
    still be carried out later.
    """

    def __init__(
        self,
        client: Client,
        request: Any,
        clock: Callable[[], float],
        answered: Callable[[], None] = lambda: None,
        *,
        again: bool = True,
    ) -> None:
        """`clock` (s) only moves forward; `answered` is called at every response; `again=False` forbids repetition."""
        self._client, self._request, self._clock, self._answered = client, request, clock, answered
        self._again = again
        self._futures: list[Future] = []
        self._patience = ASK_AGAIN
        self._due = 0.0

    def response(self) -> Any | None:
        """Return the response, or None until it arrives. Call this repeatedly: it makes the requests."""
        if self._futures and self._futures[-1].done():
            return self._futures[-1].result()
        if (not self._futures or (self._again and self.overdue)) and self._client.service_is_ready():
            if self._futures:
                self._patience *= 2.0
            self._wait()
            self._futures.append(self._client.call_async(self._request))
            self._futures[-1].add_done_callback(self._on_response)
        return None

    @property
    def overdue(self) -> bool:
        """Whether a request was made and no response arrived in time."""
        return bool(self._futures) and self._clock() >= self._due

    def _wait(self) -> None:
        self._due = self._clock() + self._patience

    def _on_response(self, future: Future) -> None:
        self._wait()  # for an earlier request: the service is alive, and the next response is on its way
        self._answered()

    def close(self) -> None:
        """Drop the pending requests."""
        for future in self._futures:
            self._client.remove_pending_request(future)


class TriggerCalls:
    """The Trigger services that a node calls, each by a short name; they must accept repeated requests."""

    def __init__(self, node: GraspingNode, services: Mapping[str, str], answered: Callable[[], None]) -> None:
        """`services` maps short names to services, "" for none; `answered` is called at every reply."""
        self._clients: dict[str, Client] = {
            name: node.create_client(Trigger, service) for name, service in services.items() if service
        }
        self._calls: dict[str, RepeatedCall] = {}
        self._clock, self._answered = node.seconds, answered

    def __contains__(self, name: str) -> bool:
        return name in self._clients

    def call(self, name: str) -> Callable[[], Trigger.Response | None]:
        """Call a service; the function returned polls for the reply and returns None until it arrives."""
        if name in self._calls:
            self._calls[name].close()
        self._calls[name] = RepeatedCall(self._clients[name], Trigger.Request(), self._clock, self._answered)
        return self._calls[name].response
