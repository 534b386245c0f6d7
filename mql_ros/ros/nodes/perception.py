"""The node `perception`: publishes what a depth camera sees of the object, and whether the table is clear."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from mql_ros.grasping.perception.camera import CameraModel, Depth, PerceptionError
from mql_ros.grasping.perception.height_map import see
from mql_ros.grasping.perception.segmentation import Workspace, low_points
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.node import GraspingNode, run_node
from mql_ros.ros.base.qos import IMAGE, RELIABLE
from mql_ros.ros.driver.frames import Frames
from mql_ros.ros.messages.camera import read_depth, read_info
from mql_ros.ros.messages.encoding import SECOND, nanoseconds, to_nanoseconds
from mql_ros.ros.messages.view import points_message, view_message

SILENCE = 5.0
"""Time without images, or with images and without camera info, after which a warning says so, s."""
EARLY = 0.1
"""Part of the period by which an image may come too early: cameras jitter."""


class Perception(GraspingNode):
    """Publishes `object_view` and `table_view` for depth images; whoever publishes these clouds can replace the node.

    `object_view` is the height map of the object nearest the workspace's middle, `table_view` all points on the table
    that are lower than what the gripper holds after the lift. A cloud without points means that nothing is there. A
    warning names what is wrong with an image that shows neither.
    """

    def configure(self) -> None:
        """Subscribe to the camera."""
        self._profile = profile = load_profile(self.setting("robot"))
        self._workspace = Workspace.about(profile.home_position[:2])
        self._info: CameraInfo | None = None
        self._frames = Frames(self)
        self._last = -math.inf
        self._since = self._arrived = 0.0
        self._others = 0
        self._counts = {"images": 0, "views": 0, "refused_images": 0}
        self._views = self.create_publisher(PointCloud2, "object_view", RELIABLE)
        self._tables = self.create_publisher(PointCloud2, "table_view", RELIABLE)
        quality = RELIABLE if self.setting("lockstep") else IMAGE
        self.create_subscription(CameraInfo, profile.topics.camera_info, self._on_info, quality)
        self.create_subscription(Image, profile.topics.depth_image, self._on_image, quality)
        self.create_timer(SILENCE / 5, self._watch, clock=self.wall_clock)

    def activate(self) -> None:
        """Begin to wait for images."""
        self._since = self._arrived = self.seconds()

    def _watch(self) -> None:
        watched = self.active and self.setting("view_source") == "camera"
        if watched and self.seconds() - self._arrived > SILENCE:
            topic = self.resolve_topic_name(self._profile.topics.depth_image)
            self.warn(f"no depth images come on {topic}; start the camera's driver")

    def _on_info(self, message: CameraInfo) -> None:
        self._info = message

    def _on_image(self, message: Image) -> None:
        self._arrived = self.seconds()
        stamp = nanoseconds(message.header.stamp) / SECOND
        since = stamp - self._last
        early = not self.setting("lockstep") and 0.0 <= since < (1.0 - EARLY) / self.setting("rate")
        if early or not self.active or self.setting("view_source") == "external":
            return
        if self._info is None and self._arrived - self._since < SILENCE:
            return  # a camera driver may publish its first image before its first camera info
        self._last = stamp
        self._counts["images"] += 1
        try:
            depth, camera = read_depth(message), self._camera(message)
        except PerceptionError as error:
            self._refuse(error)
            return
        refused = None
        for publish in (self._publish_table, self._publish_view):
            try:
                publish(depth, camera, stamp)
            except PerceptionError as error:
                refused = error
        if refused is not None:
            self._refuse(refused)

    def _camera(self, image: Image) -> CameraModel:
        if self._info is None:
            topic = self.resolve_topic_name(self._profile.topics.camera_info)
            raise PerceptionError("camera_info", f"depth images come, but no camera info on {topic}; publish it too")
        return read_info(self._info, self._frames.camera_pose(self._profile, image.header))

    def _publish_table(self, depth: Depth, camera: CameraModel, stamp: float) -> None:
        points = low_points(depth, camera, self._workspace)
        self._tables.publish(points_message(points, self._profile.base_frame, to_nanoseconds(stamp)))

    def _publish_view(self, depth: Depth, camera: CameraModel, stamp: float) -> None:
        frame = self._profile.base_frame
        try:
            view = see(depth, camera, self._workspace, stamp)
        except PerceptionError as error:
            if error.reason != "empty_table":
                raise
            self._others = 0
            self._views.publish(points_message(np.empty((0, 3)), frame, to_nanoseconds(stamp)))
            return
        self._counts["views"] += 1
        self._views.publish(view_message(view, frame))
        self._others = view.others
        if view.others:
            what = "another object is" if view.others == 1 else f"{view.others} other objects are"
            self.warn(f"{what} ignored; the one nearest the middle is grasped", "others")

    def _refuse(self, error: PerceptionError) -> None:
        self._counts["refused_images"] += 1
        self.warn(str(error), error.reason)

    def figures(self) -> dict[str, Any]:
        """Return the figures for /diagnostics."""
        return {**self._counts, "other_objects": self._others}


def main() -> int:
    """Run the node."""
    return run_node("perception", Perception)


if __name__ == "__main__":
    sys.exit(main())
