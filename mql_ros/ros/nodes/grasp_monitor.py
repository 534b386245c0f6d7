"""The node `grasp_monitor`: computes the reward from joint states, object pose and wrench."""

from __future__ import annotations

import sys
from typing import Any

from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.reward import GraspReward
from mql_ros.grasping.types import Measurement
from mql_ros.ros.base.node import GraspingNode, answer, run_node
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.driver.driver_inputs import DriverInputs
from mql_ros.ros.messages.encoding import to_nanoseconds


class GraspMonitor(GraspingNode):
    """Publishes one `grasp_reward` for each measurement of a trial, by the function that training uses.

    Instead of this node, a person or another node may publish `grasp_reward`.
    """

    def configure(self) -> None:
        """Subscribe to driver and perception."""
        profile = load_profile(self.setting("robot"))
        self._reward = GraspReward(profile.guard_force)
        self._newest: Measurement | None = None
        self._rewarded_since: float | None = None
        self._rewards = 0
        self._publisher = self.create_publisher(Float64, "grasp_reward", RELIABLE)
        self._inputs = DriverInputs(self, profile, self._on_measurement)
        self.create_service(Trigger, "~/begin_trial", self._on_begin)
        self.create_service(Trigger, "~/end_trial", self._on_end)

    def _on_measurement(self, measurement: Measurement) -> None:
        self._newest = measurement
        if self._rewarded_since is not None:
            self._publisher.publish(Float64(data=self._reward.step(measurement)))
            self._rewards += 1

    def _on_begin(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin a trial at the newest measurement; a repeated call, after a lost reply, begins again.

        The reply's message holds two stamps in ns: that of the newest measurement, and that of the measurement at the
        first call since the last trial ended. Every measurement later than the second stamp earns a reward.
        """
        # As text, because no standard service type returns a time, and packages of our own interfaces need a compiler.
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        if self._newest is None:
            return answer(response, "no measurement yet: joint_states, object_pose and wrench are needed")
        self._reward.begin(self._newest)
        if self._rewarded_since is None:
            self._rewarded_since = self._newest.stamp
        stamps = to_nanoseconds(self._newest.stamp), to_nanoseconds(self._rewarded_since)
        return answer(response, None, f"{stamps[0]} {stamps[1]}")

    def _on_end(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._rewarded_since = None
        return answer(response, None)

    def deactivate(self) -> None:
        """Publish no more rewards."""
        self._rewarded_since = None

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {"in_trial": self._rewarded_since is not None, "rewards": self._rewards, **self._inputs.figures()}

    def change(self, name: str, value: Any) -> str | None:
        """Act on a new value of a parameter."""
        if name == "stale_after":
            self._inputs.assembler.stale_after = value
        return None


def main() -> int:
    """Run the node."""
    return run_node("grasp_monitor", GraspMonitor)


if __name__ == "__main__":
    sys.exit(main())
