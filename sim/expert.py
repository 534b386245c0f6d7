"""A scripted grasp that knows an object's hidden parameters: the teacher, and the check that objects can be grasped."""

from __future__ import annotations

import numpy as np

from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase, Place
from mql_ros.grasping.types import Array
from mql_sim.objects.spec import ObjectSpec

LIFT_SPEED = 0.28


def expert_action(spec: ObjectSpec, observation: Array) -> Array:
    """The decision [4] that grasps an object described by `spec`, given what the policy sees [15]."""
    phase = Phase(int(np.argmax(observation[:3])))
    if phase is Phase.PLACE:
        return spaces.action_for(place=Place(spec.grasp_x, spec.grasp_z))
    if phase is Phase.CLOSE:
        tool_x = spaces.X_MIDDLE + spaces.X_RANGE * float(observation[3])
        tool_z = spaces.Z_MIDDLE + spaces.Z_RANGE * float(observation[4])
        shift = Place(spec.grasp_x - tool_x, spec.grasp_z - tool_z)
        return spaces.action_for(correction=shift, force=spec.grasp_force)
    return spaces.action_for(force=spec.grasp_force, speed=LIFT_SPEED)
