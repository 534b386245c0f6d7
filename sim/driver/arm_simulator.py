"""The node `arm_simulator`: the PyBullet world behind the topics of the drivers of an arm and a depth camera."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.node import GraspingNode, answer, run_node
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.messages.camera import depth_message, image_message, info_message
from mql_ros.ros.messages.encoding import SECOND, MessageError, time_message
from mql_ros.ros.messages.sensors import joint_state_message, wrench_message
from mql_ros.ros.messages.trajectories import GRIPPER_MESSAGES, Trajectory, read_gripper, read_trajectory
from mql_sim.benches import Bench
from mql_sim.camera import DepthNoise, Miscalibration
from mql_sim.driver import faults
from mql_sim.driver.simulated_driver import SimulatedDriver

BENCH = ("depth_noise", "edge_holes", "calibration_shift", "calibration_turn", "view_lag", "pad_friction")
"""Parameters of the bench."""
REPEAT_AFTER = 1.0
"""Time in lockstep after which the last measurement is published again for late subscribers, s."""

STILL = 0.02
"""Simulated time in lockstep stands still if no command advances it for this long, s."""


class ArmSimulator(GraspingNode):
    """Simulated time: one control period for each command that answers the newest measurement, or the wall clock."""

    def configure(self) -> None:
        """Create the world; its time stands still while the node is not active."""
        self._profile = profile = load_profile(self.setting("robot"))
        self._driver = SimulatedDriver(profile, self.setting("object"), self.setting("seed"), bench_of(self.setting))
        self._lockstep = bool(self.setting("lockstep"))
        self._choose_fault(self.setting("fault"))
        # Simulated time starts at zero in lockstep, which has its own clock, and now where it follows the wall clock.
        self._epoch = 0 if self._lockstep else self.get_clock().now().nanoseconds
        self._commands: dict[str, Trajectory] = {}
        self._counts = {"periods": 0, "resets": 0, "late_commands": 0, "refused_messages": 0}
        self._periods_to_picture = 0
        self._prepared = False

        topics = profile.topics
        self._wrench = self.create_publisher(WrenchStamped, topics.wrench, RELIABLE)
        self._joints = self.create_publisher(JointState, topics.joint_states, RELIABLE)
        self._clock_publisher = self.create_publisher(Clock, "clock", RELIABLE) if self._lockstep else None
        self._depth = self.create_publisher(Image, topics.depth_image, RELIABLE)
        self._camera_info = self.create_publisher(CameraInfo, topics.camera_info, RELIABLE)
        self._depth_of: int | None = None
        self._stood_at: int | None = None
        self._depth_at = 0.0
        self._camera = self.create_publisher(Image, "camera/image_raw", 5)
        self.create_subscription(JointTrajectory, topics.arm_command, self._on_arm, RELIABLE)
        kind, _ = GRIPPER_MESSAGES[profile.gripper_command]
        self.create_subscription(kind, topics.gripper_command, self._on_gripper, RELIABLE)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._published_at = 0.0
        if self._lockstep:
            self.create_timer(REPEAT_AFTER / 2, self._repeat, clock=self.wall_clock)
            self.create_timer(STILL, self._look, clock=self.wall_clock)
        else:
            self.create_timer(profile.control_period, self._tick, clock=self.wall_clock)

    def activate(self) -> None:
        """Continue simulated time."""
        if not self._lockstep:
            self._epoch += self.get_clock().now().nanoseconds - self._stamp

    def deactivate(self) -> None:
        """Stand still."""
        self._prepared = False
        self._driver.stop()
        self._commands.clear()

    @property
    def _stamp(self) -> int:
        return self._epoch + round(self._driver.measurement.stamp * SECOND)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Bring the object to its next placement; a repeated request before any motion changes nothing.

        The response's message is the stamp of the measurement after the reset, ns.
        """
        # As text, because no standard service type returns a time; a reset of somebody else's may leave it empty.
        if (refusal := self.refusal()) is not None:
            return answer(response, refusal)
        if self._prepared:
            return answer(response, None, str(self._stamp))
        try:
            self._driver.reset()
        except UserError as error:
            return answer(response, str(error))
        self._prepared = True
        self._commands.clear()
        self._counts["resets"] += 1
        self._periods_to_picture = 0
        self._publish()
        self._publish_depth()
        return answer(response, None, str(self._stamp))

    def _on_arm(self, message: JointTrajectory) -> None:
        if message.points or self._lockstep:
            self._take("arm", lambda: read_trajectory(message, self._profile.joint_names))
        elif self.active:
            self._driver.stop()

    def _on_gripper(self, message: JointTrajectory | Float64MultiArray) -> None:
        self._take("gripper", lambda: read_gripper(self._profile, message))

    def _take(self, part: str, read: Callable[[], Trajectory]) -> None:
        if not self.active:
            return
        try:
            trajectory = read()
        except MessageError as error:
            self._counts["refused_messages"] += 1
            self.warn(f"refused: {error}")
            return
        if self._lockstep:
            self._pair(part, trajectory)
            return
        self._prepared = False
        if part == "arm":
            self._driver.follow(*self._faults.trajectory(trajectory.times, trajectory.positions, trajectory.velocities))
        elif not self._faults.gripper_stuck:
            self._grip(trajectory)

    def _pair(self, part: str, trajectory: Trajectory) -> None:
        """Advance once both halves of the command that answers the newest measurement are here."""
        if trajectory.stamp != self._stamp:
            self._counts["late_commands"] += 1
            return
        self._commands[part] = trajectory
        if len(self._commands) < 2:
            return
        self._prepared = False
        arm, gripper = self._commands.pop("arm"), self._commands.pop("gripper")
        self._grip(gripper)
        self._driver.step(arm.positions[0], arm.velocities[0])
        self._publish()

    def _grip(self, trajectory: Trajectory) -> None:
        last = trajectory.positions[-1]
        self._driver.grip(float(sum(last.tolist())), float(trajectory.efforts[-1].mean()))

    def _tick(self) -> None:
        now, period = self.get_clock().now().nanoseconds, self._profile.control_period * SECOND
        # A reset took a period of its own, or the last tick was late: an arm that moves on would seem to jump.
        if not self.active or now < self._stamp + period / 2:
            return
        self._driver.tick()
        behind = now - self._stamp
        if behind < 0 or behind > period:
            self._epoch += behind  # ticks were lost: stamps stay with the wall clock
        self._publish()
        # Right after a tick, so that the next one is not late.
        if self.seconds() - self._depth_at > 1.0 / self.setting("depth_rate") - self._profile.control_period / 2:
            self._publish_depth()

    def _publish(self) -> None:
        self._counts["periods"] += 1
        stamp = self._stamp
        if self._clock_publisher is not None:
            self._clock_publisher.publish(Clock(clock=time_message(stamp)))
            self._published_at = self.seconds()
        self._publish_measurement(stamp)
        if self.setting("camera_periods") > 0:
            self._picture(stamp)

    def _publish_measurement(self, stamp: int) -> None:
        """Publish the measurement, changed by the chosen fault."""
        profile, measurement, stamp = self._profile, self._driver.measurement, self._faults.stamp(stamp)
        # Joint states last: they are joined with the newest of the others, which have then arrived.
        self._wrench.publish(wrench_message(profile, measurement, stamp))
        if not self._faults.joint_states_lost():
            message = joint_state_message(profile, measurement, stamp, self._driver.finger_speed)
            self._joints.publish(self._faults.joint_states(message, len(profile.joint_names)))

    def _look(self) -> None:
        """In lockstep, publish a depth image of this instant if time stands still and there was none.

        An image of each period would cost more than all the rest of a trial.
        """
        stands, self._stood_at = self._stood_at == self._stamp, self._stamp
        due = self.seconds() - self._depth_at >= 1.0 / self.setting("depth_rate")
        if self.active and stands and due and self._depth_of != self._stamp:
            self._publish_depth()

    def _publish_depth(self) -> None:
        self._depth_of, self._depth_at = self._stamp, self.seconds()
        scene, frame, stamp = self._driver.scene, self._profile.camera.frame, self._faults.stamp(self._stamp)
        self._camera_info.publish(info_message(scene.camera, stamp, frame))
        self._depth.publish(depth_message(scene.depth_image(), stamp, frame, scene.bench.noise.quantum))

    def _picture(self, stamp: int) -> None:
        if self._periods_to_picture <= 0:
            from mql_sim.world.rendering import picture

            self._periods_to_picture = self.setting("camera_periods")
            self._camera.publish(image_message(picture(self._driver.scene.world), stamp))
        self._periods_to_picture -= 1

    def _repeat(self) -> None:
        if self.active and self.seconds() - self._published_at >= REPEAT_AFTER:
            self._publish_measurement(self._stamp)
            self._publish_depth()
            self._published_at = self.seconds()

    def _choose_fault(self, name: str) -> None:
        if self._lockstep and name != faults.NONE:
            raise UserError(f"fault:={name} needs real time; set lockstep:=false")
        self._faults = faults.Faults(name, self._profile.control_period)

    def change(self, name: str, value: Any) -> str | None:
        """Act on a new value of a parameter."""
        try:
            if name == "object":
                self._driver.set_object(value)
                self._prepared = False
            elif name == "seed":
                self._driver.set_seed(value)
                self._prepared = False
            elif name in BENCH:
                self._driver.set_bench(bench_of(lambda other: value if other == name else self.setting(other)))
                self._prepared = False
            elif name == "fault":
                self._choose_fault(value)
        except UserError as error:
            return str(error)
        return None

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {"object": self.setting("object"), **self._counts}

    def close(self) -> None:
        """Release the physics server."""
        self._driver.close()


def bench_of(setting: Callable[[str], Any]) -> Bench:
    """Return the bench that the parameters named in BENCH describe; `setting` gives their values."""
    return Bench(
        calibration=Miscalibration(setting("calibration_shift"), setting("calibration_turn")),
        noise=DepthNoise(deviation=setting("depth_noise"), missing_at_edges=setting("edge_holes")),
        lag=setting("view_lag"),
        pads=setting("pad_friction"),
    )


def main() -> int:
    """Run the node."""
    return run_node("arm_simulator", ArmSimulator)


if __name__ == "__main__":
    sys.exit(main())
