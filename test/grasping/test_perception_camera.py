import numpy as np
import pytest
from helpers.perception import camera
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.grasping.perception.camera import REASONS, CameraModel, PerceptionError, decode_depth, points_in_base

ROWS = np.array([[0.5, 0.25, 1.0], [2.0, 0.125, 0.75]])


@settings(max_examples=30, deadline=None)
@given(column=st.floats(0, 319), row=st.floats(0, 239), depth=st.floats(0.2, 3.0))
def test_a_point_projects_to_the_pixel_that_it_came_from(column: float, row: float, depth: float) -> None:
    point = camera().points(np.array([column]), np.array([row]), np.array([depth]))
    pixels, depths = camera().project(point)
    assert np.allclose(pixels, [[column, row]], atol=1e-6)
    assert np.allclose(depths, depth)


def test_the_optical_axis_meets_the_target() -> None:
    model = CameraModel.looking_at(np.array([0.7, 0.1, 0.9]), np.array([0.5, 0.0, 0.0]), 640, 480, 400.0)
    pixels, depths = model.project(np.array([[0.5, 0.0, 0.0], [0.5, 0.0, 0.1]]))
    assert np.allclose(pixels[0], [319.5, 239.5])
    assert depths[0] == pytest.approx(np.sqrt(0.04 + 0.01 + 0.81))
    assert pixels[1, 1] < pixels[0, 1]  # upwards in space is upwards in the image


def test_a_camera_may_look_straight_down() -> None:
    model = CameraModel.looking_at(np.array([0.5, 0.0, 0.9]), np.array([0.5, 0.0, 0.0]), 640, 480, 400.0)
    pixels, _ = model.project(np.array([[0.6, 0.0, 0.0], [0.5, 0.1, 0.0]]))
    assert np.allclose(pixels, [[319.5, 239.5 - 400 / 9], [319.5 - 400 / 9, 239.5]])


def test_a_crop_shows_the_same_points() -> None:
    model = camera(64, 48, 40.0)
    depth = np.random.default_rng(0).uniform(0.5, 1.0, (48, 64)).astype(np.float32)
    cropped = model.cropped(10, 20, 30, 15)
    whole = points_in_base(depth, model).reshape(48, 64, 3)[20:35, 10:40].reshape(-1, 3)
    assert np.allclose(points_in_base(depth[20:35, 10:40], cropped), whole)


def test_pixels_without_a_measurement_are_no_points() -> None:
    depth = np.array([[0.5, np.nan, 0.0], [np.inf, -1.0, 0.7]], np.float32)
    depth[~np.isfinite(depth)] = np.nan
    assert points_in_base(depth, camera(3, 2, 3.0)).shape == (2, 3)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 8])
@pytest.mark.parametrize(("encoding", "dtype", "unit"), [("16UC1", "u2", 1000), ("32FC1", "f4", 1)])
def test_every_form_of_a_depth_image_means_the_same(
    encoding: str, dtype: str, unit: int, padding: int, big_endian: bool
) -> None:
    pixels = (ROWS * unit).astype((">" if big_endian else "<") + dtype)
    data = b"".join(row.tobytes() + bytes(padding) for row in pixels)
    depth = decode_depth(data, encoding, 3, 2, len(data) // 2, big_endian)
    assert depth.dtype == np.float32
    assert np.allclose(depth, ROWS)


def test_zero_infinity_and_nan_are_no_measurements() -> None:
    millimetres = np.array([[0, 500]], "<u2")
    metres = np.array([[np.inf, -np.inf, np.nan, 0.0, 0.5]], "<f4")
    assert np.isnan(decode_depth(millimetres.tobytes(), "16UC1", 2, 1, 4)).tolist() == [[True, False]]
    assert np.isnan(decode_depth(metres.tobytes(), "32FC1", 5, 1, 20)).tolist() == [[True] * 4 + [False]]


@pytest.mark.parametrize(
    ("arguments", "reason", "words"),
    [
        ((bytes(24), "bgr8", 4, 2, 12), "encoding", "'bgr8'; expected 16UC1"),
        ((bytes(24), "64FC1", 4, 2, 12), "encoding", "32FC1"),
        ((bytes(15), "16UC1", 4, 2, 8), "size", "15 bytes"),
        ((bytes(16), "16UC1", 4, 2, 6), "size", "rows of 6"),
        ((bytes(16), "32FC1", 4, 2, 8), "size", "16 for 4 x 2"),
        ((b"", "16UC1", 0, 0, 0), "size", "0 x 0"),
        ((np.full((2, 4), 850.0, "<f4").tobytes(), "32FC1", 4, 2, 16), "units", "850 m"),
    ],
)
def test_a_wrong_depth_image_is_one_sentence(arguments: tuple, reason: str, words: str) -> None:
    with pytest.raises(PerceptionError, match=words) as caught:
        decode_depth(*arguments)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert "\n" not in str(caught.value) and ". " not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fx": 0.0}, "camera_info"),
        ({"fy": float("nan")}, "camera_info"),
        ({"width": 0}, "camera_info"),
        ({"pose": np.zeros((4, 4))}, "camera_pose"),
        ({"pose": np.eye(3)}, "camera_pose"),
        ({"pose": np.diag([1.0, 1.0, -1.0, 1.0])}, "camera_pose"),
        ({"pose": np.full((4, 4), np.nan)}, "camera_pose"),
    ],
    ids=str,
)
def test_an_impossible_camera_is_refused(change: dict, reason: str) -> None:
    numbers = {"width": 4, "height": 3, "fx": 4.0, "fy": 4.0, "cx": 1.5, "cy": 1.0, "pose": np.eye(4)}
    with pytest.raises(PerceptionError) as caught:
        CameraModel(**(numbers | change))
    assert caught.value.reason == reason
