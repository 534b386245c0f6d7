"""The node `grasp_monitor`: computes the reward from joint states, wrench and what the camera sees after the lift."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Float64
from std_srvs.srv import Trigger

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.reward import GraspReward
from mql_ros.grasping.types import Measurement
from mql_ros.ros.base.node import GraspingNode, answer, run_node
from mql_ros.ros.base.qos import RELIABLE, SENSOR
from mql_ros.ros.driver.driver_inputs import DriverInputs
from mql_ros.ros.messages.encoding import SECOND, MessageError, nanoseconds, to_nanoseconds
from mql_ros.ros.messages.view import read_points

POLL = 0.025
"""Period at which the end of the wait for the camera is looked for, s."""


@dataclass(frozen=True)
class End:
    """The end of a trial, which the camera has not seen yet."""

    since: float
    """Driver time of its last measurement, s."""
    deadline: float
    """Until when the camera is waited for, s."""


class GraspMonitor(GraspingNode):
    """Publishes one `grasp_reward` for each measurement of a trial and one for its end, as training computes them.

    Instead of this node, a person or another node may publish `grasp_reward`.
    """

    def configure(self) -> None:
        """Subscribe to driver and perception."""
        profile = load_profile(self.setting("robot"))
        self._reward = GraspReward(profile)
        self._newest: Measurement | None = None
        self._rewarded_since: float | None = None
        self._rewards = 0
        self._rewards_of_trial = self._earned = 0
        self._end: End | None = None
        self._base_frame = profile.base_frame
        self._table_at, self._table_is_clear = -1.0, False
        self._publisher = self.create_publisher(Float64, "grasp_reward", RELIABLE)
        self._inputs = DriverInputs(self, profile, self._on_measurement)
        quality = RELIABLE if self.setting("lockstep") else SENSOR
        self.create_subscription(PointCloud2, "table_view", self._on_table, quality)
        self.create_timer(POLL, self._judge, clock=self.wall_clock)
        self.create_service(Trigger, "~/begin_trial", self._on_begin)
        self.create_service(Trigger, "~/end_trial", self._on_end)

    def _on_measurement(self, measurement: Measurement) -> None:
        self._newest = measurement
        if self._rewarded_since is not None:
            self._publish(self._reward.step(measurement))

    def _publish(self, reward: float) -> None:
        self._publisher.publish(Float64(data=reward))
        self._rewards += 1
        self._rewards_of_trial += 1

    def _on_table(self, message: PointCloud2) -> None:
        try:
            points = read_points(message, self._base_frame)
        except MessageError as error:
            self.warn(f"refused: {error}")
            return
        self._table_at = nanoseconds(message.header.stamp) / SECOND
        self._table_is_clear = not len(points)
        self._judge()

    def _judge(self) -> None:
        """Publish the reward of a trial's end once the camera has seen the table after it, or is waited for in vain."""
        if self._end is None:
            return
        seen = self._table_at >= self._end.since
        if seen or self.seconds() > self._end.deadline:
            self._end = None
            if not seen:
                self.warn("the camera did not see the table after the lift; the trial was judged by the fingers alone")
            self._publish(self._reward.finish(self._table_is_clear if seen else None))

    def _on_begin(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Begin a trial at the newest measurement; a repeated call, after a lost reply, begins again.

        The reply's message holds two stamps in ns: that of the newest measurement, and that of the measurement at the
        first call since the last trial ended. Every measurement later than the second stamp earns a reward.
        """
        # As text, because no standard service type returns a time, and packages of our own interfaces need a compiler.
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        if self._newest is None:
            return answer(response, "no measurement yet: joint_states and wrench are needed")
        self._reward.begin(self._newest)
        self._end = None
        if self._rewarded_since is None:
            self._rewards_of_trial = 0
            self._rewarded_since = self._newest.stamp
        stamps = to_nanoseconds(self._newest.stamp), to_nanoseconds(self._rewarded_since)
        return answer(response, None, f"{stamps[0]} {stamps[1]}")

    def _on_end(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """End the trial; a repeated call changes nothing.

        The reply's message is the number of rewards that its measurements have earned. One more reward follows them,
        once the camera has seen the table at the newest measurement or later.
        """
        if self._rewarded_since is not None and self._newest is not None:
            self._rewarded_since = None
            self._end = End(self._newest.stamp, self.seconds() + self.setting("view_wait"))
            self._earned = self._rewards_of_trial
            self._judge()
        return answer(response, None, str(self._earned))

    def deactivate(self) -> None:
        """Publish no more rewards."""
        self._rewarded_since = self._end = None

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {"in_trial": self._rewarded_since is not None, "rewards": self._rewards, **self._inputs.figures()}


def main() -> int:
    """Run the node."""
    return run_node("grasp_monitor", GraspMonitor)


if __name__ == "__main__":
    sys.exit(main())
