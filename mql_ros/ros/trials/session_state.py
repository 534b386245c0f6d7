"""Tells on `session_state` what the policy server is doing, for whoever comes, whenever they come."""

from __future__ import annotations

import json

from std_msgs.msg import String

from mql_ros.ros.base.node import GraspingNode
from mql_ros.ros.base.qos import LATCHED
from mql_ros.ros.policies.policy_loading import Announcement
from mql_ros.ros.trials.trial_sequence import TrialSequence


class SessionState:
    """Remembers the state (idle, running, held or error) and its reason."""

    def __init__(self, node: GraspingNode) -> None:
        self._publisher = node.create_publisher(String, "session_state", LATCHED)
        self._said = {"state": "idle", "reason": ""}

    def say(
        self, trials: TrialSequence, announced: Announcement | None, starts: int, state: str = "", reason: str = ""
    ) -> None:
        """Publish it with what is known beside it; without a state, that has not changed."""
        if state:
            self._said = {"state": state, "reason": reason}
        data = {
            **self._said,
            "starts": starts,
            "session": trials.session,
            "trial": trials.trial,
            "policy_version": trials.policy.version if trials.policy else None,
            "announced_version": announced.version if announced else None,
        }
        self._publisher.publish(String(data=json.dumps(data)))
