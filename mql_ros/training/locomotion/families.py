"""Task families of the locomotion benchmarks: Gymnasium's MuJoCo robots, each with a reward or a body that varies.

They follow the families of PEARL (Rakelly et al. 2019) and rand_param_envs, on which Meta-Q-Learning was published,
with today's `-v5` robots. An episode lasts 200 steps; its end by time is no terminal state. The task is hidden:
observations never contain it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from mql_ros.core.errors import UserError

HORIZON = 200
"""Steps of an episode."""

Parameters = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """One member of a family."""

    name: str
    parameters: Parameters
    """Direction, velocity (m/s), goal (m) or exponents of the body's multipliers, by family [P]."""


@dataclass(frozen=True)
class Family:
    """Robot, tasks and reward of a family."""

    robot: str
    """Gymnasium's name of the environment."""
    training_tasks: int
    test_tasks: int
    """Number of test tasks; 0 tests on the training tasks."""
    draw: Callable[[np.random.Generator, int], Parameters]
    """Function that draws the parameters [n, P] of n tasks."""
    objective: Callable[[Mapping[str, Any], Parameters], float]
    """Reward from Gymnasium's info about the step, without the robot's own costs and bonus for survival."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    varies_body: bool = False
    """Whether the parameters vary the robot's body (`vary_body`)."""

    def tasks(self, seed: int) -> tuple[list[Task], list[Task]]:
        """Return training and test tasks, determined by the seed."""
        parameters = self.draw(np.random.default_rng(seed), self.training_tasks + self.test_tasks)
        every = [Task(_name(number, row), row) for number, row in enumerate(parameters)]
        training = every[: self.training_tasks]
        return training, every[self.training_tasks :] or training


def _name(number: int, parameters: Parameters) -> str:
    shown = ", ".join(f"{value:.3g}" for value in parameters[:2])
    return f"{number} ({shown}{', ...' if len(parameters) > 2 else ''})"


def _both_directions(rng: np.random.Generator, count: int) -> Parameters:
    return np.array([[1.0], [-1.0]])[:count]


def _velocities(rng: np.random.Generator, count: int) -> Parameters:
    return rng.uniform(0.0, 3.0, (count, 1))


