"""The PyBullet world: one arm with a parallel gripper, a table and one object. Deterministic; knows no ROS."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Measurement
from mql_sim.camera import Surface
from mql_sim.objects.body import body_pose, create_body, place_body
from mql_sim.objects.thing import Thing
from mql_sim.world.bullet import connect, pybullet, pybullet_data
from mql_sim.world.robot_description import describe

GRAVITY = 9.81
POSITION_GAIN, FINGER_GAIN = 0.2, 0.2
ARM_EFFORT = 87.0
TABLE_FRICTION = 0.6
PAD_FRICTION, PAD_SPINNING_FRICTION, PAD_ROLLING_FRICTION = 1.0, 0.01, 0.0005
COUPLING_FORCE = 400.0
"""Force with which coupled fingers are kept equally far from the middle, N."""
END_STOP_PLAY = 0.0004
"""How far the end stop of each finger gives way, m: what is jammed holds the fingers wider apart than they open."""
DROPS, DROP_SECONDS = 4, 5.0
"""Times that an object is dropped until it comes to rest, and how long it is watched each time."""
STILL, STILL_TURN = 0.0005, 0.01
"""An object rests if it moves (m) and turns (rad) less than this in two quarters of a second, one after the other."""
CRUSHED_AFTER = 2
"""Control periods of too firm a grip before the object gives way."""
OUT_OF_REACH = 0.025
"""Fingertips higher than this above the object do not reach it within a control period, m."""


@dataclass(frozen=True)
class Physics:
    """Settings of the physics engine; docs/physics.md says why these."""

    step: float = 1.0 / 120.0
    """s."""
    iterations: int = 50
    """Most iterations of the contact solver in a step."""
    residual: float = 1e-4
    """The solver stops once its residual is smaller."""
    coupled: bool = False
    """Whether a mechanism keeps the fingers equally far from the middle of the hand."""


@dataclass(frozen=True)
class Rest:
    """How an object rests on the table."""

    turn: Array
    """Orientation (quaternion x, y, z, w [4])."""
    height: float
    """Height of the object frame's origin above the table, m."""


UPRIGHT = np.array([0.0, 0.0, 0.0, 1.0])


