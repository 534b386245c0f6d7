"""The grasping task in one process: simulator, trial machine and reward, and its Gymnasium environment."""

from __future__ import annotations

from typing import Any, SupportsFloat

import gymnasium
import numpy as np

from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import GraspReward
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Array, Measurement
from mql_sim.objects.spec import ObjectSpec
from mql_sim.world.world import World

PLACE_JITTER = 0.03
"""The object stands within this distance of the place below the waiting tool along x and y, m."""
YAW_JITTER = 0.35
"""rad."""


def placement(profile: RobotProfile, seed: int, number: int) -> tuple[tuple[float, float], float]:
    """Where the object stands in trial `number` of a session: position (m, base frame) and heading (rad).

    The simulator node and the in-process task draw from the same sequence, so that their trials are the same.
    """
    rng = np.random.default_rng([seed, number])
    x, y = rng.uniform(-PLACE_JITTER, PLACE_JITTER, size=2)
    middle_x, middle_y, _ = profile.home_position
    return (float(middle_x + x), float(middle_y + y)), float(rng.uniform(-YAW_JITTER, YAW_JITTER))


class GraspTask:
    """Trials on one object, all in this process."""

    def __init__(self, profile: RobotProfile) -> None:
        self.world = World(profile)
        self.machine = TrialMachine(profile)
        self._reward = GraspReward(profile.guard_force)
        self._seed = 0
        self._trial = 0
        self._measurement: Measurement | None = None

    def set_object(self, spec: ObjectSpec, seed: int, first_trial: int = 0) -> None:
        """Begin a session with an object, or go on with it; `seed` decides where it stands in each trial."""
        self.world.set_object(spec)
        self._seed, self._trial = seed, first_trial

    def begin_trial(self) -> Array:
        """Put arm and object in place; returns the first observation [15]."""
        self._measurement = self.world.reset(*placement(self.world.profile, self._seed, self._trial))
        self._trial += 1
        self.machine.begin(self._measurement)
        self._reward.begin(self._measurement)
        return self.machine.observation(self._measurement)

    def decide(self, action: Array) -> tuple[Array, float, bool]:
        """Carry out one decision: the observation that follows [15], its reward, and whether the trial is over."""
        assert self._measurement is not None, "begin_trial comes first"
        self.machine.decide(action, self._measurement)
        reward = 0.0
        while (command := self.machine.command(self._measurement)) is not None:
            self._measurement = self.world.advance(
                command.motion.points[0], command.motion.velocities[0], command.finger_target, command.finger_force
            )
            reward += self._reward.step(self._measurement)
        return self.machine.observation(self._measurement), reward, self.machine.done


class GraspEnv(gymnasium.Env[Array, Array]):
    """One trial an episode, three decisions each. `reset(options={"object": spec})` changes the object."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, spec: ObjectSpec | None = None, robot: str = "panda", render_mode: str | None = None) -> None:
        from mql_sim.objects.catalogue import find_object

        self.render_mode = render_mode
        bound = np.full(spaces.OBSERVATION_SIZE, 5.0)
        self.observation_space = gymnasium.spaces.Box(-bound, bound, dtype=np.float64)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spaces.ACTION_SIZE,), dtype=np.float64)
        self.task = GraspTask(load_profile(robot))
        self._spec = spec or find_object("mug")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a session with one trial, the object placed at random; return the first observation [15] and {}.

        `seed` restarts the random placements. `options["object"]`, an ObjectSpec, replaces the object.
        """
        super().reset(seed=seed)
        self._spec = (options or {}).get("object", self._spec)
        self.task.set_object(self._spec, int(self.np_random.integers(2**31)))
        return self.task.begin_trial(), {}

    def step(self, action: Array) -> tuple[Array, SupportsFloat, bool, bool, dict[str, Any]]:
        """Carry out one decision."""
        observation, reward, done = self.task.decide(action)
        return observation, reward, done, False, {"is_success": done and spaces.is_success(observation)}

    def render(self) -> Any:
        """An RGB picture [360, 480, 3] of the scene."""
        from mql_sim.world.rendering import picture

        return picture(self.task.world)

    def close(self) -> None:
        """Release the physics server."""
        self.task.world.close()
