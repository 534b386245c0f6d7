"""The node `scene_markers`: markers for RViz of the grasp of the present trial, its outcome, and the workspace."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Quaternion
from sensor_msgs.msg import JointState
from std_msgs.msg import ColorRGBA, Float64MultiArray
from transforms3d.quaternions import mat2quat
from visualization_msgs.msg import Marker, MarkerArray

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import Array
from mql_ros.ros.base.node import GraspingNode, run_node
from mql_ros.ros.base.qos import LATCHED, RELIABLE, SENSOR
from mql_ros.ros.messages.encoding import MessageError
from mql_ros.ros.messages.sensors import JointReader
from mql_ros.ros.messages.transition import Transition, read_transition

PERIOD = 0.1
"""Time between two publications, s."""
PAD = (0.02, 0.01, 0.03)
"""Size of a finger's pad along the tool's axes, m."""
COLOURS = {None: (0.6, 0.6, 0.6), True: (0.1, 0.8, 0.2), False: (0.9, 0.15, 0.1)}
"""Red, green, blue of a grasp by whether it lifted the object; None while that is not known."""


@dataclass(frozen=True)
class Grasp:
    """The place where the fingers closed."""

    place: Array
    """Tool in the base frame [3], m."""
    turn: Array
    """Rotation of the tool [3, 3]; the fingers close along its y axis."""
    width: float
    """Opening of the fingers, m."""


class TrialGrasp:
    """The grasp of the present trial and its outcome."""

    def __init__(self) -> None:
        self.grasp: Grasp | None = None
        self.lifted: bool | None = None
        self._total = 0.0

    def add(self, transition: Transition, here: Grasp) -> None:
        """Add a decision that ended with the tool and the fingers `here`."""
        if transition.step == Phase.PLACE:
            self.grasp, self.lifted, self._total = None, None, 0.0
        self._total += transition.reward
        if transition.step == Phase.CLOSE:
            self.grasp = here
        if transition.done and self.grasp is not None:
            self.lifted = self._total >= SUCCESS_RETURN


class SceneMarkers(GraspingNode):
    """Markers on `scene_markers`, in the robot's base frame; what was seen is the cloud on `object_view`."""

    def configure(self) -> None:
        """Subscribe to driver and policy_server."""
        self._profile = load_profile(self.setting("robot"))
        self._reader = JointReader(self._profile)
        self._trial = TrialGrasp()
        self._joints: JointState | None = None
        self._markers = self.create_publisher(MarkerArray, "scene_markers", LATCHED)
        self.create_subscription(JointState, self._profile.topics.joint_states, self._on_joints, SENSOR)
        self.create_subscription(Float64MultiArray, "transition", self._on_transition, RELIABLE)
        self.create_timer(PERIOD, self._publish_markers, clock=self.wall_clock)

    def _on_joints(self, message: JointState) -> None:
        self._joints = message  # read only when needed: a driver may publish 500 a second

    def _on_transition(self, message: Float64MultiArray) -> None:
        if self._joints is None:
            return
        try:
            transition, joints = read_transition(message), self._reader.read(self._joints)
        except MessageError as error:
            self.warn(f"refused: {error}")
            return
        self._trial.add(transition, Grasp(*self._profile.chain.forward(joints.positions), joints.finger_width))

    def _publish_markers(self) -> None:
        if self.active:
            self._markers.publish(MarkerArray(markers=[self._workspace(), *self._pads()]))

    def _workspace(self) -> Marker:
        """Return the box that the tool may be in."""
        lower, upper = self._profile.workspace_lower, self._profile.workspace_upper
        marker = self._marker("workspace", Marker.CUBE, upper - lower, (0.2, 0.5, 0.9), alpha=0.12)
        _put(marker.pose.position, (lower + upper) / 2)
        return marker

    def _pads(self) -> list[Marker]:
        """Return the two pads where they closed, in the colour of the outcome."""
        markers, grasp = [], self._trial.grasp
        for number, side in enumerate((-1.0, 1.0)):
            marker = self._marker("grasp", Marker.CUBE, PAD, COLOURS[self._trial.lifted], alpha=0.9)
            marker.id = number
            if grasp is None:
                marker.action = Marker.DELETE
            else:
                across = np.array([0.0, side * (grasp.width + PAD[1]) / 2, 0.0])
                _put(marker.pose.position, grasp.place + grasp.turn @ across)
                _turn(marker.pose.orientation, grasp.turn)
            markers.append(marker)
        return markers

    def _marker(self, name: str, kind: int, size: Any, colour: tuple[float, float, float], alpha: float) -> Marker:
        red, green, blue = colour
        marker = Marker(ns=name, type=kind, action=Marker.ADD, color=ColorRGBA(r=red, g=green, b=blue, a=alpha))
        # Without a stamp RViz takes the newest transform, even if driver and wall clock differ.
        marker.header.frame_id = self._profile.base_frame
        marker.pose.orientation.w = 1.0
        marker.scale.x, marker.scale.y, marker.scale.z = (float(length) for length in size)
        return marker

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {"grasp": self._trial.grasp is not None, "lifted": self._trial.lifted}


def _put(point: Point, values: Array) -> None:
    point.x, point.y, point.z = (float(value) for value in np.asarray(values))


def _turn(quaternion: Quaternion, turn: Array) -> None:
    quaternion.w, quaternion.x, quaternion.y, quaternion.z = (float(value) for value in mat2quat(turn))


def main() -> int:
    """Run the node."""
    return run_node("scene_markers", SceneMarkers)


if __name__ == "__main__":
    sys.exit(main())
