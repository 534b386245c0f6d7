"""The grasping task in one process: simulator, camera and perception, trial machine and reward."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mql_ros.grasping.perception.camera import CameraModel, Depth, PerceptionError
from mql_ros.grasping.perception.height_map import HeightMap, see
from mql_ros.grasping.perception.segmentation import Workspace, low_points
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.finger_effort import StallEffort
from mql_ros.grasping.task.reward import GraspReward
from mql_ros.grasping.task.trial import TrialMachine
from mql_ros.grasping.types import Array, Measurement
from mql_sim.benches import Bench
from mql_sim.camera import Surface, arm_surface, measured, render, window
from mql_sim.objects.catalogue import thing_of_session
from mql_sim.objects.thing import Thing
from mql_sim.world.world import Physics, World

LIFTED = 0.05
"""Rise of the centre of mass from which on an object counts as lifted, m."""
PLACE_JITTER = 0.08
"""The object's bounding box stands within this distance of the place below the waiting tool along x and y, m."""


def fixed_camera(profile: RobotProfile) -> CameraModel:
    """A depth camera of 320 x 240 pixels where the profile says; it shows the workspace."""
    return CameraModel(320, 240, 300.0, 300.0, 159.5, 119.5, profile.camera.pose)


def placement(profile: RobotProfile, seed: int, number: int) -> tuple[tuple[float, float], float]:
    """Where the object lies in trial `number` of a session: position (m, base frame) and heading (rad)."""
    rng = np.random.default_rng([seed, number])
    x, y = rng.uniform(-PLACE_JITTER, PLACE_JITTER, size=2)
    middle_x, middle_y, _ = profile.home_position
    return (float(middle_x + x), float(middle_y + y)), float(rng.uniform(-np.pi, np.pi))


class Scene:
    """Arm, object and depth camera of one bench; the simulated driver and the task in one process share it.

    What an image shows depends on the session's seed, the trial and the control period alone, whoever asks for it.
    """

    def __init__(self, profile: RobotProfile, physics: Physics | None = None) -> None:
        self.world = World(profile, physics)
        self.workspace = Workspace.about(profile.home_position[:2])
        corners = np.array([[*self.workspace.lower, 0.0], [*self.workspace.upper, 0.0]])
        self.camera = window(fixed_camera(profile), corners)
        """The part of the camera's image that shows the workspace, at the pose where it is believed to be."""
        self.bench = Bench()

    def set_thing(self, thing: Thing, seed: int, bench: Bench | None = None, first_trial: int = 0) -> bool:
        """Begin a session with an object, or go on with it; `seed` decides how it rests and where it lies.

        Returns False if it does not come to rest.
        """
        self.bench = bench or Bench()
        self._seed, self._trial, self._period = seed, first_trial - 1, 0
        self._lag = round(self.bench.lag / self.world.profile.control_period)
        self._shown: deque[list[Surface]] = deque(maxlen=self._lag + 1)
        profile = self.world.profile
        self._stall = StallEffort(profile) if profile.gripper_effort == "stall" or not self.bench.effort else None
        rng = np.random.default_rng([seed, 5])
        self._actual = self.bench.calibration.misplaced(self.camera, np.array([*self.workspace.middle, 0.0]), rng)
        return self.world.set_thing(thing, rng)

    def reset(self) -> Measurement:
        """The arm at home, the object in its next place."""
        self._trial += 1
        self._period = 0
        slip = np.random.default_rng([self._seed, self._trial, 7]).normal(0.0, self.bench.slips)
        self.world.set_friction(self.bench.pads * float(np.exp(slip)))
        self.measurement = self._sensed(self.world.reset(*placement(self.world.profile, self._seed, self._trial)), 0.0)
        self._shown.clear()  # arm and object have waited there for longer than any lag
        self._show()
        return self.measurement

    def advance(self, position: Array, velocity: Array, width: float, force: float) -> Measurement:
        """One control period towards joint positions [n] with velocities [n], the fingers to a width with a force."""
        self._period += 1
        self.measurement = self._sensed(self.world.advance(position, velocity, width, force), force)
        self._show()
        return self.measurement

    def _sensed(self, measurement: Measurement, force: float) -> Measurement:
        """What nodes make of what this bench's sensors report, with fingers that were told to press with `force`, N."""
        if not self.bench.wrench:
            measurement = replace(measurement, contact_force=np.zeros(3), contact_torque=np.zeros(3))
        return measurement if self._stall is None else self._stall.put(measurement, force)

    def _show(self) -> None:
        if self._lag:
            self._shown.append(self._surfaces())

    def _surfaces(self) -> list[Surface]:
        return [self.world.surface(), arm_surface(self.world.profile, self.measurement.joint_positions)]

    def depth_image(self) -> Depth:
        """What the camera reports now [height, width], m: the arm before the table and what lies on it."""
        rng = np.random.default_rng([self._seed, self._trial, 8, self._period])
        surfaces = self._shown[0] if self._lag else self._surfaces()
        return measured(render(self._actual, surfaces), self._actual, self.bench.noise, rng)


