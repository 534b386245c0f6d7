"""Calls of Trigger services whose replies are asked for later, so that nothing waits within a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rclpy.client import Client
from std_srvs.srv import Trigger

from mql_ros.ros.base.common import GraspingNode
from mql_ros.ros.base.repeated_call import RepeatedCall
from mql_ros.ros.trials.trial_ports import Reply


class TriggerCalls:
    """The Trigger services that a node uses, by a short name for each; see RepeatedCall for what they must bear."""

    def __init__(self, node: GraspingNode, services: Mapping[str, str], answered: Callable[[], None]) -> None:
        """`services` gives a service for each short name, none where it is empty; `answered` hears of every reply."""
        self._clients: dict[str, Client] = {
            name: node.create_client(Trigger, service) for name, service in services.items() if service
        }
        self._calls: dict[str, RepeatedCall] = {}
        self._clock, self._answered = node.seconds, answered

    def __contains__(self, name: str) -> bool:
        return name in self._clients

    def call(self, name: str) -> Callable[[], Reply | None]:
        """Call a service; the function returned tells its reply, None until it is there, and must be asked for it."""
        if name in self._calls:
            self._calls[name].close()
        call = self._calls[name] = RepeatedCall(self._clients[name], Trigger.Request(), self._clock, self._answered)

        def reply() -> Reply | None:
            response = call.response()
            return None if response is None else Reply(response.success, response.message)

        return reply
