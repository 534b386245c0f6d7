"""Acting in several environments in parallel: each step is one batch through encoder and actor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.experience.session import Session, block_numbers
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.training.locomotion.families import HORIZON, Task, TaskEnvironment
from mql_ros.training.locomotion.history import BatchedHistory


@dataclass
class Step:
    """One step of N environments."""

    observation: NDArray[np.float32]
    """Observation before the action [N, O]."""
    action: NDArray[np.float32]
    """Action in [-1, 1] [N, A]."""
    reward: NDArray[np.float32]
    """Reward [N], scaled for learning."""
    next_observation: NDArray[np.float32]
    """Observation after the action [N, O], also at the end of an episode."""
    done: NDArray[np.bool_]
    """Whether the episode ended, for any reason [N]."""
    terminal: NDArray[np.bool_]
    """Whether the task itself ended [N]; false at the time limit."""

    def items(self) -> NDArray[np.float32]:
        """Return the history items [N, D]."""
        columns = [self.action, self.reward[:, None], self.next_observation, self.done[:, None]]
        return np.concatenate(columns, axis=1, dtype=np.float32)


@dataclass(frozen=True)
class BehaviourPolicy:
    """Actions of the learner's policy with Gaussian noise, or random actions."""

    learner: TD3Learner
    history_blocks: int
    block_length: int
    reward_scale: float = 1.0
    noise: float = 0.0
    random: bool = False

    def actions(
        self, observation: NDArray[np.float32], history: BatchedHistory, rng: np.random.Generator
    ) -> NDArray[np.float32]:
        """Return actions [N, A] for observations [N, O]."""
        size = self.learner.network_config.action_size
        if self.random:
            return rng.uniform(-1.0, 1.0, (len(observation), size)).astype(np.float32)
        chosen = self.learner.act(observation, history.contexts(self.learner.encoder).numpy())
        if self.noise > 0.0:
            chosen = chosen + self.noise * rng.standard_normal(chosen.shape, dtype=np.float32)
        return np.clip(chosen, -1.0, 1.0)


def act(
    environments: Sequence[TaskEnvironment],
    tasks: Sequence[Task],
    steps: int,
    behaviour: BehaviourPolicy,
    seed: Sequence[int],
) -> Iterator[Step]:
    """Run one session of `steps` steps with tasks[n] in environments[n]; the history spans its episodes.

    All sessions are equally long; the last step ends an episode like the time limit.
    """
    rng = np.random.default_rng(seed)
    count, config = len(tasks), behaviour.learner.network_config
    history = BatchedHistory(count, config.item_size, behaviour.history_blocks, behaviour.block_length)
    observation = np.empty((count, config.observation_size), dtype=np.float32)
    for n, (environment, task) in enumerate(zip(environments[:count], tasks, strict=True)):
        environment.set_task(task)
        observation[n] = environment.reset(seed=int(rng.integers(2**31)))[0]
    for number in range(steps):
        action = behaviour.actions(observation, history, rng)
        after, fresh = np.empty_like(observation), np.empty_like(observation)
        reward, done, terminal = np.empty(count, dtype=np.float32), np.zeros(count, bool), np.zeros(count, bool)
        for n, environment in enumerate(environments[:count]):
            seen, earned, terminal[n], late, _ = environment.step(action[n])
            after[n], reward[n] = seen, behaviour.reward_scale * earned
            done[n] = terminal[n] or late or number + 1 == steps
            fresh[n] = environment.reset()[0] if done[n] else seen
        step = Step(observation, action, reward, after, done, terminal)
        history.append(step.items())
        observation = fresh
        yield step


class EpisodeRecorder:
    """Collector of steps that yields each finished episode of an environment as a part of a session."""

    def __init__(self, tasks: Sequence[Task], block_length: int) -> None:
        self._tasks, self._block_length = tasks, block_length
        self._open: list[list[Step]] = [[] for _ in tasks]
        self._next_block = [0] * len(tasks)

    def add(self, step: Step) -> Iterator[tuple[int, Session]]:
        """Take in a step; yield (environment, episode) for each episode that it ended."""
        for n, steps in enumerate(self._open):
            steps.append(step)
            if step.done[n]:
                columns = {f.name: np.stack([getattr(s, f.name)[n] for s in steps]) for f in fields(Step)}
                # Blocks end with the episode, so training uses the same windows as acting.
                block = self._next_block[n] + block_numbers(columns["done"], self._block_length)
                self._next_block[n] = int(block[-1]) + 1
                self._open[n] = []
                yield n, Session(task=self._tasks[n].name, block=block, **columns)


def evaluate(
    environments: Sequence[TaskEnvironment],
    tasks: Sequence[Task],
    episodes: int,
    behaviour: BehaviourPolicy,
    seed: Sequence[int],
) -> NDArray[np.float64]:
    """Return the returns [N, episodes] of a session's first episodes with each task, context from history alone."""
    returns = np.zeros((len(tasks), episodes))
    ended = np.zeros(len(tasks), dtype=np.int64)
    with torch.no_grad():
        for step in act(environments, tasks, episodes * HORIZON, behaviour, seed):
            running = ended < episodes
            returns[np.flatnonzero(running), ended[running]] += step.reward[running] / behaviour.reward_scale
            ended += step.done
            if np.all(ended >= episodes):
                break
    return returns
