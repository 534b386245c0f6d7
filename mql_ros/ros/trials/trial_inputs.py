"""Subscriptions to what answers the policy server's decisions: rewards and contexts."""

from __future__ import annotations

import math
from collections.abc import Callable

from std_msgs.msg import Float64, Float64MultiArray

from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import LATCHED_FEW, RELIABLE
from mql_ros.ros.messages.conversions import MessageError
from mql_ros.ros.messages.records import read_context
from mql_ros.ros.trials.trial_ports import Inbox


class TrialInputs:
    """Puts them into the inbox and then calls `arrived`; refused messages become a warning."""

    def __init__(
        self, node: GraspingNode, inbox: Inbox, counting: Callable[[], bool], arrived: Callable[[], None]
    ) -> None:
        """`counting` tells whether rewards count now: between two runs nobody sums them up."""
        self._node, self._inbox, self._counting, self._arrived = node, inbox, counting, arrived
        node.create_subscription(Float64, "grasp_reward", self._on_reward, RELIABLE)
        node.create_subscription(Float64MultiArray, "context", self._on_context, LATCHED_FEW)

    def _on_reward(self, message: Float64) -> None:
        if not math.isfinite(message.data):
            self._node.warn("refused: grasp_reward is not finite")
        elif self._counting():
            self._inbox.rewards.append(message.data)
            self._arrived()

    def _on_context(self, message: Float64MultiArray) -> None:
        try:
            self._inbox.hear(read_context(message))
        except MessageError as error:
            self._node.warn(f"refused: {error}")
        self._arrived()
