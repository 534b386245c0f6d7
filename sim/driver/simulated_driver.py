"""The simulated arm with the interface of a driver: resets, trajectories in, measurements out (no ROS)."""

from __future__ import annotations

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Measurement
from mql_sim.benches import Bench
from mql_sim.environment import Scene
from mql_sim.objects.catalogue import thing_of_session


class SimulatedDriver:
    """Executes trajectories one control period at a time.

    A new object, seed or bench takes effect at the next reset, with placement 0 of that object and seed, as with
    `GraspTask.set_thing` and `begin_trial` in one process.
    """

    def __init__(self, profile: RobotProfile, object_name: str, seed: int, bench: Bench | None = None) -> None:
        self.profile = profile
        self._name, self._seed, self._bench = object_name, seed, bench
        self.scene = Scene(profile)
        self.finger_speed = 0.0
        """Speed of each finger in the last control period, m/s."""
        self._fresh = True
        self.reset()  # the object lies in its first place before the first reset
        self._fresh = True

    @property
    def measurement(self) -> Measurement:
        """What was measured last."""
        return self.scene.measurement

    def set_object(self, name: str) -> None:
        """Choose another object; UserError if there is none of that name."""
        thing_of_session(name, self._seed)
        self._name, self._fresh = name, True

    def set_seed(self, seed: int) -> None:
        """Choose other placements and other hidden properties."""
        self._seed, self._fresh = seed, True

    def set_bench(self, bench: Bench) -> None:
        """Choose another bench."""
        self._bench, self._fresh = bench, True

    def reset(self) -> Measurement:
        """Bring the arm home, open the fingers, put the object in its next place; return the measurement.

        UserError if the object does not come to rest.
        """
        if self._fresh:
            if not self.scene.set_thing(thing_of_session(self._name, self._seed), self._seed, self._bench):
                raise UserError(f"the object {self._name} does not come to rest; choose another, or another seed")
            self._fresh = False
        self.scene.reset()
        self.finger_speed = 0.0
        self._rest()
        return self.measurement

    def _rest(self) -> None:
        home = self.profile.home
        self._gripper = self.profile.max_width, self.profile.max_force
        self._times, self._positions, self._velocities = np.zeros(1), home[None], np.zeros((1, len(home)))
        self._elapsed = 0

    def follow(self, times: Array, positions: Array, velocities: Array) -> None:
        """Follow arm points [m, n] that are due `times` [m] seconds from now, starting where the arm is."""
        start = self.measurement.joint_positions[None]
        begin = times[0] > 0
        self._times = np.concatenate([[0.0], times]) if begin else times
        self._positions = np.concatenate([start, positions]) if begin else positions
        self._velocities = np.concatenate([np.zeros_like(start), velocities]) if begin else velocities
        self._elapsed = 0

    def stop(self) -> None:
        """Keep the arm where it is."""
        here = self.measurement.joint_positions[None]
        self.follow(np.zeros(1), here, np.zeros_like(here))

    def grip(self, width: float, force: float) -> None:
        """Move the fingers to an opening (m) with at most a force (N)."""
        self._gripper = width, min(force, self.profile.max_force)

    def tick(self) -> Measurement:
        """Advance one control period along the last trajectory; return the measurement."""
        self._elapsed += 1
        at = self._elapsed * self.profile.control_period
        if at >= self._times[-1]:
            return self.step(self._positions[-1], np.zeros_like(self._positions[-1]))
        joints = range(self._positions.shape[1])
        return self.step(
            np.array([np.interp(at, self._times, self._positions[:, j]) for j in joints]),
            np.array([np.interp(at, self._times, self._velocities[:, j]) for j in joints]),
        )

    def step(self, position: Array, velocity: Array) -> Measurement:
        """Advance one control period towards positions [n] (rad) and velocities [n] (rad/s); return the measurement."""
        before = self.measurement.finger_width
        self.scene.advance(position, velocity, *self._gripper)
        fingers = len(self.profile.finger_names)
        self.finger_speed = (self.measurement.finger_width - before) / fingers / self.profile.control_period
        return self.measurement

    def close(self) -> None:
        """Release the physics server."""
        self.scene.world.close()
