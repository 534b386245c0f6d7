"""The node `scene_markers`: markers for RViz of the object, its grasps with their outcome, and the workspace."""

from __future__ import annotations

import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PoseStamped
from sensor_msgs.msg import JointState
from std_msgs.msg import ColorRGBA, Float64MultiArray
from visualization_msgs.msg import Marker, MarkerArray

from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.spaces import Phase, is_success
from mql_ros.grasping.types import Array
from mql_ros.ros.base.node import GraspingNode, run_node
from mql_ros.ros.base.qos import LATCHED, RELIABLE, SENSOR
from mql_ros.ros.messages.encoding import MessageError
from mql_ros.ros.messages.sensors import JointReader, PoseSample, read_pose
from mql_ros.ros.messages.transition import Transition, read_transition

PERIOD = 0.1
"""Time between two publications, s."""
KEPT = 50
"""Number of newest grasps that are shown."""
WIDTH, HEIGHT = 0.07, 0.15
"""Size of the cylinder that stands for the object, m: only the object's pose is known."""
POINT_SIZE = 0.015
COLOURS = {None: (0.6, 0.6, 0.6), True: (0.1, 0.8, 0.2), False: (0.9, 0.15, 0.1)}
"""Red, green, blue of a grasp by whether it lifted the object; None while that is not known."""


@dataclass
class Grasp:
    """A place where the fingers closed."""

    trial: int
    place: Array
    """Position of the tool in the object's frame [3], m: it moves with the object."""
    lifted: bool | None = None


class Grasps:
    """The grasps of the present session, the newest KEPT of them."""

    def __init__(self) -> None:
        self.newest: deque[Grasp] = deque(maxlen=KEPT)
        self._session: int | None = None

    def add(self, transition: Transition, tool: Array, obj: PoseSample) -> None:
        """Add a decision that ended with the tool at [3], m, and the object at a pose, both in the base frame."""
        if transition.session != self._session:
            self._session = transition.session
            self.newest.clear()
        if transition.step == Phase.CLOSE:
            place = quaternion_to_matrix(obj.orientation).T @ (tool - obj.position)
            self.newest.append(Grasp(transition.trial, place))
        if transition.done and self.newest and self.newest[-1].trial == transition.trial:
            self.newest[-1].lifted = is_success(transition.next_observation)


class SceneMarkers(GraspingNode):
    """Markers on `scene_markers`, in the robot's base frame."""

    def configure(self) -> None:
        """Subscribe to driver, perception and policy_server."""
        self._profile = load_profile(self.setting("robot"))
        self._reader = JointReader(self._profile)
        self._grasps = Grasps()
        self._joints: JointState | None = None
        self._object: PoseSample | None = None
        topics = self._profile.topics
        self._markers = self.create_publisher(MarkerArray, "scene_markers", LATCHED)
        self.create_subscription(JointState, topics.joint_states, self._on_joints, SENSOR)
        self.create_subscription(PoseStamped, topics.object_pose, self._on_pose, SENSOR)
        self.create_subscription(Float64MultiArray, "transition", self._on_transition, RELIABLE)
        self.create_timer(PERIOD, self._show, clock=self.wall_clock)

    def _on_joints(self, message: JointState) -> None:
        self._joints = message  # converted only when needed: a driver may publish at 500 Hz

    def _on_pose(self, message: PoseStamped) -> None:
        try:
            self._object = read_pose(message, self._profile.base_frame)
        except MessageError as error:
            self.warn(f"refused: {error}")

    def _on_transition(self, message: Float64MultiArray) -> None:
        if self._joints is None or self._object is None:
            return
        try:
            transition, joints = read_transition(message), self._reader.read(self._joints).positions
        except MessageError as error:
            self.warn(f"refused: {error}")
            return
        self._grasps.add(transition, self._profile.chain.forward(joints)[0], self._object)

    def _show(self) -> None:
        if not self.active:
            return
        markers = [self._workspace()]
        if self._object is not None:
            markers += [self._standing(self._object), self._points(self._object)]
        self._markers.publish(MarkerArray(markers=markers))

    def _workspace(self) -> Marker:
        """Return the marker of the workspace, the box that the tool may be in."""
        lower, upper = self._profile.workspace_lower, self._profile.workspace_upper
        marker = self._marker("workspace", Marker.CUBE, upper - lower, (0.2, 0.5, 0.9), alpha=0.12)
        _put(marker.pose.position, (lower + upper) / 2)
        return marker

    def _standing(self, obj: PoseSample) -> Marker:
        """Return a cylinder at the pose of the object, whose frame is at its base."""
        marker = self._marker("object", Marker.CYLINDER, (WIDTH, WIDTH, HEIGHT), (0.9, 0.7, 0.2), alpha=0.5)
        _put(marker.pose.position, obj.position + quaternion_to_matrix(obj.orientation)[:, 2] * HEIGHT / 2)
        _turn(marker, obj)
        return marker

    def _points(self, obj: PoseSample) -> Marker:
        """Return the grasps as coloured points on the object."""
        marker = self._marker("grasps", Marker.SPHERE_LIST, (POINT_SIZE,) * 3, COLOURS[None], alpha=1.0)
        _put(marker.pose.position, obj.position)
        _turn(marker, obj)
        for grasp in self._grasps.newest:
            marker.points.append(_put(Point(), grasp.place))
            marker.colors.append(_colour(COLOURS[grasp.lifted], 1.0))
        if not marker.points:
            marker.action = Marker.DELETE  # RViz complains about a list without points
        return marker

    def _marker(self, name: str, kind: int, size: Any, colour: tuple[float, float, float], alpha: float) -> Marker:
        marker = Marker(ns=name, type=kind, action=Marker.ADD, color=_colour(colour, alpha))
        # Without a stamp RViz takes the newest transform, even if the driver has another clock.
        marker.header.frame_id = self._profile.base_frame
        marker.pose.orientation.w = 1.0
        marker.scale.x, marker.scale.y, marker.scale.z = (float(length) for length in size)
        return marker

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {"grasps": len(self._grasps.newest)}


def _put(point: Point, values: Array) -> Point:
    point.x, point.y, point.z = (float(value) for value in np.asarray(values))
    return point


def _turn(marker: Marker, obj: PoseSample) -> None:
    turn = marker.pose.orientation
    turn.x, turn.y, turn.z, turn.w = (float(value) for value in obj.orientation)


def _colour(colour: tuple[float, float, float], alpha: float) -> ColorRGBA:
    red, green, blue = colour
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def main() -> int:
    """Run the node."""
    return run_node("scene_markers", SceneMarkers)


if __name__ == "__main__":
    sys.exit(main())
