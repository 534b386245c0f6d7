"""Where the check listens: beside the driver, in a namespace as the launch files have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from std_msgs.msg import Empty

from mql_ros.grasping.robot.profile import load_profile
from mql_ros.ros.bringup.processes import Domain
from mql_ros.ros.bringup.robot_recorder import RobotRecorder

PROFILE = load_profile("panda")


@pytest.fixture(autouse=True)
def domain() -> Iterator[None]:
    with Domain():
        yield


@pytest.mark.parametrize(("namespace", "topic"), [("", "/tf_static"), ("left", "/left/tf_static")])
def test_transforms_are_asked_where_the_launch_files_have_them(
    namespace: str, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = SimpleNamespace(can_transform=lambda base, tool, time: True)
    topics: list[str] = []

    def listener(buffer: object, node: object) -> object:
        topics.append(node.create_subscription(Empty, "/tf_static", lambda message: None, 10).topic_name)
        return object()

    tf2 = SimpleNamespace(Buffer=lambda: buffer, TransformListener=listener, TransformException=Exception)
    monkeypatch.setitem(sys.modules, "tf2_ros", tf2)
    with RobotRecorder(PROFILE, namespace) as recorder:
        assert topics == [topic]
        assert recorder.frames.connected(PROFILE.base_frame, PROFILE.tool_frame) is None
        recorder.node.create_publisher(Empty, "/tf_static", 10)
        assert recorder.frames.connected(PROFILE.base_frame, PROFILE.tool_frame) is True
