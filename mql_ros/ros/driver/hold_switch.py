"""Whether the arm is held: policy_server's service `~/hold` and the topic `hold`."""

from __future__ import annotations

from collections.abc import Callable

from std_msgs.msg import Bool
from std_srvs.srv import SetBool

from mql_ros.ros.base.common import RELIABLE, GraspingNode, answer


class HoldSwitch:
    """Anybody may hold the arm by the topic, several at once; only the service, whose caller gets an answer, releases.

    So nobody's `false`, as of a button that is let go or a node that starts anew, undoes the hold of somebody else.
    It lasts as long as the node, which may be cleaned up and configured anew meanwhile.
    """

    def __init__(self) -> None:
        self.on = False

    @property
    def state(self) -> str:
        """Of a session that does nothing."""
        return "held" if self.on else "idle"

    def configure(self, node: GraspingNode, held: Callable[[], None], released: Callable[[], None]) -> None:
        """`held` hears when it is asked for (by the topic only where there is none yet), `released` when it ends."""
        self._held, self._released = held, released
        node.create_service(SetBool, "~/hold", self._on_service)
        node.create_subscription(Bool, "hold", self._on_topic, RELIABLE)

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        was_on, self.on = self.on, request.data
        if self.on:
            self._held()
        elif was_on:
            self._released()
        return answer(response, None, "held" if self.on else "released")

    def _on_topic(self, message: Bool) -> None:
        if message.data and not self.on:
            self.on = True
            self._held()
