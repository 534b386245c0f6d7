"""The node `arm_simulator`: the PyBullet world behind the topics of an arm driver and of perception."""

from __future__ import annotations

import sys
from typing import Any

from geometry_msgs.msg import PoseStamped, WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from mql_ros.errors import UserError
from mql_ros.grasping.robot_profile import load_profile
from mql_ros.nodes.common import RELIABLE, GraspingNode, answer, run_node
from mql_ros.nodes.conversions import (
    SECOND,
    MessageError,
    image_message,
    joint_state_message,
    pose_message,
    time_message,
    wrench_message,
)
from mql_ros.nodes.trajectories import Trajectory, read_trajectory
from mql_sim.simulated_driver import SimulatedDriver

SAY_AGAIN = 1.0
"""In lockstep the last measurement is repeated when there was none for so long, for whoever came late, s."""


class ArmSimulator(GraspingNode):
    """In lockstep one control period passes for each command that answers the newest measurement, else in wall time."""

    def __init__(self) -> None:
        super().__init__("arm_simulator")
        self._profile = profile = load_profile(self.setting("robot"))
        self._driver = SimulatedDriver(profile, self.setting("object"), self.setting("seed"))
        self._lockstep = bool(self.setting("lockstep"))
        # Simulated time starts at zero in lockstep, which has its own clock, and now where it follows the wall clock.
        self._epoch = 0 if self._lockstep else self.get_clock().now().nanoseconds
        self._commands: dict[str, Trajectory] = {}
        self._counts = {"periods": 0, "resets": 0, "late_commands": 0, "refused_messages": 0}
        self._periods_to_picture = 0

        self._wrench = self.create_publisher(WrenchStamped, "wrench", RELIABLE)
        self._pose = self.create_publisher(PoseStamped, "object_pose", RELIABLE)
        self._joints = self.create_publisher(JointState, "joint_states", RELIABLE)
        self._clock_publisher = self.create_publisher(Clock, "/clock", RELIABLE) if self._lockstep else None
        self._camera = self.create_publisher(Image, "camera/image_raw", 5)
        names = {"arm": profile.joint_names, "gripper": profile.finger_names}
        for part, joints in names.items():
            self.create_subscription(
                JointTrajectory,
                f"{part}_controller/joint_trajectory",
                lambda message, part=part, joints=joints: self._on_trajectory(part, message, joints),
                RELIABLE,
            )
        self.create_service(Trigger, "~/reset", self._on_reset)
        if self._lockstep:
            self._published_at = 0.0
            self.create_timer(SAY_AGAIN / 2, self._say_again, clock=self.wall_clock)
        else:
            self.create_timer(profile.control_period, self._tick, clock=self.wall_clock)

    @property
    def _stamp(self) -> int:
        return self._epoch + round(self._driver.measurement.stamp * SECOND)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The next placement of the object; the reply's message is the stamp of the measurement, in nanoseconds."""
        self._driver.reset()
        self._commands.clear()
        self._counts["resets"] += 1
        self._periods_to_picture = 0
        self._publish()
        return answer(response, None, str(self._stamp))

    def _on_trajectory(self, part: str, message: JointTrajectory, joints: tuple[str, ...]) -> None:
        if part == "arm" and not message.points and not self._lockstep:
            self._driver.stop()
            return
        try:
            trajectory = read_trajectory(message, joints)
            if part == "gripper" and trajectory.efforts.shape[1] == 0:
                raise MessageError("the gripper's trajectory has no effort: the force limit of each finger is needed")
        except MessageError as error:
            self._counts["refused_messages"] += 1
            self.warn(f"refused: {error}")
            return
        if self._lockstep:
            self._pair(part, trajectory)
        elif part == "arm":
            self._driver.follow(trajectory.times, trajectory.positions, trajectory.velocities)
        else:
            self._grip(trajectory)

    def _pair(self, part: str, trajectory: Trajectory) -> None:
        """Advance once both halves of the command that answers the newest measurement are here."""
        if trajectory.stamp != self._stamp:
            self._counts["late_commands"] += 1
            return
        self._commands[part] = trajectory
        if len(self._commands) < 2:
            return
        arm, gripper = self._commands.pop("arm"), self._commands.pop("gripper")
        self._grip(gripper)
        self._driver.step(arm.positions[0], arm.velocities[0])
        self._publish()

    def _grip(self, trajectory: Trajectory) -> None:
        last = trajectory.positions[-1]
        self._driver.grip(float(sum(last.tolist())), float(trajectory.efforts[-1].mean()))

    def _tick(self) -> None:
        self._driver.tick()
        self._publish()

    def _publish(self) -> None:
        self._counts["periods"] += 1
        stamp, profile, measurement = self._stamp, self._profile, self._driver.measurement
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=time_message(stamp)))
            self._published_at = self.seconds()
        # Joint states last: where they are joined with the newest of the others, those are there.
        self._wrench.publish(wrench_message(profile, measurement, stamp))
        self._pose.publish(pose_message(profile, measurement, stamp))
        self._joints.publish(joint_state_message(profile, measurement, stamp, self._driver.finger_speed))
        if self.setting("camera_periods") > 0:
            self._picture(stamp)

    def _picture(self, stamp: int) -> None:
        if self._periods_to_picture <= 0:
            from mql_sim.rendering import picture

            self._periods_to_picture = self.setting("camera_periods")
            self._camera.publish(image_message(picture(self._driver.world), stamp))
        self._periods_to_picture -= 1

    def _say_again(self) -> None:
        if self.seconds() - self._published_at >= SAY_AGAIN:
            stamp, profile, measurement = self._stamp, self._profile, self._driver.measurement
            self._wrench.publish(wrench_message(profile, measurement, stamp))
            self._pose.publish(pose_message(profile, measurement, stamp))
            self._joints.publish(joint_state_message(profile, measurement, stamp, self._driver.finger_speed))
            self._published_at = self.seconds()

    def change(self, name: str, value: Any) -> str | None:
        """Act on a new value of a parameter."""
        try:
            if name == "object":
                self._driver.set_object(value)
            elif name == "seed":
                self._driver.set_seed(value)
        except UserError as error:
            return str(error)
        return None

    def figures(self) -> dict[str, Any]:
        """For /diagnostics."""
        return {"object": self.setting("object"), **self._counts}

    def close(self) -> None:
        """Release the physics server."""
        self._driver.close()


def main() -> int:
    """Run the node."""
    return run_node("arm_simulator", ArmSimulator)


if __name__ == "__main__":
    sys.exit(main())