class GraspTask:
    """Trials on one object, all in this process."""

    def __init__(self, profile: RobotProfile, physics: Physics | None = None) -> None:
        self.scene = Scene(profile, physics)
        self.machine = TrialMachine(profile)
        self._reward = GraspReward(profile)

    @property
    def world(self) -> World:
        """Arm and object."""
        return self.scene.world

    def set_thing(self, thing: Thing, seed: int, bench: Bench | None = None, first_trial: int = 0) -> bool:
        """Begin a session with an object, or go on with it (see Scene.set_thing)."""
        return self.scene.set_thing(thing, seed, bench, first_trial)

    def begin_trial(self) -> Array:
        """Put arm and object in place and look; return the first observation. PerceptionError: nothing is seen."""
        measurement = self.scene.reset()
        self.view = self.look()
        self.machine.begin(measurement, self.view)
        self._reward.begin(measurement)
        return self.machine.observation(measurement)

    def look(self) -> HeightMap:
        """What the camera sees of the object now, through perception."""
        scene = self.scene
        return see(scene.depth_image(), scene.camera, scene.workspace, scene.measurement.stamp)

    def decide(self, action: Array) -> tuple[Array, float, bool]:
        """Carry out one decision: the observation that follows, its reward, and whether the trial is over."""
        scene = self.scene
        self.machine.decide(action, scene.measurement)
        reward = 0.0
        while (command := self.machine.command(scene.measurement)) is not None:
            scene.advance(
                command.motion.points[0], command.motion.velocities[0], command.finger_target, command.finger_force
            )
            reward += self._reward.step(scene.measurement)
        if self.machine.done:
            reward += self._reward.finish(self._is_gone())
        return self.machine.observation(scene.measurement), reward, self.machine.done

    def _is_gone(self) -> bool | None:
        """Whether the camera sees nothing on the table any more; None where its image does not tell."""
        try:
            return not len(low_points(self.scene.depth_image(), self.scene.camera, self.scene.workspace))
        except PerceptionError:
            return None

    @property
    def truly_lifted(self) -> bool:
        """Whether the object has risen and is clear of the table; training and the nodes do not see this."""
        return self.world.height - self.world.start_height > LIFTED and not self.world.on_table


class GraspEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Gymnasium environment: an episode is a trial of three decisions on an object of a name."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012

    def __init__(self, name: str = "can", robot: str = "panda", render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.task = GraspTask(load_profile(robot))
        self._name = name
        limit = max(spaces.SIGNAL_LIMIT, 0.255 / spaces.VIEW_SCALE)
        self.observation_space = gymnasium.spaces.Box(-limit, limit, (spaces.OBSERVATION_SIZE,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (spaces.ACTION_SIZE,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a trial; `options={"object": name}` changes the object. Where it is not seen it is placed anew."""
        super().reset(seed=seed)
        self._name = (options or {}).get("object", self._name)
        while True:
            session = int(self.np_random.integers(2**31))
            if not self.task.set_thing(thing_of_session(self._name, session), session):
                continue
            try:
                return self.task.begin_trial().astype(np.float32), {}
            except (PerceptionError, ValueError):
                continue

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Carry out one decision."""
        observation, reward, done = self.task.decide(np.asarray(action, dtype=np.float64))
        information = {"is_success": done and self.task.truly_lifted}
        return observation.astype(np.float32), float(reward), done, False, information

    def render(self) -> NDArray[np.uint8] | None:
        """Return an RGB picture [height, width, 3]."""
        from mql_sim.world.rendering import picture

        return picture(self.task.world) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the physics server."""
        self.task.world.close()
