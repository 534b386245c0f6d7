"""Measurements, transitions and a policy made up for the tests of the nodes' logic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy


def some_measurement(profile: RobotProfile, rng: np.random.Generator, stamp: float = 1.25) -> Measurement:
    """Random numbers with all their digits."""
    turn = rng.normal(size=4)
    return Measurement(
        stamp=stamp,
        joint_positions=rng.uniform(profile.lower, profile.upper),
        joint_velocities=rng.normal(size=len(profile.joint_names)),
        finger_width=float(rng.uniform(0, profile.max_width)),
        finger_effort=float(rng.uniform(0, 40)),
        object_position=rng.normal(size=3),
        object_orientation=turn / np.linalg.norm(turn),
        contact_force=rng.normal(size=3),
        contact_torque=rng.normal(size=3),
    )


def some_transition(sequence: int, session: int = 1, **changes: Any) -> Transition:
    """Transition `sequence` of trials with three decisions each."""
    rng = np.random.default_rng(sequence)
    trial, step = divmod(sequence, 3)
    values: dict[str, Any] = {
        "sequence": sequence, "session": session, "trial": trial, "step": step, "policy_version": 1,
        "stamp": 0.05 * sequence, "reward": float(rng.normal()), "done": step == 2, "terminal": step == 2,
        "observation": rng.normal(size=15), "action": rng.uniform(-1, 1, size=4),
        "next_observation": rng.normal(size=15),
    }  # fmt: skip
    return Transition(**{**values, **changes})


class CountingTracker:
    """Stands in for ContextTracker: its context is the number of steps added, times a factor of its policy."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._steps = 0

    def reset(self) -> None:
        self._steps = 0

    @property
    def context(self) -> np.ndarray:
        return np.full(2, self._steps * self._factor, dtype=np.float32)

    def append(self, action: Array, reward: float, next_observation: Array, done: bool) -> None:
        assert action.dtype == next_observation.dtype == np.float32
        self._steps += 1


class CountingPolicy(LoadedPolicy):
    """A policy without networks: it acts by observation and context, and counts steps as its context."""

    def __init__(self, version: int, action: Array | None = None) -> None:
        network = SimpleNamespace(context_size=2)
        learner: Any = SimpleNamespace(network_config=network)
        super().__init__(version, f"hash-{version}", learner, 3, lambda: np.zeros((1, 3)))
        object.__setattr__(self, "fixed", action)

    def act(self, observation: Array, context: np.ndarray) -> Array:
        """Small actions that depend on everything."""
        fixed = self.__dict__["fixed"]
        if fixed is not None:
            return fixed
        seen = observation[:4].astype(np.float32).astype(np.float64)  # in single precision, as networks do
        return np.tanh(0.3 * seen + 0.1 * self.version + 0.05 * float(context.sum()) * np.ones(4))

    def new_tracker(self) -> Any:
        return CountingTracker(float(self.version))
