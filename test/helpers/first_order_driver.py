"""A driver that is not PyBullet: joints that follow with a first-order lag, and an object that obeys rules.

It knows of the graph what any driver knows: the profile's joint names, topics and kinematics. The object is a block
with a neck on top; it can be lifted where the closing fingers meet the neck, with enough force.
"""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np
import rclpy
from geometry_msgs.msg import WrenchStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from helpers.perception import Box, depth_of
from mql_ros.grasping.perception.camera import CameraModel
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.messages.camera import depth_message, info_message
from mql_ros.ros.messages.encoding import nanoseconds

PERIOD, IMAGE_PERIOD = 0.02, 0.1
LAG = 0.03
"""Time constant of every joint, s."""
FINGER_SPEED = 0.1
OBJECT = np.array([0.5, 0.0, 0.0])
BODY_RADIUS, BODY_HEIGHT = 0.06, 0.10
NECK_RADIUS, NECK_TOP = 0.015, 0.16
NEEDED_FORCE, WEIGHT = 3.0, 3.0
"""N."""
STIFFNESS = 2000.0
"""Of the body against the fingertips, N/m."""


class FirstOrderDriver(Node):
    """Publishes joint_states and wrench at 50 Hz, depth images at 10 Hz, and follows both trajectory topics."""

    def __init__(self) -> None:
        super().__init__("first_order_driver")
        self._profile = profile = load_profile("panda")
        self._home()
        topics = profile.topics
        self._joint_states = self.create_publisher(JointState, topics.joint_states, 10)
        self._image = self.create_publisher(Image, topics.depth_image, 10)
        self._info = self.create_publisher(CameraInfo, topics.camera_info, 10)
        self._camera = CameraModel(160, 120, 150.0, 150.0, 79.5, 59.5, profile.camera.pose)
        self.create_timer(IMAGE_PERIOD, self._publish_image)
        self._wrench = self.create_publisher(WrenchStamped, topics.wrench, 10)
        self.create_subscription(JointTrajectory, topics.arm_command, self._on_arm, 10)
        self.create_subscription(JointTrajectory, topics.gripper_command, self._on_gripper, 10)
        self.create_service(Trigger, "~/home", self._on_home)
        self._muted: set[str] = set()
        for name in ("joint_states", "wrench"):
            self.create_service(SetBool, f"~/mute_{name}", lambda *call, name=name: self._on_mute(name, *call))
        self.create_timer(PERIOD, self._tick)

    def _home(self) -> None:
        self._joints = self._profile.home.copy()
        self._speeds = np.zeros_like(self._joints)
        self._times, self._points, self._elapsed = np.zeros(1), self._joints[None], 0.0
        self._width = self._wanted_width = self._profile.max_width
        self._force, self._height, self._held = 0.0, 0.0, False

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """What a person does between two trials."""
        self._home()
        response.success = True
        return response

    def _on_mute(self, name: str, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """Stop or restart the publication of a sensor."""
        (self._muted.add if request.data else self._muted.discard)(name)
        response.success = True
        return response

    def _on_arm(self, message: JointTrajectory) -> None:
        if not message.points:
            return  # as joint_trajectory_controller since the end of 2023
        order = [message.joint_names.index(name) for name in self._profile.joint_names]
        due = [p.time_from_start.sec + 1e-9 * p.time_from_start.nanosec for p in message.points]
        self._times = np.array([0.0, *due])
        self._points = np.array([self._joints, *(np.array(p.positions)[order] for p in message.points)])
        self._elapsed = 0.0

    def _on_gripper(self, message: JointTrajectory) -> None:
        self._wanted_width = float(sum(message.points[-1].positions))
        self._force = float(np.mean(message.points[-1].effort))

    def _tick(self) -> None:
        self._elapsed += PERIOD
        goal = [np.interp(self._elapsed, self._times, self._points[:, j]) for j in range(len(self._joints))]
        step = (np.array(goal) - self._joints) * (1.0 - math.exp(-PERIOD / LAG))
        self._joints, self._speeds = self._joints + step, step / PERIOD
        tool = self._profile.chain.forward(self._joints)[0]
        around_neck = math.hypot(tool[0] - OBJECT[0], tool[1] - OBJECT[1]) < NECK_RADIUS and (
            BODY_HEIGHT <= tool[2] - self._height <= NECK_TOP
        )
        closed = 2 * NECK_RADIUS if around_neck else 0.0
        change = np.clip(self._wanted_width - self._width, -FINGER_SPEED * PERIOD, FINGER_SPEED * PERIOD)
        self._width = max(self._width + float(change), min(closed, self._width))
        gripped = around_neck and self._width <= closed and self._wanted_width < closed
        before, self._held = self._held, gripped and self._force >= NEEDED_FORCE
        if self._held and before:
            self._height = max(0.0, self._height + tool[2] - self._tool_height)
        elif not self._held:
            self._height = 0.0
        self._tool_height = float(tool[2])
        self._publish(tool, self._force if gripped else 0.0)

    def _publish(self, tool: np.ndarray, effort: float) -> None:
        stamp, profile = self.get_clock().now().to_msg(), self._profile
        fingers = len(profile.finger_names)
        joints = JointState(name=[*profile.finger_names, *profile.joint_names])  # fingers first: the order is free
        joints.position = [self._width / fingers] * fingers + self._joints.tolist()
        joints.velocity = [0.0] * fingers + self._speeds.tolist()
        joints.effort = [effort] * fingers + [0.0] * len(self._joints)
        wrench = WrenchStamped()
        below = BODY_HEIGHT - tool[2] if math.hypot(tool[0] - OBJECT[0], tool[1] - OBJECT[1]) < BODY_RADIUS else 0.0
        # The tool points down: what pushes it up pushes along its -z; what hangs in it pulls along +z.
        pushed = below > 0.0 and not self._held
        wrench.wrench.force.z = float(-STIFFNESS * below if pushed else WEIGHT * (self._height > 0))
        for message, frame in ((wrench, profile.tool_frame), (joints, "")):
            message.header.stamp, message.header.frame_id = stamp, frame
        if "wrench" not in self._muted:
            self._wrench.publish(wrench)
        if "joint_states" not in self._muted:
            self._joint_states.publish(joints)

    def _publish_image(self) -> None:
        """What the camera sees of body and neck; the arm is transparent."""
        boxes = [
            Box(OBJECT[0], OBJECT[1], (1.4 * BODY_RADIUS, 1.4 * BODY_RADIUS, BODY_HEIGHT), base=self._height),
            Box(OBJECT[0], OBJECT[1], (2 * NECK_RADIUS, 2 * NECK_RADIUS, NECK_TOP), base=self._height),
        ]
        stamp = nanoseconds(self.get_clock().now().to_msg())
        frame = self._profile.camera.frame
        self._info.publish(info_message(self._camera, stamp, frame))
        self._image.publish(
            depth_message(depth_of(self._camera, boxes, noise=0.001, seed=stamp % 2**32), stamp, frame, quantum=0.0)
        )


def main() -> None:
    """Run until a signal."""
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(FirstOrderDriver())


if __name__ == "__main__":
    main()
