"""Commands for arm and gripper as messages, and back: those of ros2_control's joint_trajectory_controller."""

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
from mql_ros.ros.messages.encoding import SECOND, MessageError, doubles, finite, nanoseconds, time_message


@dataclass(frozen=True)
class Trajectory:
    """A joint trajectory of m points for n joints, in the order asked for."""

    stamp: int
    """Start, ns; 0 means on arrival."""
    times: Array
    """[m] time of each point after the start, s."""
    positions: Array
    """[m, n] rad or m."""
    velocities: Array
    """[m, n] rad/s or m/s."""
    efforts: Array
    """[m, n] Nm or N; [m, 0] if the message has none."""


def _duration_message(seconds: float) -> Duration:
    total = round(seconds * SECOND)
    return Duration(sec=total // SECOND, nanosec=total % SECOND)


def arm_message(profile: RobotProfile, motion: Motion | None, stamp: int) -> JointTrajectory:
    """Return an arm motion that starts at `stamp` (ns), or on arrival if 0; without a motion an empty trajectory.

    Many drivers stop at an empty trajectory. The joint_trajectory_controller of ros2_control did; since the end of
    2023 it refuses one and continues, so an empty trajectory alone is no hold.
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
    """Return a gripper motion for a joint_trajectory_controller with a position interface, without a force.

    Each finger gets its share of the opening. The motion takes as long as the full opening does, so that the fingers
    keep to their speed limit from any position.
    """
    fingers = len(profile.finger_names)
    message = JointTrajectory(joint_names=list(profile.finger_names))
    message.header.stamp = time_message(stamp)
    seconds = max(profile.control_period, profile.finger_seconds)
    positions = doubles([command.finger_target / fingers] * fingers)
    message.points = [JointTrajectoryPoint(positions=positions, time_from_start=_duration_message(seconds))]
    return message


def gripper_message(profile: RobotProfile, command: Command, stamp: int) -> JointTrajectory:
    """Return the motion of `position_message` with the force limit of each finger as effort."""
    message = position_message(profile, command, stamp)
    message.points[0].effort = doubles([command.finger_force] * len(profile.finger_names))
    return message


def width_force_message(profile: RobotProfile, command: Command, stamp: int) -> Float64MultiArray:
    """Return [opening in m, force limit of each finger in N, stamp of the answered measurement in s, or 0]."""
    return Float64MultiArray(data=[command.finger_target, command.finger_force, stamp / SECOND])


GRIPPER_MESSAGES: dict[str, tuple[type[Any], Callable[[RobotProfile, Command, int], Any]]] = {
    "joint_trajectory": (JointTrajectory, gripper_message),
    "position_trajectory": (JointTrajectory, position_message),
    "width_force": (Float64MultiArray, width_force_message),
}
"""Message type and its constructor, by the profile's `gripper_command`."""


def read_trajectory(message: JointTrajectory, names: Sequence[str]) -> Trajectory:
    """Return a trajectory for the joints `names`; MessageError if it names others or is malformed."""
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
    """Return the fingers' trajectory from a message of the profile's `gripper_command`; MessageError if malformed.

    A message type without a force limit stands for the gripper's largest force.
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
    """Return a `width_force_message` as a trajectory of one point; MessageError if it is malformed."""
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
