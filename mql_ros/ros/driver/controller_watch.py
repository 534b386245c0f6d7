"""Whether the arm's joint_trajectory_controller is active: a subscription it has while it is inactive too."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from mql_ros.ros.base.common import SENSOR, GraspingNode
from mql_ros.ros.driver.driver_inputs import Unwatched

LOOK = 0.25
"""Time between two looks at the controller's state, s."""
HEARD = 1.0
"""An active controller has said its state within this, s."""


class ControllerWatch:
    """Listens to `controller_state` beside the command topic, which an active controller publishes in each update.

    Only where control_msgs is installed; of a driver that publishes no such topic nothing is known.
    """

    def __init__(self, node: GraspingNode, command_topic: str) -> None:
        self._node = node
        self._topic = f"{command_topic.rpartition('/')[0]}/controller_state".lstrip("/")
        if command_topic.startswith("/"):
            self._topic = f"/{self._topic}"
        self._heard = -HEARD
        try:
            self._kind: Any = import_module("control_msgs.msg").JointTrajectoryControllerState
        except ImportError:
            self._kind = None
            return
        # Up to 1000 a second, of which none has to be read: that one came says all.
        self._stream = node.create_subscription(
            self._kind, self._topic, lambda data: None, SENSOR, callback_group=Unwatched(), raw=True
        )
        node.create_timer(LOOK, self._look, clock=node.wall_clock)

    def refusal(self) -> str | None:
        """Why the controller cannot carry out a motion, in one sentence; None where nothing tells that it cannot."""
        if self._kind is None or self._node.count_publishers(self._topic) == 0:
            return None
        self._look()
        if self._node.seconds() - self._heard <= HEARD:
            return None
        return f"nothing comes on {self._topic}, so the arm controller is not active; activate it"

    def _look(self) -> None:
        stream: Any = self._stream.handle
        with stream:
            while stream.take_message(self._kind, True) is not None:
                self._heard = self._node.seconds()