class World:
    """An arm, a table and one object, advanced by one control period at a time."""

    def __init__(self, profile: RobotProfile, physics: Physics | None = None) -> None:
        physics = physics or Physics()
        self.profile = profile
        self.client = connect()
        client = self.client
        client.setAdditionalSearchPath(pybullet_data.getDataPath())
        client.setGravity(0, 0, -GRAVITY)
        client.setPhysicsEngineParameter(
            fixedTimeStep=physics.step,
            numSolverIterations=physics.iterations,
            solverResidualThreshold=physics.residual,
            deterministicOverlappingPairs=1,
        )
        self._half_steps = round(profile.control_period / physics.step / 2)
        self._quarter_second = round(0.25 / physics.step)
        table = client.createCollisionShape(pybullet.GEOM_BOX, halfExtents=[0.5, 0.5, 0.05])
        self._table = client.createMultiBody(0, table, -1, [0.55, 0, -0.05])
        client.changeDynamics(self._table, -1, lateralFriction=TABLE_FRICTION)
        self._load_arm(physics.coupled)
        self._object: int | None = None
        self._time = 0.0
        self._too_firm = 0
        self._crushed = False

    def _load_arm(self, coupled: bool) -> None:
        client, profile = self.client, self.profile
        description = describe(profile)
        if profile.gripper_urdf is None:
            self._arm = client.loadURDF(profile.urdf, useFixedBase=True)
        else:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "arm.urdf"
                path.write_text(description)
                self._arm = client.loadURDF(str(path), useFixedBase=True)
        joints = [client.getJointInfo(self._arm, j) for j in range(client.getNumJoints(self._arm))]
        names = {joint[1].decode(): joint[0] for joint in joints}
        self._arm_joints = [names[n] for n in profile.joint_names]
        self._efforts = [max(ARM_EFFORT, joints[j][10]) for j in self._arm_joints]
        self._tool = {joint[12].decode(): joint[0] for joint in joints}[profile.tool_frame]
        self._fingers = [names[n] for n in profile.finger_names]
        hand = {self._arm_joints[-1]}
        for joint in joints:
            if joint[16] in hand:
                hand.add(joint[0])
        # Only the hand touches anything: the safety filter keeps the other links away from everything.
        for link in sorted({-1, *range(len(joints))} - hand):
            client.setCollisionFilterGroupMask(self._arm, link, 0, 0)
        for finger in self._fingers:
            client.changeDynamics(
                self._arm,
                finger,
                lateralFriction=PAD_FRICTION,
                spinningFriction=PAD_SPINNING_FRICTION,
                rollingFriction=PAD_ROLLING_FRICTION,
            )
        if coupled:
            nowhere = [0, 0, 0]
            gear = client.createConstraint(
                self._arm, self._fingers[0], self._arm, self._fingers[1],
                pybullet.JOINT_GEAR, [1, 0, 0], nowhere, nowhere,
            )  # fmt: skip
            client.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=COUPLING_FORCE)

    def close(self) -> None:
        """Release the physics server."""
        if self.client.isConnected():
            self.client.disconnect()

    def set_thing(self, thing: Thing, rng: np.random.Generator) -> bool:
        """Put another object on the table and let it come to rest: as modelled if it is upright and rests so,
        else as it falls.

        Returns False if it does not come to rest.
        """
        if self._object is not None:
            self.client.removeBody(self._object)
        self.thing = thing
        self._object = create_body(self.client, thing, visible=False)
        self.set_friction(1.0)
        self._surface = Surface(thing.solid.vertices, thing.solid.faces)
        self._set_crushed(False)
        self._arm_home()
        for drop in range(DROPS):
            turn = UPRIGHT if thing.upright and drop == 0 else rng.normal(size=4)
            rest = self._drop(turn / np.linalg.norm(turn))
            if rest is not None:
                self.rest = rest
                return True
        return False

    def set_friction(self, factor: float) -> None:
        """Multiply the friction of the object with table and pads."""
        self.client.changeDynamics(self._object, -1, lateralFriction=self.thing.friction * factor)

    def _drop(self, turn: Array) -> Rest | None:
        """How the object comes to rest from an orientation just above the table; None if it keeps moving."""
        client = self.client
        assert self._object is not None
        middle = self.profile.home_position[:2]
        lowest = float((quaternion_to_matrix(turn) @ self.thing.solid.vertices.T)[2].min())
        place_body(client, self._object, self.thing, np.array([*middle, 0.002 - lowest]), turn)
        still, before = 0, body_pose(client, self._object, self.thing)
        for _ in range(round(DROP_SECONDS / 0.25)):
            for _ in range(self._quarter_second):
                client.stepSimulation()
            now = body_pose(client, self._object, self.thing)
            moved = float(np.linalg.norm(now[0] - before[0]))
            turned = 2.0 * float(np.arccos(min(1.0, float(abs(now[1] @ before[1])))))
            still = still + 1 if moved < STILL and turned < STILL_TURN else 0
            if still >= 2:
                return Rest(now[1], float(now[0][2]))
            before = now
        return None

    def _arm_home(self) -> None:
        self._put_arm(self.profile.home, np.zeros_like(self.profile.home))
        for finger in self._fingers:
            self.client.resetJointState(self._arm, finger, self.profile.max_width / 2, 0.0)
        # Motors keep their targets: an object that settles would be struck where the trial before ended.
        self._command(self.profile.home, np.zeros_like(self.profile.home))
        self._command_fingers(self.profile.max_width, self.profile.max_force)

    def _put_arm(self, positions: Array, velocities: Array) -> None:
        self.client.resetJointStatesMultiDof(
            self._arm, self._arm_joints, positions[:, None].tolist(), velocities[:, None].tolist()
        )

    def reset(self, xy: tuple[float, float], yaw: float) -> Measurement:
        """The object in its resting pose, its bounding box about xy (m), turned by yaw (rad); the arm at home."""
        assert self._object is not None, "set_thing comes first"
        self._set_crushed(False)
        turn = _turned(yaw, self.rest.turn)
        points = self.thing.solid.vertices @ quaternion_to_matrix(turn).T
        middle = (points.min(axis=0) + points.max(axis=0))[:2] / 2
        position = np.array([*(np.array(xy) - middle), self.rest.height])
        place_body(self.client, self._object, self.thing, position, turn)
        self._travel_height = self.rest.height + float(points[:, 2].max()) + OUT_OF_REACH
        self._travelling = True
        self._arm_home()
        self._too_firm = 0
        home = self.profile.home
        measurement = self.advance(home, np.zeros_like(home), self.profile.max_width, self.profile.max_force)
        self.start_height = self.height
        return measurement

    @property
    def height(self) -> float:
        """Height of the object's centre of mass, m."""
        return float(self.client.getBasePositionAndOrientation(self._object)[0][2])

    @property
    def on_table(self) -> bool:
        """Whether the object touches the table."""
        return bool(self.client.getContactPoints(bodyA=self._table, bodyB=self._object))

    @property
    def crushed(self) -> bool:
        """Whether the object has given way in this trial."""
        return self._crushed

    def surface(self) -> Surface:
        """Surface of the object as it lies now, base frame."""
        position, turn = self.object_pose()
        return self._surface.moved(position, quaternion_to_matrix(turn))

    def object_pose(self) -> tuple[Array, Array]:
        """Position [3] (m) and orientation (quaternion x, y, z, w [4]) of the object frame."""
        assert self._object is not None, "set_thing comes first"
        return body_pose(self.client, self._object, self.thing)

    def advance(self, target: Array, velocity: Array, finger_target: float, finger_force: float) -> Measurement:
        """Simulate one control period.

        The arm moves towards joint positions [n] (rad) with velocities [n] (rad/s), and the fingers towards an opening
        (m) with a force (N) each.
        """
        start = np.array([s[0] for s in self.client.getJointStates(self._arm, self._arm_joints)])
        self._travelling = self._travelling and self._is_free(target - start, finger_target)
        if self._travelling:  # nothing is touched: the arm follows exactly, for a fifth of the time
            self._put_arm(target, velocity)
        else:
            self._simulate(start, target, velocity, finger_target, finger_force)
        self._time += self.profile.control_period
        measurement = self.measure()
        closing = finger_target < measurement.finger_width - 2 * END_STOP_PLAY - 1e-4  # else they only hold apart
        self._crush_if_too_firm(measurement, finger_force if closing else 0.0)
        return measurement

    def _is_free(self, way: Array, finger_target: float) -> bool:
        """Whether the open hand stays above the object during a motion that the arm can carry out."""
        client, profile = self.client, self.profile
        tip = client.getLinkState(self._arm, self._tool, computeForwardKinematics=True)[4][2]
        possible = bool((np.abs(way) <= profile.velocity * profile.control_period).all())
        return tip > self._travel_height and finger_target == profile.max_width and possible

    def _simulate(
        self, start: Array, target: Array, velocity: Array, finger_target: float, finger_force: float
    ) -> None:
        self._command_fingers(finger_target, finger_force)
        for share in (0.5, 1.0):
            self._command(start + (target - start) * share, velocity)
            for _ in range(self._half_steps):
                self.client.stepSimulation()
            self._stop_fingers()

    def _command(self, positions: Array, velocities: Array) -> None:
        self.client.setJointMotorControlArray(
            self._arm,
            self._arm_joints,
            pybullet.POSITION_CONTROL,
            targetPositions=positions,
            targetVelocities=velocities,
            forces=self._efforts,
            positionGains=[POSITION_GAIN] * len(positions),
        )

    def _command_fingers(self, width: float, force: float) -> None:
        for finger in self._fingers:
            self.client.setJointMotorControl2(
                self._arm,
                finger,
                pybullet.POSITION_CONTROL,
                targetPosition=width / 2,
                force=force,
                positionGain=FINGER_GAIN,
                maxVelocity=self.profile.finger_speed,
            )

    def _stop_fingers(self) -> None:
        """Keep the fingers within their end stops: Bullet's own limits give way to what is pushed between them."""
        widest = self.profile.max_width / 2 + END_STOP_PLAY
        for finger, state in zip(self._fingers, self.client.getJointStates(self._arm, self._fingers), strict=True):
            if state[0] > widest:
                self.client.resetJointState(self._arm, finger, widest, 0.0)

    def _crush_if_too_firm(self, measurement: Measurement, finger_force: float) -> None:
        firm = measurement.finger_effort > 0 and finger_force > self.thing.crush_force
        self._too_firm = self._too_firm + 1 if firm else 0
        if self._too_firm >= CRUSHED_AFTER and not self._crushed:
            self._set_crushed(True)

    def _set_crushed(self, crushed: bool) -> None:
        """Let the fingers pass through the object, or not."""
        self._crushed = crushed
        for finger in self._fingers:
            self.client.setCollisionFilterPair(self._arm, self._object, finger, -1, 0 if crushed else 1)

    def measure(self) -> Measurement:
        """What the arm's sensors report now."""
        states = self.client.getJointStates(self._arm, self._arm_joints + self._fingers)
        pads, force, torque = self._contacts()
        return Measurement(
            stamp=self._time,
            joint_positions=np.array([s[0] for s in states[:-2]]),
            joint_velocities=np.array([s[1] for s in states[:-2]]),
            finger_width=states[-2][0] + states[-1][0],
            finger_effort=min(pads),
            contact_force=force,
            contact_torque=torque,
        )

    def _contacts(self) -> tuple[list[float], Array, Array]:
        """Force on each pad (N), force on the tool [3] (N) and torque about its origin [3] (N m), tool axes."""
        pads = [0.0, 0.0]
        contacts = self.client.getContactPoints(bodyA=self._arm)
        if not contacts:
            return pads, np.zeros(3), np.zeros(3)
        state = self.client.getLinkState(self._arm, self._tool)
        turn = quaternion_to_matrix(np.array(state[5]))
        rows = np.array([(*c[7], c[9], *c[11], c[10], *c[13], c[12], *c[5]) for c in contacts])
        forces = rows[:, :3] * rows[:, 3:4] + rows[:, 4:7] * rows[:, 7:8] + rows[:, 8:11] * rows[:, 11:12]
        moments = (rows[:, 12:] - state[4]).T @ forces
        torque = np.array([moments[1, 2] - moments[2, 1], moments[2, 0] - moments[0, 2], moments[0, 1] - moments[1, 0]])
        for contact in contacts:
            if contact[3] in self._fingers and contact[2] == self._object:
                pads[self._fingers.index(contact[3])] += contact[9]
        return pads, turn.T @ forces.sum(axis=0), turn.T @ torque


def _turned(yaw: float, turn: Array) -> Array:
    """A quaternion (x, y, z, w) turned by yaw (rad) about the vertical."""
    c, s = np.cos(yaw / 2), np.sin(yaw / 2)
    x, y, z, w = turn
    return np.array([c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z])
