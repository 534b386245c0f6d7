"""Pictures of the simulated scene, by PyBullet's software renderer (no display needed)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mql_sim.objects.body import create_look
from mql_sim.world.bullet import pybullet
from mql_sim.world.world import World


def picture(world: World, width: int = 360, height: int = 360) -> NDArray[np.uint8]:
    """Return an RGB picture [height, width, 3] of arm, table and object."""
    client = world.client
    # Simulated objects have no looks, so that training does not pay for them.
    look = create_look(client, world.thing)
    client.resetBasePositionAndOrientation(look, *(part.tolist() for part in world.object_pose()))
    view = client.computeViewMatrix([1.15, -0.75, 0.62], [0.50, 0.0, 0.18], [0, 0, 1])
    projection = client.computeProjectionMatrixFOV(27, width / height, 0.05, 4.0)
    _, _, pixels, _, _ = client.getCameraImage(
        width,
        height,
        view,
        projection,
        lightDirection=[1.2, -1.0, 2.5],
        shadow=1,
        renderer=pybullet.ER_TINY_RENDERER,
        flags=pybullet.ER_NO_SEGMENTATION_MASK,
    )
    client.removeBody(look)
    return np.reshape(np.asarray(pixels, dtype=np.uint8), (height, width, 4))[:, :, :3].copy()
