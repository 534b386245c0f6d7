"""The perception node beside cameras that show what they should not: one sentence each, and nothing to act on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from helpers.perception import Box, depth_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from mql_ros.grasping.perception.camera import CameraModel, Depth
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.base.qos import RELIABLE
from mql_ros.ros.bringup.client import GraphClient
from mql_ros.ros.messages.camera import depth_message, info_message
from mql_ros.ros.messages.encoding import SECOND, nanoseconds
from mql_ros.ros.messages.view import read_points, read_view

NODE = ["-m", "mql_ros.ros.nodes.perception", "--ros-args", "-r", "__ns:=/seeing", "-p", "lockstep:=true"]
PROFILE = load_profile("panda")
CAMERA = CameraModel(320, 240, 300.0, 300.0, 159.5, 119.5, PROFILE.camera.pose)
FRAME = PROFILE.camera.frame
OBJECT = Box(0.52, 0.03, (0.05, 0.04, 0.06))


class Bench:
    """A camera beside the node, and what the node publishes."""

    def __init__(self, client: GraphClient) -> None:
        self.client, self.stamp = client, 0
        self.views: dict[int, PointCloud2] = {}
        self.tables: dict[int, PointCloud2] = {}
        node, topics = client.node, PROFILE.topics
        self.images = node.create_publisher(Image, topics.depth_image, RELIABLE)
        self.infos = node.create_publisher(CameraInfo, topics.camera_info, RELIABLE)
        for topic, kept in (("object_view", self.views), ("table_view", self.tables)):
            node.create_subscription(PointCloud2, topic, self._keep(kept), RELIABLE)
        for publisher in (self.images, self.infos):
            client.wait_for(publisher.get_subscription_count, 20, "the node")
        for topic in ("object_view", "table_view"):
            client.wait_for(lambda: node.count_publishers(topic), 20, "the node")  # noqa: B023

    def _keep(self, kept: dict[int, PointCloud2]) -> Callable[[PointCloud2], None]:
        return lambda message: kept.__setitem__(nanoseconds(message.header.stamp), message)

    def show(self, depth: Depth, frame: str = FRAME, info: dict[str, object] | None = None, **changes: object) -> int:
        """Publish an image and, unless `info` is None, its camera info, with changed fields; its stamp, ns."""
        self.stamp += SECOND
        if info is not None:
            self.infos.publish(changed(info_message(CAMERA, self.stamp, frame), info))
        self.images.publish(changed(depth_message(depth, self.stamp, frame, 0.001), changes))
        return self.stamp

    def complains(self, words: str, depth: Depth, **changes: object) -> int:
        """Wait until the node complains of images like this; the stamp of one in which no object is seen, ns."""

        def looked() -> bool:
            return self.figure("images") == self.stamp // SECOND

        def found() -> bool:
            if looked():
                self.show(depth, **changes)  # type: ignore[arg-type]
            return words in self.message

        self.client.wait_for(found, 30, "a complaint")
        last = self.show(depth, **changes)  # type: ignore[arg-type]
        self.client.wait_for(looked, 10, "the node to look at the image")
        assert last not in self.views
        return last

    @property
    def message(self) -> str:
        """The node's status on /diagnostics."""
        status = self.client.diagnostics.get("perception")
        return status.message if status else ""

    def figure(self, name: str) -> int:
        """A figure of the node on /diagnostics."""
        status = self.client.diagnostics.get("perception")
        return int({value.key: value.value for value in status.values}.get(name, 0)) if status else 0


def changed(message: Image | CameraInfo, fields: dict[str, object]) -> Image | CameraInfo:
    for field, value in fields.items():
        setattr(message, field, value)
    return message


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with subprocess.Popen([sys.executable, *NODE]) as node:
        try:
            with GraphClient(namespace="seeing") as client:
                yield Bench(client)
        finally:
            node.terminate()
            assert node.wait(10) == 0


def test_a_camera_that_is_silent_is_told_about(bench: Bench) -> None:
    words = "no depth images come on /seeing/camera/depth/image_rect_raw; start the camera's driver"
    bench.client.wait_for(lambda: bench.message == words, 20, "a complaint")


