"""Sessions of trials on one object, in one process: what an agent does, feels and earns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.q_learning import QLearner
from mql_ros.grasping.learning.grasp_policy import Exploration, GraspPolicy
from mql_ros.grasping.perception.camera import PerceptionError
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.reward import SUCCESS_RETURN
from mql_ros.grasping.types import Array
from mql_sim.benches import Bench
from mql_sim.environment import GraspTask
from mql_sim.objects.thing import Thing

UNSEEN = 5
"""Placements in a row in which nothing is seen, after which a session is given up."""


class Agent(Protocol):
    """Whoever decides in a session on one object."""

    def act(self, observation: Array) -> Array:
        """The action [A] for an observation [O]."""

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Take in what came of it: the observation [O] that followed and whether the trial is over."""


class PolicyAgent:
    """The contextual policy, perhaps exploring: the same computation as on the robot, in one process."""

    def __init__(
        self,
        learner: QLearner,
        history_blocks: int,
        seed: int = 0,
        exploration: Exploration | None = None,
    ) -> None:
        self._policy = GraspPolicy(learner, seed, exploration)
        self._tracker = ContextTracker(learner.encoder, history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE)

    def act(self, observation: Array) -> Array:
        """The policy's action for observation and context."""
        return self._policy.act(observation, self._tracker.context)

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Take the step into context and memory."""
        self._tracker.append(action, reward, observation, done)
        self._policy.learn(action, reward, observation, done)

    def remember(self, session: Session) -> None:
        """Begin with the context of a session that went before."""
        for action, reward, observation, done in zip(
            session.action, session.reward, session.next_observation, session.done, strict=True
        ):
            self.learn(action, float(reward), observation, bool(done))


def run_session(
    task: GraspTask,
    thing: Thing,
    seed: int,
    trials: int,
    agent: Agent,
    bench: Bench | None = None,
    first_trial: int = 0,
    after_trial: Callable[[], None] | None = None,
) -> Session | None:
    """Run `trials` trials on one object and return what happened; None where the object does not rest or is not seen.

    A session may go on: `first_trial` placements with this seed went before. `after_trial` is called at the end of each
    trial, while the object still hangs in the fingers.
    """
    if not task.set_thing(thing, seed, bench, first_trial):
        return None
    rows: list[tuple[Array, Array, float, Array, bool]] = []
    done_trials = unseen = 0
    while done_trials < trials:
        try:
            observation = task.begin_trial()
        except (PerceptionError, ValueError):
            unseen += 1
            if unseen >= UNSEEN:
                return None
            continue
        unseen, done = 0, False
        done_trials += 1
        while not done:
            # Networks compute in single precision: record exactly what they see and do.
            observation = observation.astype(np.float32).astype(np.float64)
            action = agent.act(observation).astype(np.float32).astype(np.float64)
            following, reward, done = task.decide(action)
            action = task.machine.executed.astype(np.float32).astype(np.float64)
            agent.learn(action, reward, following.astype(np.float32), done)
            rows.append((observation, action, reward, following, done))
            observation = following
        if after_trial is not None:
            after_trial()
    observations, actions, rewards, followings, dones = zip(*rows, strict=True)
    done_flags = np.array(dones)
    return Session(
        task=thing.name,
        observation=np.array(observations, dtype=np.float32),
        action=np.array(actions, dtype=np.float32),
        reward=np.array(rewards, dtype=np.float32),
        next_observation=np.array(followings, dtype=np.float32),
        done=done_flags,
        terminal=done_flags.copy(),
        block=first_trial + np.arange(len(rows)) // spaces.DECISIONS_PER_TRIAL,
    )


def successes(session: Session) -> np.ndarray:
    """Whether each trial of a session earned what a lifted object earns [trials]."""
    ends = np.flatnonzero(session.done)
    return np.add.reduceat(session.reward, np.append(0, ends[:-1] + 1)) >= SUCCESS_RETURN
