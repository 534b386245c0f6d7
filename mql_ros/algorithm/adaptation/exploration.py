"""Exploration in the trials before an adaptation: noise, recalled histories, or a search by a guide.

The paper explores with independent noise; the rest goes beyond it. Independent noise fails past the training range for
two reasons: it cancels out before it reaches far enough, and a context of failures keeps proposing the same action.
Noise may therefore persist over a trial. Until the first success, some trials may begin with the context of a solved
old task, drawn evenly or by propensity. A guide that knows the task's actions may search instead.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.adaptation.adapt import transition_features
from mql_ros.algorithm.adaptation.config import ExplorationConfig
from mql_ros.algorithm.adaptation.propensity import PropensityConfig, fit_logistic, importance_ratio
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import ContextEncoder


class Guide(Protocol):
    """A search that knows what the task's actions mean."""

    def propose(self, observation: NDArray, policy_action: NDArray, action: NDArray) -> NDArray:
        """Return the action [A] for an observation [O], given the policy's action without and with noise."""

    def learn(self, action: NDArray, reward: float, next_observation: NDArray, done: bool) -> None:
        """Take in the outcome of an action [A]."""


class HistoryLibrary:
    """Contexts of old tasks after a success, and features of old transitions for propensity."""

    def __init__(self, encoder: ContextEncoder, replay: Replay, success_return: float, pool_blocks: int = 1000) -> None:
        """Raise ValueError if no block in the replay was successful."""
        self.encoder = encoder
        everything = replay.transition_indices()
        last = np.append(np.diff(replay.block_of(everything)) != 0, True)
        won = replay.success_mask(success_return).numpy()[everything] > 0.0
        ends = everything[last & won]
        if len(ends) == 0:
            raise ValueError("No old trial was successful, so there is no history to recall; explore by noise alone.")
        self.contexts = transition_features(encoder, replay, ends)
        """[n, C] context after each successful block."""
        pool = replay.sample_unique(pool_blocks, np.random.default_rng(0))
        self._features = transition_features(encoder, replay, pool).astype(np.float64)
        self._names = sorted(set(replay.task_of(ends)))
        place = {name: number for number, name in enumerate(self._names)}
        self._task = np.array([place[name] for name in replay.task_of(ends)])
        self._pool_task = np.array([place.get(name, -1) for name in replay.task_of(pool)])

    def draw(self, count: int, rng: np.random.Generator, new_features: NDArray | None = None) -> NDArray[np.float32]:
        """Return contexts [count, C] of tasks drawn evenly, or by propensity for new features [n, C]."""
        share = np.ones(len(self._names))
        if new_features is not None:
            config = PropensityConfig(l2=0.3)
            model = fit_logistic(np.asarray(new_features, dtype=np.float64), self._features, config.l2)
            known = self._pool_task >= 0
            ratio = importance_ratio(model, self._features[known], config)
            tasks = self._pool_task[known]
            total = np.bincount(tasks, weights=ratio, minlength=len(share))
            share = total / np.maximum(np.bincount(tasks, minlength=len(share)), 1)
        tasks = rng.choice(len(share), size=count, p=share / share.sum())
        return np.stack([self.contexts[rng.choice(np.flatnonzero(self._task == task))] for task in tasks])


class Acting(Protocol):
    """A contextual policy, such as TD3Learner."""

    def act(self, observation: NDArray, context: NDArray[np.float32]) -> NDArray:
        """Return the action [A] for an observation [O] and a context [C]."""


class Explorer:
    """A policy with exploration, for one session.

    The attributes policy, config and guide may change between two blocks.
    """

    def __init__(
        self,
        policy: Acting,
        config: ExplorationConfig,
        seed: int,
        library: HistoryLibrary | None = None,
        guide: Guide | None = None,
    ) -> None:
        if config.recall > 0.0 and library is None:
            raise ValueError("Recalled histories need a library of them; give one, or set recall to 0.")
        if config.search and guide is None:
            raise ValueError("A search needs a guide that knows the task; give one, or set search to false.")
        self.policy, self.config, self.guide = policy, config, guide
        self._library = library
        self._rng = np.random.default_rng([seed, 23])
        self._noise: NDArray[np.float64] = np.zeros(0)
        self._hidden: torch.Tensor | None = None
        self._begins, self._succeeded, self._total = True, False, 0.0
        self._felt: list[NDArray[np.float32]] = []
        self._failed: list[NDArray[np.float64]] = []
        self._first: NDArray[np.float64] | None = None

    def act(self, observation: NDArray, context: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the action [A] for an observation [O] and the context [C] of the real history.

        Noise may exceed [-1, 1]; the task clips the action.
        """
        config, seen = self.config, observation.astype(np.float32)
        if config.noise == 0.0 and config.recall == 0.0 and not config.search:
            return self.policy.act(seen, context).astype(np.float64)
        if self._begins:
            self._hidden = self._recalled(seen) if self._recalls() else None
        known = context if self._hidden is None else self._hidden.numpy()
        own = self.policy.act(seen, known).astype(np.float64)
        fresh = config.noise * self._rng.normal(size=own.shape)
        if self._begins:
            self._noise = fresh
        else:
            keep = config.persistence
            self._noise = keep * self._noise + np.sqrt(1.0 - keep**2) * fresh
        action = own + self._noise
        if config.search and self.guide is not None:
            action = self.guide.propose(observation, own, action)
        self._begins = False
        return action

    def learn(
        self, action: NDArray, reward: float, next_observation: NDArray, done: bool, context: NDArray[np.float32]
    ) -> None:
        """Take in the outcome of the action, whether the block ended, and the context [C] of the real history."""
        if self.guide is not None:
            self.guide.learn(action, reward, next_observation, done)
        if self._library is not None:
            self._felt.append(context)
        self._first = action if self._first is None else self._first
        self._total += reward
        if self._hidden is not None:
            assert self._library is not None
            item = np.concatenate([action, [reward], next_observation, [done]]).astype(np.float32)
            with torch.no_grad():
                self._hidden = self._library.encoder.step(torch.from_numpy(item), self._hidden[None])[0]
        if not done:
            return
        if self._total >= self.config.success_return:
            self._succeeded = True
        else:
            self._failed.append(self._first)
        self._begins, self._total, self._first = True, 0.0, None

    def _recalls(self) -> bool:
        config = self.config
        stuck = config.recall > 0.0 and not self._succeeded and len(self._failed) >= config.recall_after
        return stuck and self._rng.random() < config.recall

    def _recalled(self, observation: NDArray[np.float32]) -> torch.Tensor:
        """Return the drawn context whose first action is farthest from every first action that failed."""
        assert self._library is not None
        features = np.array(self._felt) if self.config.recall_by == "propensity" else None
        contexts = self._library.draw(self.config.candidates, self._rng, features)
        actions = np.stack([self.policy.act(observation, context) for context in contexts])
        distance = np.linalg.norm(actions[:, None] - np.array(self._failed)[None], axis=-1).min(axis=1)
        return torch.from_numpy(contexts[int(np.argmax(distance))].copy())
