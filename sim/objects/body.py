"""Things as bodies of a PyBullet client: compounds of convex hulls with the right mass, centre and inertia."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mql_ros.grasping.types import Array
from mql_sim.objects.solid import combined, convex
from mql_sim.objects.thing import Thing
from mql_sim.world.bullet import BulletClient, pybullet

MARGIN = 0.001
"""Thickness that Bullet adds around each hull, m; hulls are made thinner by as much."""
THINNEST = 0.0005
"""Half the thickness that is left of a hull, m."""
MOST_TRIANGLES = 40_000
"""Triangles of a surface that is drawn as it is; Bullet takes 131,072 vertices."""
SPINNING_FRICTION, ROLLING_FRICTION = 0.002, 0.0002


def create_body(client: BulletClient, thing: Thing, *, visible: bool = False) -> int:
    """Add a thing to a client with its frame at the world's origin; return the body's number.

    `visible` is for pictures: Bullet keeps what is seen, some 0.1 to 0.5 MB, until the client disconnects.
    """
    center, turn, principal = thing.inertial_frame
    # Bullet reads a compound of hulls from a file only, and would keep the file for its name.
    client.setPhysicsEngineParameter(enableFileCaching=0)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parts.obj"
        file.write_text(_hulls(thing))
        shape = client.createCollisionShape(pybullet.GEOM_MESH, fileName=str(file))
    look = _look(client, thing) if visible else _nothing(client)
    body = client.createMultiBody(
        thing.mass,
        shape,
        look,
        baseInertialFramePosition=center.tolist(),
        baseInertialFrameOrientation=turn.tolist(),
    )
    client.changeDynamics(
        body,
        -1,
        localInertiaDiagonal=principal.tolist(),
        lateralFriction=thing.friction,
        spinningFriction=SPINNING_FRICTION,
        rollingFriction=ROLLING_FRICTION,
    )
    return int(body)


def create_look(client: BulletClient, thing: Thing) -> int:
    """Add what is seen of a thing to a client, for pictures: it touches nothing and stays where it is put."""
    return int(client.createMultiBody(0, -1, _look(client, thing)))


def _look(client: BulletClient, thing: Thing) -> int:
    """Visual shape of a thing's surface, or of its parts if the surface is too fine."""
    solid = thing.solid
    if len(solid.faces) > MOST_TRIANGLES:
        solid = combined([convex(part) for part in solid.parts])
    corners = solid.vertices[solid.faces]  # no vertex is shared, so that edges look sharp
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    return int(
        client.createVisualShape(
            pybullet.GEOM_MESH,
            vertices=corners.reshape(-1, 3).tolist(),
            indices=list(range(corners.size // 3)),
            normals=np.repeat(normals, 3, axis=0).tolist(),
            rgbaColor=thing.color,
        )
    )


def _nothing(client: BulletClient) -> int:
    """Visual shape that is not seen; without any, Bullet would draw what collides."""
    return int(client.createVisualShape(pybullet.GEOM_BOX, halfExtents=[0.0, 0.0, 0.0]))


def place_body(client: BulletClient, body: int, thing: Thing, position: Array, orientation: Array) -> None:
    """Put the thing's frame at a position [3] (m) and orientation (quaternion x, y, z, w [4]) of the world, at rest."""
    center, turn, _ = thing.inertial_frame
    pose = client.multiplyTransforms(list(position), list(orientation), center.tolist(), turn.tolist())
    client.resetBasePositionAndOrientation(body, *pose)
    client.resetBaseVelocity(body, [0, 0, 0], [0, 0, 0])


def body_pose(client: BulletClient, body: int, thing: Thing) -> tuple[Array, Array]:
    """Position [3] (m) and orientation (quaternion x, y, z, w [4]) of the thing's frame in the world."""
    center, turn, _ = thing.inertial_frame
    inverse = client.invertTransform(center.tolist(), turn.tolist())
    position, orientation = client.multiplyTransforms(*client.getBasePositionAndOrientation(body), *inverse)
    return np.array(position), np.array(orientation)


def _hulls(thing: Thing) -> str:
    """Text of an OBJ file with one object for each convex part; Bullet takes the hull of each."""
    lines, first = [], 1
    for number, part in enumerate(thing.solid.parts):
        corners = _thinner(part)
        count = len(corners)
        lines.append(f"o part{number}")
        lines += [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in corners]
        # Faces only name the vertices: each once, the last ones perhaps twice.
        starts = [*range(0, count - 2, 3), count - 3]
        lines += [f"f {first + k} {first + k + 1} {first + k + 2}" for k in dict.fromkeys(starts)]
        first += count
    return "\n".join(lines) + "\n"


def _thinner(corners: Array) -> Array:
    """Corners [n, 3] of a hull drawn together by Bullet's margin along its principal axes."""
    middle = corners.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(corners.T))
    along = (corners - middle) @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    half = (high - low) / 2
    left = np.maximum(half - MARGIN, np.minimum(half, THINNEST))
    return np.asarray(middle + ((low + high) / 2 + (along - (low + high) / 2) * (left / half)) @ axes.T)
