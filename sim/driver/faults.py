"""Faults that a real driver may have, for the tests of `mql check-robot`; in real time only (knows no ROS).

Messages are changed in place, by the fields of sensor_msgs/JointState and of std_msgs/Header.
"""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np

from mql_ros.grasping.types import Array

NONE = "none"
LATE = 300_000_000
"""Delay of late stamps, ns."""
LOST_EVERY = 3
"""One in this number of joint states is lost."""
LOW_RATE_PERIOD = 0.1
"""Time between two joint states at the low rate, s."""
RUNAWAY_SECONDS = 10.0
"""Time for which an arm without a watchdog goes on, s."""
RUNAWAY_SHARE = 0.25
"""Speed of an arm without a watchdog as a share of the top speed of its trajectory."""


class Faults:
    """What one fault makes of measurements and commands; the choices are those of arm_simulator's parameter `fault`.

    - shuffled_names: the names of joint_states are turned by one place, the numbers are not.
    - degrees: arm positions and velocities of joint_states in degrees.
    - late_stamps: every stamp lies in the past.
    - dropped_messages, low_rate: joint_states with gaps, or at 10 Hz.
    - no_watchdog: after its trajectory has ended the arm goes on in the direction in which it moved last, for ten
      seconds or until the next command.
    - stuck_gripper: commands for the fingers are ignored.
    """

    def __init__(self, name: str, control_period: float) -> None:
        self.name = name
        self._number = 0
        self._keep_every = max(1, round(LOW_RATE_PERIOD / control_period))

    @property
    def gripper_stuck(self) -> bool:
        """Whether the fingers ignore commands."""
        return self.name == "stuck_gripper"

    def stamp(self, stamp: int) -> int:
        """Return the stamp of all messages of an instant, ns."""
        return stamp - LATE if self.name == "late_stamps" else stamp

    def joint_states_lost(self) -> bool:
        """Return whether the next joint states are lost; call this once for each instant."""
        self._number += 1
        if self.name == "dropped_messages":
            return self._number % LOST_EVERY == 0
        return self.name == "low_rate" and self._number % self._keep_every != 0

    def joint_states(self, message: Any, joints: int) -> Any:
        """Return the sensor_msgs/JointState, changed in place; its first `joints` joints are those of the arm."""
        if self.name == "shuffled_names":
            message.name = [*message.name[1:joints], message.name[0], *message.name[joints:]]
        if self.name == "degrees":
            message.position = _in_degrees(message.position, joints)
            message.velocity = _in_degrees(message.velocity, joints)
        return message

    def trajectory(self, times: Array, positions: Array, velocities: Array) -> tuple[Array, Array, Array]:
        """Return times [m], s, positions [m, n], rad, and velocities [m, n], rad/s, that the arm follows."""
        if self.name != "no_watchdog" or len(times) < 2:
            return times, positions, velocities
        speeds = np.diff(positions, axis=0) / np.diff(times)[:, None]
        joint = int(np.argmax(np.abs(speeds).max(axis=0)))
        moving = np.flatnonzero(np.abs(speeds[:, joint]) > 1e-6)
        beyond = np.zeros_like(positions[-1])
        if len(moving):
            beyond[joint] = RUNAWAY_SHARE * np.abs(speeds[:, joint]).max() * np.sign(speeds[moving[-1], joint])
        return (
            np.append(times, times[-1] + RUNAWAY_SECONDS),
            np.concatenate([positions, positions[-1:] + RUNAWAY_SECONDS * beyond]),
            np.concatenate([velocities, beyond[None]]),
        )


def _in_degrees(values: Any, joints: int) -> array.array[float]:
    return array.array("d", [math.degrees(v) if k < joints else v for k, v in enumerate(values)])
