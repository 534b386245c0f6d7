"""Trials run for the tests of the simulator."""

from __future__ import annotations

import dataclasses

import numpy as np

from mql_ros.grasping.task.spaces import is_success
from mql_ros.grasping.types import Array, Measurement
from mql_sim.environment import GraspTask
from mql_sim.expert import expert_action
from mql_sim.objects.spec import ObjectSpec


def numbers(measurement: Measurement) -> Array:
    """All that was measured in one row, without the running clock."""
    values = dataclasses.asdict(measurement)
    del values["stamp"]
    return np.concatenate([np.atleast_1d(value) for value in values.values()])


class Recorded:
    """A task that keeps every measurement of its world."""

    def __init__(self, task: GraspTask) -> None:
        self.task = task
        self.rows: list[Array] = []
        advance = task.world.advance

        def recorded(*arguments) -> Measurement:
            measurement = advance(*arguments)
            self.rows.append(numbers(measurement))
            return measurement

        task.world.advance = recorded  # type: ignore[method-assign]

    def close(self) -> None:
        self.task.world.close()


def grasp(task: GraspTask, believed: ObjectSpec) -> tuple[list[float], bool]:
    """One scripted trial with the parameters of `believed`: rewards and success."""
    observation, done, rewards = task.begin_trial(), False, []
    while not done:
        observation, reward, done = task.decide(expert_action(believed, observation))
        rewards.append(reward)
    return rewards, is_success(observation)


def trajectory(recorded: Recorded, spec: ObjectSpec, seed: int) -> bytes:
    """A right grasp and two random trials on an object, as bytes: with contacts, and with arm and object in a mess."""
    task, rng = recorded.task, np.random.default_rng(seed)
    recorded.rows.clear()
    task.set_object(spec, seed)
    for trial in range(3):
        if trial == 0:
            grasp(task, spec)
        else:
            task.begin_trial()
            while not task.decide(rng.uniform(-1, 1, size=4))[2]:
                pass
    return np.array(recorded.rows).tobytes()
