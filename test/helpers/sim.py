"""Trials run for the tests of the simulator."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mql_ros.grasping.learning.candidates import antipodal
from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array, Measurement
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session
from mql_sim.objects.thing import Thing
from mql_sim.oracle import adequate_force
from mql_sim.world.world import World


def numbers(measurement: Measurement) -> Array:
    """All that was measured in one row, without the running clock."""
    values = dataclasses.asdict(measurement)
    del values["stamp"]
    return np.concatenate([np.atleast_1d(value) for value in values.values()])


class SimulatedArm:
    """The arm in a world as PyBullet has it, found by the profile's names."""

    def __init__(self, world: World) -> None:
        client, profile = world.client, world.profile
        for body in range(client.getNumBodies()):
            joints = [client.getJointInfo(body, joint) for joint in range(client.getNumJoints(body))]
            number = {joint[1].decode(): joint[0] for joint in joints}
            if set(profile.joint_names) <= set(number):
                break
        self.client, self.body = client, body
        self.joints = [number[name] for name in profile.joint_names]
        self.fingers = [number[name] for name in profile.finger_names]
        self.tool = {joint[12].decode(): joint[0] for joint in joints}[profile.tool_frame]

    def joint_info(self, joint: int) -> tuple:
        """PyBullet's row about a joint: 8 and 9 are its limits, 11 its largest speed."""
        return self.client.getJointInfo(self.body, joint)

    def tool_pose(self, positions: Array) -> tuple[Array, Array]:
        """Position [3] (m) and orientation [3, 3] of the tool frame with the joints at positions [n], rad."""
        for joint, position in zip(self.joints, positions, strict=True):
            self.client.resetJointState(self.body, joint, position)
        state = self.client.getLinkState(self.body, self.tool, computeForwardKinematics=True)
        return np.array(state[4]), quaternion_to_matrix(np.array(state[5]))


@contextmanager
def recorded(task: GraspTask) -> Iterator[list[Array]]:
    """Everything that the task's world measures in the meantime, a row for each control period."""
    rows: list[Array] = []
    advance = task.world.advance

    def kept(*arguments) -> Measurement:
        measurement = advance(*arguments)
        rows.append(numbers(measurement))
        return measurement

    task.world.advance = kept  # type: ignore[method-assign]
    try:
        yield rows
    finally:
        del task.world.advance


def grasp(task: GraspTask, thing: Thing, force: float | None = None, rank: int = 0) -> tuple[float, bool]:
    """One trial with the best antipodal candidate, or one of a rank, and an adequate or a given force (N).

    Returns the sum of rewards and whether the object was lifted in truth.
    """
    task.begin_trial()
    force = adequate_force(thing) if force is None else force
    found, _ = antipodal(task.view.heights, np.random.default_rng(0))
    place, lift = spaces.grasp_action(*found[rank]), spaces.lifting_action(force, 0.2)
    actions = (place, spaces.closing_action(0.0, 0.0, 0.0, force), lift)
    return sum(task.decide(action)[1] for action in actions), task.truly_lifted


def trajectory(task: GraspTask, name: str, seed: int) -> bytes:
    """A good grasp and a random trial on an object, as bytes: with contacts, and with arm and object in a mess."""
    rng, thing = np.random.default_rng(seed), thing_of_session(name, seed)
    assert task.set_thing(thing, seed)
    with recorded(task) as rows:
        grasp(task, thing)
        task.begin_trial()
        while not task.decide(rng.uniform(-1, 1, size=spaces.ACTION_SIZE))[2]:
            pass
    return np.array(rows).tobytes()
