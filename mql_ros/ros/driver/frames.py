"""What TF knows of frames, where tf2_ros is installed, and the place of the camera."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array


class Frames:
    """Transforms that a node receives; without tf2_ros nothing is known."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._buffer: Any = None
        try:
            from tf2_ros import Buffer, TransformException, TransformListener
        except ImportError:
            return
        self._buffer, self._exception = Buffer(), TransformException
        self._listener = TransformListener(self._buffer, node)

    def connected(self, base: str, tool: str) -> bool | None:
        """Return whether TF connects two frames; None if there is no TF."""
        topics = [self._node.resolve_topic_name(topic) for topic in ("/tf", "/tf_static")]
        if self._buffer is None or not any(self._node.count_publishers(topic) for topic in topics):
            return None
        return bool(self._buffer.can_transform(base, tool, Time()))

    def camera_pose(self, profile: RobotProfile, image: Header) -> Array:
        """Return the pose [4, 4] in the base frame of the camera of an image with this header, when it was taken.

        TF gives it, or else the profile for the frame that it names. PerceptionError if neither does.
        """
        if (found := self._pose(profile.base_frame, image)) is not None:
            return found
        if image.frame_id == profile.camera.frame:
            return profile.camera.pose
        raise PerceptionError(
            "camera_pose",
            f"the place of the camera's frame '{image.frame_id}' is told neither by TF nor by 'camera' in the robot "
            f"profile, which gives that of '{profile.camera.frame}'",
        )

    def _pose(self, base: str, image: Header) -> Array | None:
        if self._buffer is None:
            return None
        try:
            transform = self._buffer.lookup_transform(base, image.frame_id, Time.from_msg(image.stamp)).transform
        except self._exception:
            return None
        place, turn = transform.translation, transform.rotation
        pose = np.eye(4)
        pose[:3, :3] = quaternion_to_matrix(np.array([turn.x, turn.y, turn.z, turn.w]))
        pose[:3, 3] = place.x, place.y, place.z
        return pose
