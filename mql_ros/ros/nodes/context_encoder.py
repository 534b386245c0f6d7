"""The node `context_encoder`: answers each transition with the context of the step after it."""

from __future__ import annotations

import sys
from typing import Any

from std_msgs.msg import Float64MultiArray, String

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.node import GraspingNode, run_node
from mql_ros.ros.base.qos import KEPT, LATCHED, LATCHED_FEW
from mql_ros.ros.messages.encoding import MessageError
from mql_ros.ros.messages.transition import ContextAnswer, context_message, read_transition
from mql_ros.ros.policies.policy_loading import Announcement, load_policy
from mql_ros.ros.policies.session_contexts import SessionContexts


class ContextEncoder(GraspingNode):
    """Publishes the context that answers each transition, and again for the last one when the policy changes."""

    def configure(self) -> None:
        """Subscribe to transitions and policies."""
        self._profile = load_profile(self.setting("robot"))
        self._session = SessionContexts()
        self._answers = 0
        self._refused = 0
        self._contexts = self.create_publisher(Float64MultiArray, "context", LATCHED_FEW)
        self.create_subscription(Float64MultiArray, "transition", self._on_transition, KEPT)
        self.create_subscription(String, "policy", self._on_policy, LATCHED)

    def activate(self) -> None:
        """Publish the contexts of transitions that were received before."""
        for answer in self._session.answers():
            self._publish(answer)

    def _on_transition(self, message: Float64MultiArray) -> None:
        try:
            answers = self._session.add(read_transition(message))
        except MessageError as error:
            self._refused += 1
            self.warn(f"refused: {error}")
            return
        if not answers:
            self.warn("a transition came before any policy; no context can be given")
        for answer in answers:
            self._publish(answer)

    def _on_policy(self, message: String) -> None:
        try:
            announcement = Announcement.from_json(message.data)
            policy = load_policy(announcement, self._profile.name, *self._profile.policies_from)
        except (MessageError, UserError) as error:
            self.fail(str(error))
            return
        self.problem = ""
        self._publish(self._session.use(policy))
        self.get_logger().info(f"policy version {policy.version} loaded from {announcement.bundle}")

    def _publish(self, answer: ContextAnswer) -> None:
        if not self.active:
            return
        self._answers += 1
        self._contexts.publish(context_message(answer))

    def figures(self) -> dict[str, Any]:
        """For /diagnostics."""
        return {
            "policy_version": self._session.version or "none",
            "history": len(self._session.log.transitions),
            "answers": self._answers,
            "refused_messages": self._refused,
            "missing_transitions": self._session.log.missing,
        }


def main() -> int:
    """Run the node."""
    return run_node("context_encoder", ContextEncoder)


if __name__ == "__main__":
    sys.exit(main())
