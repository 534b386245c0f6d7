"""Sessions of trials on one object: with the scripted teacher's mistakes and corrections, or with a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import numpy as np

from mql_ros.algorithm.adaptation.config import NO_EXPLORATION, ExplorationConfig
from mql_ros.algorithm.adaptation.exploration import Explorer, Guide, HistoryLibrary
from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.grasping.learning.hindsight import SuccessfulGrasp
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.spaces import Phase
from mql_ros.grasping.types import Array
from mql_sim.environment import GraspTask
from mql_sim.expert import expert_action
from mql_sim.objects.spec import ObjectSpec


class Agent(Protocol):
    """What decides in a session on one object."""

    def act(self, observation: Array, trial: int) -> Array:
        """Return the action [4] for an observation [15] in a trial (0 and up); the task clips it to [-1, 1]."""

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Take in the reward, the observation that followed and whether the trial is over."""


class Demonstrator:
    """A teacher that knows the object, but mostly pretends not to at first.

    Early trials try what would be right for some other object, later ones what is right, with errors in single
    parameters on the way: so the data hold the mistakes that a learner makes, and what each of them feels like.
    """

    CORRECT_SHARE = (0.10, 0.25, 0.40, 0.50, 0.60, 0.70, 0.70, 0.70)
    """Probability of the right parameters in trial 0, 1, 2, ..."""

    def __init__(self, spec: ObjectSpec, others: Callable[[np.random.Generator], ObjectSpec], seed: int) -> None:
        self._spec = spec
        self._others = others
        self._rng = np.random.default_rng([seed, 17])
        self._belief = spec
        self._noise = np.zeros(spaces.ACTION_SIZE)

    def act(self, observation: Array, trial: int) -> Array:
        """The believed object's expert action, disturbed."""
        if Phase(int(np.argmax(observation[:3]))) is Phase.PLACE:
            self._belief = self._new_belief(trial)
            self._noise = self._rng.choice([0.02, 0.08, 0.2]) * np.ones(spaces.ACTION_SIZE)
        return expert_action(self._belief, observation) + self._noise * self._rng.normal(size=spaces.ACTION_SIZE)

    def _new_belief(self, trial: int) -> ObjectSpec:
        rng, spec = self._rng, self._spec
        if rng.random() < self.CORRECT_SHARE[min(trial, len(self.CORRECT_SHARE) - 1)]:
            return spec
        if rng.random() < 0.5:
            return self._others(rng)
        wrong = spec
        parts = rng.random(3) < 0.5
        if parts[0]:
            wrong = replace(wrong, grasp_x=spec.grasp_x + float(rng.normal(0.0, 0.03)))
        if parts[1]:
            wrong = replace(wrong, grasp_z=spec.grasp_z + float(rng.normal(0.0, 0.04)))
        if parts[2]:
            wrong = replace(wrong, grasp_force=spec.grasp_force * float(np.exp(rng.normal(0.0, 0.8))))
        return wrong

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """A teacher that knows the object has nothing to learn."""


def run_session(
    task: GraspTask,
    spec: ObjectSpec,
    seed: int,
    trials: int,
    agent: Agent,
    with_teacher: bool = False,
    first_trial: int = 0,
) -> Session:
    """Run `trials` trials on one object and return what happened; with the teacher's action at each step if asked.

    A session may go on: `first_trial` trials with this seed went before.
    """
    task.set_object(spec, seed, first_trial)
    rows: list[tuple[Array, Array, float, Array, bool]] = []
    teacher = []
    for trial in range(first_trial, first_trial + trials):
        observation, done = task.begin_trial(), False
        while not done:
            if with_teacher:
                teacher.append(expert_action(spec, observation))
            # Networks compute in single precision: record exactly what they would see and do.
            action = agent.act(observation, trial).astype(np.float32).astype(np.float64)
            following, reward, done = task.decide(action)
            action = task.machine.executed.astype(np.float32).astype(np.float64)
            agent.learn(action, reward, following, done)
            rows.append((observation, action, reward, following, done))
            observation = following
    observations, actions, rewards, followings, dones = zip(*rows, strict=True)
    done_flags = np.array(dones)
    return Session(
        task=spec.name,
        observation=np.array(observations, dtype=np.float32),
        action=np.array(actions, dtype=np.float32),
        reward=np.array(rewards, dtype=np.float32),
        next_observation=np.array(followings, dtype=np.float32),
        done=done_flags,
        terminal=done_flags.copy(),
        block=first_trial + np.arange(len(rows)) // spaces.DECISIONS_PER_TRIAL,
        teacher_action=np.array(teacher, dtype=np.float32) if with_teacher else None,
    )


def successes(session: Session) -> np.ndarray:
    """Whether each trial of a session lifted the object [trials]."""
    return np.array([spaces.is_success(o) for o in session.next_observation[session.done]])


class Repeat:
    """Does what succeeded over and over: no learning, and as good as adaptation can get by cloning its successes."""

    def __init__(self, grasp: SuccessfulGrasp) -> None:
        self._grasp = grasp

    def act(self, observation: Array, trial: int) -> Array:
        """The action that leads from here to the grasp."""
        return self._grasp.action(observation).astype(np.float64)

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """There is nothing to learn."""


class PolicyAgent:
    """A contextual policy, perhaps exploring: the same computation as on the robot, in one process."""

    def __init__(
        self,
        learner: TD3Learner,
        history_blocks: int,
        exploration: ExplorationConfig = NO_EXPLORATION,
        seed: int = 0,
        library: HistoryLibrary | None = None,
        guide: Guide | None = None,
    ) -> None:
        self._explorer = Explorer(learner, exploration, seed, library, guide)
        self._tracker = ContextTracker(learner.encoder, history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE)

    def act(self, observation: Array, trial: int) -> Array:
        """The explorer's action for observation and context."""
        return self._explorer.act(observation, self._tracker.context)

    def learn(self, action: Array, reward: float, observation: Array, done: bool) -> None:
        """Take the step into the context."""
        context = self._tracker.append(action, reward, observation, done)
        self._explorer.learn(action, reward, observation, done, context)

    def remember(self, session: Session) -> None:
        """Begin with the context of a session that went before."""
        for action, reward, observation, done in zip(
            session.action, session.reward, session.next_observation, session.done, strict=True
        ):
            self.learn(action, float(reward), observation, bool(done))
