"""Plain data shared by task, simulator and nodes. SI units, radians, REP-103 axes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measurement:
    """Report of a driver at one instant; poses are in the robot's base frame."""

    stamp: float
    """Driver time, s."""
    joint_positions: Array
    """Arm joints in profile order [n], rad."""
    joint_velocities: Array
    """Arm joints [n], rad/s."""
    finger_width: float
    """Opening between the finger pads, m."""
    finger_effort: float
    """Force of the fingers on the object that they hold, N: their mean on a robot, the smaller one in simulation."""
    contact_force: Array
    """Force of the surroundings on the tool, tared and compensated for gravity, along the tool's axes [3], N."""
    contact_torque: Array
    """Torque of that force about the tool frame's origin, along the tool's axes [3], N m."""

    def __post_init__(self) -> None:
        names = "joint_positions", "joint_velocities", "contact_force", "contact_torque"
        if math.isfinite(sum(getattr(self, name).sum() for name in names)) and math.isfinite(
            self.finger_width + self.finger_effort + self.stamp
        ):
            return  # a sum of finite numbers, as nearly always
        for name in names:
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"measurement: {name} is not finite; the driver must report finite numbers")
        if not (np.isfinite(self.finger_width) and np.isfinite(self.finger_effort) and np.isfinite(self.stamp)):
            raise ValueError("measurement: finger state or stamp is not finite")


@dataclass(frozen=True)
class ArmState:
    """State of the arm's joints."""

    positions: Array
    """[n], rad."""
    velocities: Array
    """[n], rad/s."""
    accelerations: Array
    """[n], rad/s^2."""

    @staticmethod
    def at_rest(positions: Array) -> ArmState:
        """Return the state at rest at joint positions [n], rad."""
        return ArmState(positions, np.zeros_like(positions), np.zeros_like(positions))

    def after(self, seconds: float) -> ArmState:
        """Return the state `seconds` later at constant velocity."""
        return replace(self, positions=self.positions + seconds * self.velocities)


@dataclass(frozen=True)
class Motion:
    """An arm motion as points of a quintic spline, one per control period after the start; it ends at rest."""

    start: ArmState
    points: Array
    """Joint positions [m, n], rad."""
    velocities: Array
    """[m, n], rad/s; the last row is zero."""
    accelerations: Array
    """[m, n], rad/s^2; the last row is zero."""

    def then(self, following: Motion) -> Motion:
        """Return this motion followed by another that starts at rest at its end."""
        return Motion(
            self.start,
            np.concatenate([self.points, following.points]),
            np.concatenate([self.velocities, following.velocities]),
            np.concatenate([self.accelerations, following.accelerations]),
        )

    def state(self, period: int) -> ArmState:
        """Return the state after a number of control periods: 0 is the start."""
        if period == 0:
            return self.start
        k = min(period, len(self.points)) - 1
        return ArmState(self.points[k], self.velocities[k], self.accelerations[k])

    def rest(self, period: int) -> Motion:
        """Return the rest of the motion after a number of control periods; at its end the last point."""
        k = min(period, len(self.points) - 1)
        return Motion(self.state(period), self.points[k:], self.velocities[k:], self.accelerations[k:])


@dataclass(frozen=True)
class Command:
    """A motion of the arm, at whose end it rests, and a state of the gripper. Without a new command the arm holds."""

    motion: Motion
    finger_target: float
    """Finger opening to move to, m."""
    finger_force: float
    """Force limit of each finger, N."""
