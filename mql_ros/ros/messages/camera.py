"""Images and camera info as ROS messages and as plain data."""

from __future__ import annotations

import array

import numpy as np
from sensor_msgs.msg import CameraInfo, Image

from mql_ros.grasping.perception.camera import CameraModel, Depth, PerceptionError, decode_depth
from mql_ros.grasping.types import Array
from mql_ros.ros.messages.encoding import time_message

MILLIMETRE = 0.001


def image_message(pixels: np.ndarray, stamp: int) -> Image:
    """Return an RGB image [height, width, 3] as a message."""
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp = time_message(stamp)
    message.header.frame_id = "camera"
    message.data = array.array("B", pixels.astype(np.uint8).tobytes())
    return message


def depth_message(depth: Depth, stamp: int, frame: str, quantum: float) -> Image:
    """Return a depth image [height, width] (m, NaN without a measurement) as depth cameras publish it.

    With a `quantum` of 1 mm it is 16UC1 (mm, 0 without a measurement), else 32FC1 (m).
    """
    height, width = depth.shape
    if quantum == MILLIMETRE:
        pixels, encoding = np.rint(np.nan_to_num(depth) / np.float32(MILLIMETRE)).astype("<u2"), "16UC1"
    else:
        pixels, encoding = depth.astype("<f4"), "32FC1"
    message = Image(height=height, width=width, encoding=encoding, step=pixels.itemsize * width)
    message.header.stamp = time_message(stamp)
    message.header.frame_id = frame
    message.data = array.array("B", pixels.tobytes())
    return message


def read_depth(message: Image) -> Depth:
    """Return the depth image [height, width], m; PerceptionError if it has another encoding or size."""
    big_endian = bool(message.is_bigendian)
    return decode_depth(bytes(message.data), message.encoding, message.width, message.height, message.step, big_endian)


def info_message(camera: CameraModel, stamp: int, frame: str) -> CameraInfo:
    """Return the camera's model, without its pose, as a message."""
    message = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    message.header.stamp = time_message(stamp)
    message.header.frame_id = frame
    message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [camera.fx, 0.0, camera.cx, 0.0, 0.0, camera.fy, camera.cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def read_info(message: CameraInfo, pose: Array) -> CameraModel:
    """Return the camera's model at a pose [4, 4]; PerceptionError if its numbers are none of a camera.

    Rectified images follow the projection matrix P; a driver that leaves it empty means K.
    """
    p, k = [float(v) for v in message.p], [float(v) for v in message.k]
    fx, fy, cx, cy = (p[0], p[5], p[2], p[6]) if p[0] > 0.0 else (k[0], k[4], k[2], k[5])
    if (distorted := [v for v in message.d if v]) and not p[0] > 0.0:
        raise PerceptionError(
            "camera_info",
            f"the camera info gives a distortion ({distorted[0]:g}, ...) and no projection matrix; publish the "
            "rectified depth image, by image_proc",
        )
    return CameraModel(int(message.width), int(message.height), fx, fy, cx, cy, pose)