def test_images_without_camera_info_are_told_about(bench: Bench) -> None:
    words = "depth images come, but no camera info on /seeing/camera/depth/camera_info; publish it too"
    bench.complains(words, depth_of(CAMERA, [OBJECT]))


def test_the_object_is_seen_and_the_table_is_not_clear(bench: Bench) -> None:
    stamp = bench.show(depth_of(CAMERA, [OBJECT]), info={})
    bench.client.wait_for(lambda: stamp in bench.views and stamp in bench.tables, 10, "a view")
    view = read_view(bench.views[stamp], PROFILE.base_frame)
    assert view is not None and view.stamp == stamp / SECOND
    assert np.allclose(view.centre, [OBJECT.x, OBJECT.y], atol=0.004) and view.top == pytest.approx(0.06, abs=0.003)
    assert len(read_points(bench.tables[stamp], PROFILE.base_frame))


@pytest.mark.parametrize("boxes", [[], [replace(OBJECT, base=0.15)]], ids=["empty", "lifted"])
def test_the_table_is_clear_if_nothing_lies_on_it(bench: Bench, boxes: list[Box]) -> None:
    stamp = bench.show(depth_of(CAMERA, boxes), info={})
    bench.client.wait_for(lambda: stamp in bench.views and stamp in bench.tables, 10, "a view")
    assert (read_view(bench.views[stamp], PROFILE.base_frame) is None) == (not boxes)
    assert not len(read_points(bench.tables[stamp], PROFILE.base_frame))


def test_of_two_objects_the_one_nearest_the_middle_is_seen(bench: Bench) -> None:
    stamp = bench.show(depth_of(CAMERA, [OBJECT, Box(0.6, -0.12, (0.05, 0.05, 0.05))]), info={})
    bench.client.wait_for(lambda: stamp in bench.views, 10, "a view")
    view = read_view(bench.views[stamp], PROFILE.base_frame)
    assert view is not None and np.allclose(view.centre, [OBJECT.x, OBJECT.y], atol=0.004)
    words = "another object is ignored; the one nearest the middle is grasped"
    bench.client.wait_for(lambda: bench.message == words, 10, "the warning")


IN_MM = {"encoding": "32FC1", "step": 1280, "data": np.full((240, 320), 800.0, "<f4").tobytes()}
"""A depth image in mm whose encoding means m."""


@pytest.mark.parametrize(
    ("words", "changes"),
    {
        "the depth image is encoded as 'rgb8'": {"encoding": "rgb8"},
        "the depth image has 153600 bytes in rows of 640; expected 480 rows": {"height": 480},
        "pixels and its camera info 640 x 480; publish both from the same": {"info": {"width": 640, "height": 480}},
        "focal lengths -1, -1; expected positive numbers: calibrate": {"info": {"k": [-1.0] * 9, "p": [-1.0] * 12}},
        "the median depth is 800 m; a depth image in mm must be encoded as 16UC1": IN_MM,
        "the place of the camera's frame 'somewhere' is told neither by TF": {"frame": "somewhere"},
    }.items(),
    ids=["encoding", "size", "info size", "info", "unit", "frame"],
)  # fmt: skip
def test_images_that_cannot_be_used_are_told_about(bench: Bench, words: str, changes: dict) -> None:
    assert bench.complains(words, depth_of(CAMERA, [OBJECT]), **{"info": {}, **changes}) not in bench.tables


@pytest.mark.parametrize(
    ("words", "boxes"),
    [
        ("mm long; at most 160 mm can be grasped", [Box(0.5, 0.0, (0.3, 0.05, 0.05))]),
        ("reaches the border of the workspace", [Box(0.69, 0.0, (0.05, 0.05, 0.05))]),
        ("0% of the depth image's pixels", None),
        ("points in the workspace lie within 35 mm of the table's height", [Box(0.5, 0.0, (0.6, 0.6, 0.2))]),
    ],
    ids=["too large", "at the border", "no depth", "no table"],
)
def test_scenes_that_show_no_object_to_grasp_are_told_about(bench: Bench, words: str, boxes: list[Box] | None) -> None:
    depth = np.full((240, 320), np.nan, np.float32) if boxes is None else depth_of(CAMERA, boxes)
    bench.complains(words, depth, info={})
