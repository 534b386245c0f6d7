"""Commands as joint trajectories, and back: the topics of ros2_control's joint_trajectory_controller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Command, Motion
from mql_ros.ros.messages.conversions import SECOND, MessageError, doubles, finite, nanoseconds, time_message


@dataclass(frozen=True)
class Trajectory:
    """A joint trajectory with its joints in the order asked for; point k is due `times[k]` seconds after the start."""

    stamp: int
    times: Array
    positions: Array
    velocities: Array
    efforts: Array
    """Empty [m, 0] where the message gives none."""


def _duration_message(seconds: float) -> Duration:
    total = round(seconds * SECOND)
    return Duration(sec=total // SECOND, nanosec=total % SECOND)


def arm_message(profile: RobotProfile, motion: Motion | None, stamp: int) -> JointTrajectory:
    """An arm motion; `stamp` 0 means that it starts on arrival. Without one an empty trajectory, which says: stop.

    Many drivers stop where they are at an empty trajectory. The joint_trajectory_controller of ros2_control did; since
    the end of 2023 it refuses one and goes on with what it has, so it is no hold by itself.
    """
    message = JointTrajectory(joint_names=list(profile.joint_names))
    message.header.stamp = time_message(stamp)
    if motion is not None:
        rows = zip(motion.points, motion.velocities, motion.accelerations, strict=True)
        message.points = [
            JointTrajectoryPoint(
                positions=doubles(position),
                velocities=doubles(velocity),
                accelerations=doubles(acceleration),
                time_from_start=_duration_message((k + 1) * profile.control_period),
            )
            for k, (position, velocity, acceleration) in enumerate(rows)
        ]
    return message


def position_message(profile: RobotProfile, command: Command, stamp: int) -> JointTrajectory:
    """A command's gripper motion: each finger takes its share of the opening, in the time that the whole one takes.

    So the fingers do not exceed their speed wherever they are. It is a line between two positions, without a force:
    what a joint_trajectory_controller with a position interface takes.
    """
    fingers = len(profile.finger_names)
    message = JointTrajectory(joint_names=list(profile.finger_names))
    message.header.stamp = time_message(stamp)
    seconds = max(profile.control_period, profile.finger_seconds)
    positions = doubles([command.finger_target / fingers] * fingers)
    message.points = [JointTrajectoryPoint(positions=positions, time_from_start=_duration_message(seconds))]
    return message


def gripper_message(profile: RobotProfile, command: Command, stamp: int) -> JointTrajectory:
    """The same with the force limit of each finger as effort."""
    message = position_message(profile, command, stamp)
    message.points[0].effort = doubles([command.finger_force] * len(profile.finger_names))
    return message


def width_force_message(profile: RobotProfile, command: Command, stamp: int) -> Float64MultiArray:
    """A command's gripper state as [opening in m, force limit of each finger in N, stamp answered in s or 0]."""
    return Float64MultiArray(data=[command.finger_target, command.finger_force, stamp / SECOND])


GRIPPER_MESSAGES: dict[str, tuple[type[Any], Callable[[RobotProfile, Command, int], Any]]] = {
    "joint_trajectory": (JointTrajectory, gripper_message),
    "position_trajectory": (JointTrajectory, position_message),
    "width_force": (Float64MultiArray, width_force_message),
}
"""Type of message, and how one is made, by the profile's `gripper_command`."""


def read_trajectory(message: JointTrajectory, names: Sequence[str]) -> Trajectory:
    """A trajectory for the joints `names`; MessageError when it names others, or is not a proper trajectory."""
    if sorted(message.joint_names) != sorted(names):
        raise MessageError(f"the trajectory is for {', '.join(message.joint_names)}; expected {', '.join(names)}")
    if not message.points:
        raise MessageError("the trajectory has no points")
    order = [message.joint_names.index(name) for name in names]
    times = np.array([nanoseconds(point.time_from_start) / SECOND for point in message.points])
    if not (np.diff(times) > 0).all() or times[0] < 0:
        raise MessageError("the times of the trajectory's points do not rise")
    positions = _rows("positions", [point.positions for point in message.points], order)
    velocities = _rows("velocities", [point.velocities for point in message.points], order)
    efforts = _rows("effort", [point.effort for point in message.points], order)
    if positions.shape[1] == 0:
        raise MessageError("the trajectory has no positions")
    if velocities.shape[1] == 0:
        velocities = np.zeros_like(positions)
    return Trajectory(nanoseconds(message.header.stamp), times, positions, velocities, efforts)


def read_gripper(profile: RobotProfile, message: JointTrajectory | Float64MultiArray) -> Trajectory:
    """The fingers' trajectory in a message of the profile's `gripper_command`; MessageError when it is none.

    Where no force limit can be told the fingers press with what they have.
    """
    if isinstance(message, Float64MultiArray):
        return read_width_force(message, len(profile.finger_names))
    trajectory = read_trajectory(message, profile.finger_names)
    if profile.gripper_command == "position_trajectory":
        return replace(trajectory, efforts=np.full_like(trajectory.positions, profile.max_force))
    if trajectory.efforts.shape[1] == 0:
        raise MessageError("the gripper's trajectory has no effort: the force limit of each finger is needed")
    return trajectory


def read_width_force(message: Float64MultiArray, fingers: int) -> Trajectory:
    """What width_force_message says, as a trajectory of one point; MessageError when it is no such message."""
    if len(message.data) not in (2, 3):
        raise MessageError(f"the gripper command holds {len(message.data)} numbers; expected opening and force")
    width, force, *stamp = finite("the gripper command", np.array(message.data))
    share = np.full((1, fingers), width / fingers)
    stamp_ns = round(stamp[0] * SECOND) if stamp else 0
    return Trajectory(stamp_ns, np.zeros(1), share, np.zeros_like(share), np.full_like(share, force))


def _rows(what: str, rows: list, order: list[int]) -> Array:
    lengths = {len(row) for row in rows}
    if lengths == {0}:
        return np.empty((len(rows), 0))
    if lengths != {len(order)}:
        raise MessageError(f"the trajectory's {what} do not fit its {len(order)} joints")
    return finite(f"the trajectory's {what}", np.array(rows, dtype=np.float64)[:, order])
