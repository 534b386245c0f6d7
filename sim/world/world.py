"""The PyBullet world: one arm with a parallel gripper, a table and one object. Deterministic; knows no ROS."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Measurement
from mql_sim.objects.spec import GRAVITY, ObjectSpec
from mql_sim.world.bullet import connect, pybullet, pybullet_data
from mql_sim.world.robot_description import describe

PHYSICS_STEP = 1.0 / 120.0
SOLVER_ITERATIONS = 50
POSITION_GAIN = 0.2
"""Bullet's default of 0.1 lags and overshoots at this step."""
ARM_EFFORT = 87.0
"""Least torque limit of a joint, N m, if the URDF has a lower one: a real arm's controller compensates for gravity."""
PAD_SPINNING_FRICTION = 0.01
CRUSHED_AFTER = 2
"""Number of control periods with too much force after which the object is crushed."""


class World:
    """A simulated arm that executes joint targets one control period at a time.

    Training, the Gymnasium environment and the simulator node use the same class, so a policy learned in one holds in
    the others.
    """

    def __init__(self, profile: RobotProfile) -> None:
        self.profile = profile
        self.client = connect()
        client = self.client
        client.setAdditionalSearchPath(pybullet_data.getDataPath())
        client.setGravity(0, 0, -GRAVITY)
        client.setPhysicsEngineParameter(
            fixedTimeStep=PHYSICS_STEP, numSolverIterations=SOLVER_ITERATIONS, deterministicOverlappingPairs=1
        )
        self._steps = round(profile.control_period / PHYSICS_STEP)
        table = client.createCollisionShape(pybullet.GEOM_BOX, halfExtents=[0.5, 0.5, 0.05])
        look = client.createVisualShape(
            pybullet.GEOM_BOX, halfExtents=[0.5, 0.5, 0.05], rgbaColor=[0.62, 0.55, 0.46, 1.0]
        )
        self._table = client.createMultiBody(0, table, look, [0.55, 0, -0.05])
        client.changeDynamics(self._table, -1, lateralFriction=0.6)
        self._load_arm()
        self._object: int | None = None
        self._spec: ObjectSpec | None = None
        self._center_of_mass = np.zeros(3)
        self._time = 0.0
        self._too_firm = 0
        self._crushed = False

    def _load_arm(self) -> None:
        client, profile = self.client, self.profile
        description = describe(profile)  # raises where the profile does not fit its URDF
        if profile.gripper_urdf is None:
            self._arm = client.loadURDF(profile.urdf, useFixedBase=True)
        else:
            self._arm = self._load(description, useFixedBase=True)
        joints = [client.getJointInfo(self._arm, j) for j in range(client.getNumJoints(self._arm))]
        names = {joint[1].decode(): joint[0] for joint in joints}
        self._arm_joints = [names[n] for n in profile.joint_names]
        self._efforts = [max(ARM_EFFORT, joints[j][10]) for j in self._arm_joints]
        self._tool = {joint[12].decode(): joint[0] for joint in joints}[profile.tool_frame]
        self._fingers = [names[n] for n in profile.finger_names]
        # Links of the arm resting on the table or on each other would dominate the solver; only the hand touches.
        hand = {self._arm_joints[-1]}
        for joint in joints:
            if joint[16] in hand:  # what hangs on it comes after it
                hand.add(joint[0])
        for link in sorted({-1, *range(len(joints))} - hand):
            client.setCollisionFilterGroupMask(self._arm, link, 0, 0)
        for finger in self._fingers:
            client.changeDynamics(
                self._arm, finger, lateralFriction=1.0, spinningFriction=PAD_SPINNING_FRICTION, rollingFriction=0.0005
            )

    def _load(self, urdf: str, **options: Any) -> int:
        """Load the body described by a URDF text and return its number."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "body.urdf"
            path.write_text(urdf)
            return int(self.client.loadURDF(str(path), **options))

    def close(self) -> None:
        """Disconnect from the physics server; the world cannot be used afterwards."""
        if self.client.isConnected():
            self.client.disconnect()

    @property
    def spec(self) -> ObjectSpec:
        """The object on the table."""
        assert self._spec is not None, "set_object comes first"
        return self._spec

    @property
    def crushed(self) -> bool:
        """Whether the object has been crushed (for tests and pictures; no node or policy sees this)."""
        return self._crushed

    def set_object(self, spec: ObjectSpec) -> None:
        """Put another object on the table in place of the present one."""
        client = self.client
        if self._object is not None:
            client.removeBody(self._object)
        self._object = self._load(spec.urdf(), basePosition=[0.5, 0, 0.5])
        client.changeDynamics(
            self._object, -1, lateralFriction=spec.friction, spinningFriction=0.002, rollingFriction=0.0002
        )
        self._spec = spec
        self._center_of_mass = np.array(spec.center_of_mass)

    def reset(self, object_xy: tuple[float, float] = (0.5, 0.0), yaw: float = 0.0) -> Measurement:
        """Put the object upright on the table (m, rad, base frame), the arm at home with open fingers; measure."""
        client, profile = self.client, self.profile
        assert self._object is not None, "set_object comes first"
        self._set_crushed(False)
        turn = client.getQuaternionFromEuler([0, 0, yaw])
        offset = quaternion_to_matrix(np.array(turn)) @ self._center_of_mass
        client.resetBasePositionAndOrientation(
            self._object, [object_xy[0] + offset[0], object_xy[1] + offset[1], offset[2] + 0.0005], turn
        )
        client.resetBaseVelocity(self._object, [0, 0, 0], [0, 0, 0])
        for joint, value in zip(self._arm_joints, profile.home, strict=True):
            client.resetJointState(self._arm, joint, value, 0.0)
        for finger in self._fingers:
            client.resetJointState(self._arm, finger, profile.max_width / 2, 0.0)
        self._too_firm = 0
        # One period at rest settles the object and clears contacts cached from before.
        return self.advance(profile.home, np.zeros_like(profile.home), profile.max_width, profile.max_force)

    def advance(self, target: Array, velocity: Array, finger_target: float, finger_force: float) -> Measurement:
        """Run one control period towards joint positions [n] (rad) and a finger opening (m) with a force limit (N)."""
        client = self.client
        start = np.array([s[0] for s in client.getJointStates(self._arm, self._arm_joints)])
        for finger in self._fingers:
            client.setJointMotorControl2(
                self._arm,
                finger,
                pybullet.POSITION_CONTROL,
                targetPosition=finger_target / 2,
                force=finger_force,
                positionGain=0.2,
                maxVelocity=self.profile.finger_speed,
            )
        halves = 2
        for half in range(1, halves + 1):
            client.setJointMotorControlArray(
                self._arm,
                self._arm_joints,
                pybullet.POSITION_CONTROL,
                targetPositions=start + (target - start) * half / halves,
                targetVelocities=velocity,
                forces=self._efforts,
                positionGains=[POSITION_GAIN] * len(start),
            )
            for _ in range(self._steps // halves):
                client.stepSimulation()
        self._time += self.profile.control_period
        measurement = self.measure()
        self._crush_if_too_firm(measurement, finger_force)
        return measurement

    def _crush_if_too_firm(self, measurement: Measurement, finger_force: float) -> None:
        """Crush an object that is gripped with too much force: the fingers close through it and it falls."""
        firm = measurement.finger_effort > 0 and finger_force > self.spec.crush_force
        self._too_firm = self._too_firm + 1 if firm else 0
        if self._too_firm >= CRUSHED_AFTER and not self._crushed:
            self._set_crushed(True)

    def _set_crushed(self, crushed: bool) -> None:
        self._crushed = crushed
        for finger in self._fingers:
            self.client.setCollisionFilterPair(self._arm, self._object, finger, -1, 0 if crushed else 1)

    def measure(self) -> Measurement:
        """Return what the driver and perception would report now."""
        client = self.client
        states = client.getJointStates(self._arm, self._arm_joints + self._fingers)
        position, orientation = client.getBasePositionAndOrientation(self._object)
        turn = np.array(orientation)
        pads, force, torque = self._contacts()
        return Measurement(
            stamp=self._time,
            joint_positions=np.array([s[0] for s in states[:-2]]),
            joint_velocities=np.array([s[1] for s in states[:-2]]),
            finger_width=states[-2][0] + states[-1][0],
            finger_effort=min(pads),
            object_position=np.array(position) - quaternion_to_matrix(turn) @ self._center_of_mass,
            object_orientation=turn,
            contact_force=force,
            contact_torque=torque,
        )

    def _contacts(self) -> tuple[list[float], Array, Array]:
        """Return the normal force on each pad (N), and force (N) and torque (N m) on the tool in its own frame."""
        pads = [0.0, 0.0]
        contacts = self.client.getContactPoints(bodyA=self._arm)
        if not contacts:
            return pads, np.zeros(3), np.zeros(3)
        state = self.client.getLinkState(self._arm, self._tool)
        origin, turn = np.array(state[4]), quaternion_to_matrix(np.array(state[5]))
        force, torque = np.zeros(3), np.zeros(3)
        for contact in contacts:
            # Force on the arm: along the contact normal, plus the two friction directions.
            on_arm = np.array(contact[7]) * contact[9]
            on_arm += np.array(contact[11]) * contact[10] + np.array(contact[13]) * contact[12]
            force += on_arm
            torque += np.cross(np.array(contact[5]) - origin, on_arm)
            if contact[3] in self._fingers and contact[2] == self._object:
                pads[self._fingers.index(contact[3])] += contact[9]
        return pads, turn.T @ force, turn.T @ torque
