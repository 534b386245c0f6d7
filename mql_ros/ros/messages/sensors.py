"""Joint states and wrench as ROS messages and as plain data.

Stamps are integer nanoseconds, numbers stay float64.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import WrenchStamped
from sensor_msgs.msg import JointState

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import LAG
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.messages.encoding import SECOND, MessageError, doubles, finite, nanoseconds, time_message

WINDOW = 40_000_000
"""Time over which velocities are estimated, ns; a shorter one would amplify the rounding of positions."""


@dataclass(frozen=True)
class JointSample:
    """One `joint_states` message: arm and fingers."""

    stamp: int
    """ns."""
    positions: Array
    """[n] arm joints in the order of the profile, rad."""
    velocities: Array
    """[n] arm joints, rad/s; estimated if the driver reports none."""
    finger_width: float
    """Sum of the fingers' positions, m."""
    finger_effort: float
    """Mean force of the fingers, N; zero if the profile has it estimated from their stall."""


@dataclass(frozen=True)
class WrenchSample:
    """One `wrench` message, in the tool frame."""

    stamp: int
    """ns."""
    force: Array
    """[3] N."""
    torque: Array
    """[3] Nm."""


class VelocityEstimate:
    """Joint velocities estimated from the positions within about the last WINDOW."""

    def __init__(self, fastest: Array) -> None:
        """`fastest` [n], rad/s: a faster change counts as a jump, and its velocity as zero."""
        self._fastest = fastest
        self._samples: deque[tuple[int, Array]] = deque()

    def put(self, stamp: int, positions: Array) -> Array:
        """Add positions [n] (rad) at `stamp` (ns); return velocities [n] (rad/s), zero for the first."""
        samples = self._samples
        if samples and stamp <= samples[-1][0]:
            samples.clear()
        while len(samples) > 1 and stamp - samples[1][0] >= WINDOW:
            samples.popleft()
        samples.append((stamp, positions))
        begin, before = samples[0]
        velocities = (positions - before) / max((stamp - begin) / SECOND, 1e-9)
        if (np.abs(velocities) <= self._fastest).all():
            return velocities
        samples.clear()
        samples.append((stamp, positions))
        return np.zeros_like(positions)


class JointReader:
    """Reads a profile's joints by name from messages with any order of joints."""

    def __init__(self, profile: RobotProfile) -> None:
        self._names = [*profile.joint_names, *profile.finger_names]
        self._arm = len(profile.joint_names)
        self._has_effort = profile.gripper_effort == "measured"
        self._estimate = VelocityEstimate(LAG * profile.velocity)
        self._seen: list[str] = []
        self._order: list[int] = []

    def read(self, message: JointState) -> JointSample:
        """Return the profile's joints; MessageError names what is missing or not finite.

        Velocities that the driver does not report are estimated from successive messages. Efforts are not read if the
        profile has them estimated.
        """
        if message.name != self._seen:
            missing = [name for name in self._names if name not in message.name]
            if missing:
                raise MessageError(
                    f"joint_states lacks {', '.join(missing)}; it has {', '.join(message.name) or 'none'}"
                )
            self._order = [message.name.index(name) for name in self._names]
            self._seen = list(message.name)
        count, n = len(self._seen), self._arm
        if len(message.position) != count or len(message.velocity) not in (0, count):
            raise MessageError(
                f"joint_states names {count} joints, but has {len(message.position)} positions and "
                f"{len(message.velocity)} velocities"
            )
        positions = finite("joint_states position", np.array(message.position)[self._order])
        stamp = nanoseconds(message.header.stamp)
        if len(message.velocity):
            velocities = finite("joint_states velocity", np.array(message.velocity)[self._order[:n]])
        else:
            velocities = self._estimate.put(stamp, positions[:n])
        return JointSample(
            stamp,
            positions[:n],
            velocities,
            float(sum(positions[n:].tolist())),
            self._effort(message) if self._has_effort else 0.0,
        )

    def _effort(self, message: JointState) -> float:
        if len(message.effort) == len(self._seen):
            efforts = np.array(message.effort)[self._order[self._arm :]]
            if np.isfinite(efforts).all():
                return float(sum(efforts.tolist()) / len(efforts))
        raise MessageError(
            "joint_states holds no finite effort of the fingers; have the driver report it, or set gripper.effort to "
            "stall in the robot profile"
        )


def joint_state_message(profile: RobotProfile, measurement: Measurement, stamp: int, finger_speed: float) -> JointState:
    """Return joint states as a driver reports them, each finger at `finger_speed` (m/s).

    There are no efforts in them if the profile has them estimated.
    """
    fingers = len(profile.finger_names)
    message = JointState(name=[*profile.joint_names, *profile.finger_names])
    message.header.stamp = time_message(stamp)
    width = measurement.finger_width / fingers
    message.position = doubles([*measurement.joint_positions, *[width] * fingers])
    message.velocity = doubles([*measurement.joint_velocities, *[finger_speed] * fingers])
    if profile.gripper_effort == "measured":
        message.effort = doubles([0.0] * len(profile.joint_names) + [measurement.finger_effort] * fingers)
    return message


def wrench_message(profile: RobotProfile, measurement: Measurement, stamp: int) -> WrenchStamped:
    """Return the force and torque on the tool, in the tool frame."""
    message = WrenchStamped()
    message.header.stamp = time_message(stamp)
    message.header.frame_id = profile.tool_frame
    force, torque = message.wrench.force, message.wrench.torque
    force.x, force.y, force.z = (float(v) for v in measurement.contact_force)
    torque.x, torque.y, torque.z = (float(v) for v in measurement.contact_torque)
    return message


def read_wrench(message: WrenchStamped, tool_frame: str) -> WrenchSample:
    """Return force and torque; MessageError if they are in another frame or not finite."""
    if message.header.frame_id != tool_frame:
        raise MessageError(f"wrench is in frame '{message.header.frame_id}'; expected '{tool_frame}'")
    force, torque = message.wrench.force, message.wrench.torque
    return WrenchSample(
        nanoseconds(message.header.stamp),
        finite("wrench", np.array([force.x, force.y, force.z])),
        finite("wrench", np.array([torque.x, torque.y, torque.z])),
    )


def measurement_from(joints: JointSample, wrench: WrenchSample | None) -> Measurement:
    """Join samples to one measurement; without a wrench the contact force is zero."""
    return Measurement(
        stamp=joints.stamp / SECOND,
        joint_positions=joints.positions,
        joint_velocities=joints.velocities,
        finger_width=joints.finger_width,
        finger_effort=joints.finger_effort,
        contact_force=wrench.force if wrench else np.zeros(3),
        contact_torque=wrench.torque if wrench else np.zeros(3),
    )
