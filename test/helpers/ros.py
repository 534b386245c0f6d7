"""Measurements, transitions and a policy made up for the tests of the nodes' logic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array, Measurement
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_loading import LoadedPolicy


def some_measurement(profile: RobotProfile, rng: np.random.Generator, stamp: float = 1.25) -> Measurement:
    """Random numbers with all their digits."""
    return Measurement(
        stamp=stamp,
        joint_positions=rng.uniform(profile.lower, profile.upper),
        joint_velocities=rng.normal(size=len(profile.joint_names)),
        finger_width=float(rng.uniform(0, profile.max_width)),
        finger_effort=float(rng.uniform(0, 40)),
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
        "observation": some_observation(rng, trial), "action": rng.uniform(-1, 1, size=spaces.ACTION_SIZE),
        "next_observation": some_observation(rng, trial),
    }  # fmt: skip
    return Transition(**{**values, **changes})


def some_observation(rng: np.random.Generator, trial: int) -> Array:
    """Random signals after the view of a trial."""
    heights = np.random.default_rng(trial).uniform(0.0, 0.2, (spaces.VIEW_CELLS, spaces.VIEW_CELLS))
    view = spaces.view_entries(heights.astype(np.float32))
    return np.concatenate([view, rng.normal(size=spaces.SIGNAL_SIZE)])


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
    """A policy without networks: its actions depend on everything; it counts steps as its context."""

    def __init__(self, version: int, action: Array | None = None) -> None:
        network = SimpleNamespace(context_size=2)
        learner: Any = SimpleNamespace(network_config=network, version=version, fixed=action)
        super().__init__(version, f"hash-{version}", learner, 3)

    def new_session(self, seed: int) -> Any:
        return CountingSession(self.learner, seed)

    def new_tracker(self) -> Any:
        return CountingTracker(float(self.version))


class CountingSession:
    """Stands in for GraspPolicy; remembers how many trials ended."""

    def __init__(self, learner: Any, seed: int) -> None:
        self.learner, self.seed = learner, seed
        self.exploration: Any = None
        self._ended = 0

    def act(self, observation: Array, context: np.ndarray) -> Array:
        """A grasp near the middle of what was seen."""
        if self.learner.fixed is not None:
            return self.learner.fixed
        tool = observation[spaces.VIEW_SIZE + 3 : spaces.VIEW_SIZE + 9].astype(np.float32).astype(np.float64)
        share = 0.0 if self.exploration is None else self.exploration.share + 0.001 * self.seed
        shift = share + 0.1 * self.learner.version + 0.05 * float(context.sum()) + 0.01 * self._ended
        return 0.5 * np.tanh(0.1 * tool + shift * np.ones(spaces.ACTION_SIZE))

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        assert observation.dtype == np.float32
        self._ended += done