def _goals(rng: np.random.Generator, count: int) -> Parameters:
    """Return points [n, 2], uniform over a disc with a radius of 3 m."""
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, count), 3.0 * np.sqrt(rng.uniform(0.0, 1.0, count))
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _directions(rng: np.random.Generator, count: int) -> Parameters:
    """Return unit vectors [n, 2]."""
    angle = rng.uniform(0.0, 2.0 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


_BODY_NUMBERS = 64
"""Number of exponents: more than any robot here has bodies, joints and geometries."""


def _exponents(rng: np.random.Generator, count: int) -> Parameters:
    return rng.uniform(-3.0, 3.0, (count, _BODY_NUMBERS))


def vary_body(model: Any, base: Mapping[str, NDArray], exponents: Parameters) -> None:
    """Multiply mass, inertia and friction by 1.5^u, damping by 1.3^u; each part has its own u in [-3, 3].

    `base` holds the original values by name; the exponents u [P] are used in the order of `VARIED`.
    """
    rest = iter(exponents)
    for name, factor in VARIED.items():
        now = getattr(model, name)
        u = np.array([next(rest) for _ in range(len(now))])
        now[:] = base[name] * (factor**u).reshape(-1, *[1] * (now.ndim - 1))


VARIED = {"body_mass": 1.5, "body_inertia": 1.5, "geom_friction": 1.5, "dof_damping": 1.3}
"""Attributes that `vary_body` multiplies, with the bases of the multipliers."""

_SMALL_ANT = {"include_cfrc_ext_in_observation": False}  # contact forces were all zero where it was published
_SMALL_HUMANOID = {
    f"include_{name}_in_observation": False for name in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
}  # 45 numbers instead of 348: every history item holds the observation

FAMILIES: dict[str, Family] = {
    # reward: direction * velocity - 0.05 |a|^2
    "half-cheetah-dir": Family(
        "HalfCheetah-v5", 2, 0, _both_directions, lambda i, p: p[0] * i["x_velocity"], {"ctrl_cost_weight": 0.05}
    ),
    # reward: -|velocity - wanted| - 0.05 |a|^2
    "half-cheetah-vel": Family(
        "HalfCheetah-v5", 100, 30, _velocities, lambda i, p: -abs(i["x_velocity"] - p[0]), {"ctrl_cost_weight": 0.05}
    ),
    # reward: direction * velocity + 1 - 0.5 |a|^2 - contact; ends when the torso leaves 0.2 to 1 m
    "ant-dir": Family("Ant-v5", 2, 0, _both_directions, lambda i, p: p[0] * i["x_velocity"], _SMALL_ANT),
    # reward: -|x - goal|_1 - 0.1 |a|^2 - contact; never ends. The position must be seen, or the goal cannot be held.
    "ant-goal": Family(
        "Ant-v5",
        100,
        30,
        _goals,
        lambda i, p: -abs(i["x_position"] - p[0]) - abs(i["y_position"] - p[1]),
        _SMALL_ANT
        | {"ctrl_cost_weight": 0.1, "healthy_reward": 0.0, "terminate_when_unhealthy": False}
        | {"exclude_current_positions_from_observation": False},
    ),
    # reward: velocity + 1 - 0.001 |a|^2; ends when it falls. Mass, inertia, friction and damping vary.
    "walker-params": Family("Walker2d-v5", 40, 10, _exponents, lambda i, p: i["x_velocity"], varies_body=True),
    # reward: 1.25 * velocity along the direction + 5 - 0.1 |a|^2 - contact; ends when it falls
    "humanoid-dir": Family(
        "Humanoid-v5",
        100,
        30,
        _directions,
        lambda i, p: 1.25 * (p[0] * i["x_velocity"] + p[1] * i["y_velocity"]),
        _SMALL_HUMANOID,
    ),
}


def find_family(name: str) -> Family:
    """Return a family by name; UserError names the known ones."""
    if name not in FAMILIES:
        raise UserError(f"there is no benchmark family '{name}'; choose one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


class TaskEnvironment(gymnasium.Wrapper):
    """A robot of a family with an exchangeable task; actions are in [-1, 1] whatever the robot's limits."""

    def __init__(self, family: Family) -> None:
        try:
            importlib.import_module("gymnasium.envs.mujoco")
            # Without a handler MuJoCo writes its warnings to MUJOCO_LOG.TXT in the working directory.
            importlib.import_module("mujoco").set_mju_user_warning(logging.getLogger(__name__).info)
        except (ImportError, gymnasium.error.DependencyNotInstalled) as error:
            raise UserError(
                "the benchmarks need MuJoCo, which is not installed; pip install 'mql_ros[benchmarks]'"
            ) from error
        # Gymnasium's checker would check every step of every environment; a test here does it once.
        options: dict[str, Any] = dict(family.options)
        super().__init__(gymnasium.make(family.robot, max_episode_steps=HORIZON, disable_env_checker=True, **options))
        self._family = family
        self._task: Task | None = None
        model = self.unwrapped.model  # type: ignore[attr-defined]
        self._body = {name: getattr(model, name).copy() for name in VARIED}
        assert isinstance(self.env.action_space, gymnasium.spaces.Box)
        self._largest = self.env.action_space.high
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, self._largest.shape, np.float32)

    def set_task(self, task: Task) -> None:
        """Set the task, from the next reset on."""
        self._task = task
        if self._family.varies_body:
            vary_body(self.unwrapped.model, self._body, task.parameters)  # type: ignore[attr-defined]

    def step(self, action: NDArray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Return observation, reward of the task, terminal, truncated and info for an action [A] in [-1, 1]."""
        assert self._task is not None, "set_task comes first"
        observation, reward, terminal, late, info = self.env.step(action * self._largest)
        costs = float(reward) - info["reward_forward"]
        return observation, costs + self._family.objective(info, self._task.parameters), terminal, late, info
