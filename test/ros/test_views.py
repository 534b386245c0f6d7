"""What was seen as messages: height maps come back bit for bit, other clouds become height maps."""

import array

import numpy as np
import pytest
from helpers.perception import MIDDLE, Box, camera, depth_of
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import PointCloud2, PointField

from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.perception.height_map import CELLS, CENTRE_STEP, HeightMap, see
from mql_ros.grasping.perception.segmentation import Workspace
from mql_ros.ros.messages.camera import depth_message, info_message, read_depth, read_info
from mql_ros.ros.messages.encoding import SECOND, MessageError
from mql_ros.ros.messages.view import points_message, read_points, read_view, view_message

WORKSPACE = Workspace.about(MIDDLE[:2])


def same(one: HeightMap, other: HeightMap) -> bool:
    return (
        np.array_equal(one.heights, other.heights)
        and one.heights.dtype == other.heights.dtype
        and np.array_equal(one.centre, other.centre)
        and one.stamp == other.stamp
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**40))
def test_a_height_map_survives_its_message_to_the_last_bit(seed: int, stamp: int) -> None:
    rng = np.random.default_rng(seed)
    heights = rng.uniform(0.0, 0.3, (CELLS, CELLS)).astype(np.float32) * (rng.random((CELLS, CELLS)) < 0.6)
    heights[3, 4] = 0.1  # what is seen has at least one cell
    centre = np.rint(rng.uniform(-2.0, 2.0, 2) / CENTRE_STEP) * CENTRE_STEP
    view = HeightMap(heights, centre, stamp / SECOND, 0)
    back = read_view(view_message(view, "base"), "base")
    assert back is not None and same(view, back)


def test_what_perception_sees_survives_its_message_to_the_last_bit() -> None:
    view = see(depth_of(camera(), [Box(0.53, 0.04, (0.06, 0.05, 0.08), 0.4)], noise=0.001), camera(), WORKSPACE, 1.25)
    back = read_view(view_message(view, "base"), "base")
    assert back is not None and same(view, back)


@pytest.mark.parametrize(("kind", "code"), [("<f4", PointField.FLOAT32), (">f8", PointField.FLOAT64)])
def test_any_cloud_of_the_objects_points_becomes_a_height_map(kind: str, code: int) -> None:
    """Points of a box in the order, format and with the colours of somebody's own segmentation."""
    x, y = np.meshgrid(np.arange(0.47, 0.53, 0.002), np.arange(-0.02, 0.02, 0.002))
    points = np.stack([x.ravel(), y.ravel(), np.full(x.size, 0.07)], axis=1)
    points[::7] = np.nan
    size = np.dtype(kind).itemsize
    dtype = np.dtype(
        {"names": ["rgb", "z", "y", "x"], "formats": ["<u4", kind, kind, kind], "offsets": [0, 8, 16, 24],
         "itemsize": 40}
    )  # fmt: skip
    raw = np.zeros(len(points), dtype)
    for axis, name in enumerate("xyz"):
        raw[name] = points[:, axis]
    message = PointCloud2(height=1, width=len(points), point_step=40, row_step=40 * len(points))
    message.is_bigendian = kind[0] == ">"
    message.header.frame_id = "base"
    offsets = {"rgb": (0, PointField.UINT32), "z": (8, code), "y": (16, code), "x": (24, code)}
    message.fields = [PointField(name=n, offset=o, datatype=d, count=1) for n, (o, d) in offsets.items()]
    message.data = array.array("B", raw.tobytes())
    assert size in (4, 8)
    view = read_view(message, "base")
    assert view is not None and view.top == pytest.approx(0.07)
    assert np.allclose(view.centre, [0.499, -0.001], atol=0.002)
    assert np.count_nonzero(view.heights) == pytest.approx(12 * 8, abs=20)


def test_a_cloud_without_points_says_that_the_table_is_empty() -> None:
    assert read_view(points_message(np.empty((0, 3)), "base", 5), "base") is None
    assert read_view(points_message(np.full((4, 3), np.nan), "base", 5), "base") is None


def test_clouds_that_must_not_be_acted_on_are_refused() -> None:
    cloud = points_message(np.zeros((2, 3)), "camera", 0)
    with pytest.raises(MessageError, match="in frame 'camera'; expected 'base'"):
        read_view(cloud, "base")
    cloud = points_message(np.array([[0.3, 0.0, 0.1], [0.6, 0.0, 0.1]]), "base", 0)
    with pytest.raises(MessageError, match="300 mm long; at most 160 mm"):
        read_view(cloud, "base")
    cloud.row_step = 12
    with pytest.raises(MessageError, match="expected 1 rows"):
        read_points(cloud, "base")
    cloud.fields = cloud.fields[:2]
    with pytest.raises(MessageError, match="no field 'z'"):
        read_points(cloud, "base")


@pytest.mark.parametrize("quantum", [0.001, 0.0], ids=["16UC1", "32FC1"])
def test_a_depth_image_and_its_camera_survive_their_messages(quantum: float) -> None:
    model = camera(64, 48, 60.0)
    depth = depth_of(model, [Box(0.5, 0.0, (0.06, 0.05, 0.08))])
    if quantum:
        depth = np.rint(depth / np.float32(quantum)) * np.float32(quantum)
    depth[3:5, 7] = np.nan
    back = read_depth(depth_message(depth, 7, "camera", quantum))
    assert np.array_equal(back, depth, equal_nan=True)
    seen = read_info(info_message(model.cropped(5, 6, 20, 10), 7, "camera"), model.pose)
    wanted = model.cropped(5, 6, 20, 10)
    assert (seen.width, seen.height, seen.fx, seen.fy, seen.cx, seen.cy) == (
        wanted.width, wanted.height, wanted.fx, wanted.fy, wanted.cx, wanted.cy,
    )  # fmt: skip


def test_camera_info_of_an_image_that_is_not_rectified_is_refused() -> None:
    message = info_message(camera(), 7, "camera")
    message.d, message.p = [0.1, 0.0, 0.0, 0.0, 0.0], [0.0] * 12
    with pytest.raises(PerceptionError, match="publish the rectified depth image"):
        read_info(message, np.eye(4))
    message.d = [0.0] * 5
    assert read_info(message, np.eye(4)).fx == camera().fx
