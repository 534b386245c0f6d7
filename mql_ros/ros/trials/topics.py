"""Topics of a session of trials: views, rewards and contexts received, `session_state` published."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64, Float64MultiArray, String

from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import LATCHED, LATCHED_FEW, RELIABLE, SENSOR
from mql_ros.ros.messages.encoding import SECOND, MessageError, nanoseconds
from mql_ros.ros.messages.transition import read_context
from mql_ros.ros.messages.view import read_view
from mql_ros.ros.trials.interface import Inbox
from mql_ros.ros.trials.trial_runner import TrialRunner


class TrialSubscriptions:
    """Subscriptions to views, rewards and contexts; a refused message becomes a warning."""

    def __init__(
        self,
        node: GraspingNode,
        base_frame: str,
        inbox: Inbox,
        is_counting: Callable[[], bool],
        received: Callable[[], None],
    ) -> None:
        """Subscribe; each stored message calls `received`. Rewards are dropped while `is_counting` returns False."""
        self._node, self._base_frame, self._inbox = node, base_frame, inbox
        self._is_counting, self._received = is_counting, received
        quality = RELIABLE if node.setting("lockstep") else SENSOR
        node.create_subscription(PointCloud2, "object_view", self._on_view, quality)
        node.create_subscription(Float64, "grasp_reward", self._on_reward, RELIABLE)
        node.create_subscription(Float64MultiArray, "context", self._on_context, LATCHED_FEW)

    def _on_view(self, message: PointCloud2) -> None:
        try:
            view = read_view(message, self._base_frame)
        except MessageError as error:
            self._node.warn(f"refused: {error}")
            return
        self._inbox.put_view(view, nanoseconds(message.header.stamp) / SECOND)
        self._received()

    def _on_reward(self, message: Float64) -> None:
        if not math.isfinite(message.data):
            self._node.warn("refused: grasp_reward is not finite")
        elif self._is_counting():
            self._inbox.rewards.append(message.data)
            self._received()

    def _on_context(self, message: Float64MultiArray) -> None:
        try:
            self._inbox.put_context(read_context(message))
        except MessageError as error:
            self._node.warn(f"refused: {error}")
        self._received()


class SessionState:
    """Publisher of `session_state`: idle, running, held or error, with its reason and the progress of the session."""

    def __init__(self, node: GraspingNode, trials: TrialRunner, inbox: Inbox) -> None:
        self._trials, self._inbox = trials, inbox
        self._publisher = node.create_publisher(String, "session_state", LATCHED)
        self._state = {"state": "idle", "reason": ""}

    def publish(self, starts: int, state: str = "", reason: str = "") -> None:
        """Publish a new state, or without one the same state with new figures; `starts` counts starts of trials."""
        if state:
            self._state = {"state": state, "reason": reason}
        trials, announced = self._trials, self._inbox.announced
        data: dict[str, Any] = {
            **self._state,
            "starts": starts,
            "session": trials.session,
            "trial": trials.trial,
            "policy_version": trials.policy.version if trials.policy else None,
            "announced_version": announced.version if announced else None,
        }
        self._publisher.publish(String(data=json.dumps(data)))
