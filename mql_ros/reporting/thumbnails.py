"""Small pictures of objects as modelled, all to the same scale."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from mql_ros.grasping.perception.camera import CameraModel
from mql_sim.camera import Surface, render
from mql_sim.objects.thing import Thing

SIDE = 120
"""Pixels."""
SHOWN = 0.29
"""Width of what a picture shows, m."""
DISTANCE = 1.2
"""Of the camera from the middle of the picture, m."""
MIDDLE = np.array([0.0, 0.0, 0.105])
FROM = np.array([0.75, -0.45, 0.5])
LIGHT = np.array([0.35, -0.55, 0.76])
AMBIENT = 0.35


def thumbnail(thing: Thing) -> bytes:
    """PNG of an object on a white ground."""
    position = MIDDLE + DISTANCE * FROM / np.linalg.norm(FROM)
    camera = CameraModel.looking_at(position, MIDDLE, SIDE, SIDE, SIDE * DISTANCE / SHOWN)
    depth = render(camera, [Surface(thing.solid.vertices, thing.solid.faces)])
    table = render(camera, [])
    column, row = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    rays = np.stack([(column - camera.cx) / camera.fx, (row - camera.cy) / camera.fy, np.ones_like(depth)], axis=-1)
    points = (rays * depth[..., None]) @ camera.pose[:3, :3].T
    normal = np.cross(np.gradient(points, axis=0), np.gradient(points, axis=1))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    shade = AMBIENT + (1.0 - AMBIENT) * np.clip(normal @ LIGHT, 0.0, 1.0)
    pixels = 255.0 * shade[..., None] * np.array(thing.color[:3])
    pixels[depth > table - 1e-4] = 255.0
    return png(np.clip(pixels, 0.0, 255.0).astype(np.uint8))


def png(pixels: Any) -> bytes:
    """PNG of an RGB picture [height, width, 3]."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
