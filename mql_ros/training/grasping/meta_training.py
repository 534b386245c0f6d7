"""Meta-training on grasping: collect with a script, then with the policy; train anew on all data after each round.

Everything is derived from the seed, so an interrupted run goes on where its last finished piece left it: files of
sessions, and the policy of each round. Training from scratch on few thousand sessions takes minutes, and does not carry
the overfitting of earlier rounds on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.experience.session_files import read_sessions, write_sessions
from mql_ros.algorithm.q_learning import QLearner, QLearningConfig
from mql_ros.core.errors import UserError
from mql_ros.core.files import write_json
from mql_ros.core.hardware import hardware
from mql_ros.grasping.learning.augmentation import moved_at_random
from mql_ros.grasping.learning.grasp_policy import Exploration, grasp_learner, grasp_learner_of
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import successes
from mql_ros.rollouts.workers import Job, PolicyWeights, Workers
from mql_ros.training.grasping.config import TrainingConfig
from mql_ros.training.grasping.validation import Score, validate
from mql_ros.training.run_folder import RunFolder
from mql_sim.objects.catalogue import development_names, training_names

CHUNK = 50
"""Sessions in a file."""
WARM_UP = 100
"""Updates over which the step size rises at the start of a training."""
REPORT_EVERY = 100


class Training:
    """One run of `mql train` in a folder: sessions/, a checkpoint for each round, and at the end bundle/."""

    def __init__(
        self, config: TrainingConfig, folder: Path, processes: int, device: str = "cpu", command: Sequence[str] = ()
    ) -> None:
        """Claim the folder; UserError if it holds another run. `command` is kept in training_result.json."""
        self.config, self.device, self.command = config, device, command
        self.network = GraspNetworkConfig(**config.network)
        self.learning = QLearningConfig(**config.learning)
        self._processes = processes
        self._folder = RunFolder(folder, asdict(config), robot=config.robot, task=task_specification())

    def run(self) -> Path:
        """Train to the end; return the path of the finished bundle."""
        with Workers(self.config.robot, self._processes) as self._workers:
            sessions = self._sessions(0, None)
            for stage in range(1, self.config.rounds + 1):
                policy = self._policy(stage, sessions)
                sessions = sessions + self._sessions(stage, policy)
            return self._finish(sessions)

    def _sessions(self, stage: int, policy: PolicyWeights | None) -> list[Session]:
        """Sessions of a stage, 0 the scripted one, from their files or by running them."""
        count = self.config.sessions_per_round if stage else self.config.scripted_sessions
        found: list[Session] = []
        for first in range(0, count, CHUNK):
            path = self._folder.path / "sessions" / f"{stage}-{first:06d}.npz"
            if not path.exists():
                jobs = [self._job(stage, number) for number in range(first, min(first + CHUNK, count))]
                made = [session for session in self._workers.run(jobs, policy) if session is not None]
                if not made:
                    raise UserError(f"no object of round {stage} came to rest in view; look at the robot's workspace")
                write_sessions(path, made)
                rate = np.mean([successes(session) for session in made], axis=0)
                self._folder.log(f"round {stage}: {first + len(jobs)}/{count} sessions {np.round(rate, 2).tolist()}")
            found += read_sessions(path)
        return found

    def _job(self, stage: int, number: int) -> Job:
        config = self.config
        rng = np.random.default_rng([config.seed, stage, number])
        names = training_names()
        exploration = Exploration(share=float(rng.choice(config.exploration)))
        return Job(
            names[int(rng.integers(len(names)))], int(rng.integers(2**31)), config.trials_per_session, exploration
        )

    def _policy(self, stage: int, sessions: Sequence[Session]) -> PolicyWeights:
        """The policy that collects in a round, trained on all sessions before it."""
        name = f"round-{stage}"
        if (saved := self._folder.load(name)) is not None:
            learner = grasp_learner_of(saved, self.device)
        else:
            learner = self._train(stage, sessions, self.config.updates)
            self._validate(stage, learner, len(sessions))
            # Each training begins from scratch, so the optimiser's state is never needed again.
            contents = {"history_blocks": self.config.history_blocks, "optimizer": False, "extra": {"round": stage}}
            self._folder.save(name, learner, **contents)
        return PolicyWeights.of(learner, self.config.history_blocks)

    def _train(self, stage: int, sessions: Sequence[Session], updates: int) -> QLearner:
        """A learner from scratch on these sessions; the step size rises, then falls as half a cosine."""
        config = self.config
        learner = grasp_learner(self.network, self.learning, seed=config.seed * 100 + stage, device=self.device)
        replay, rng = replay_of(sessions, config.history_blocks), np.random.default_rng([config.seed, stage, 5])
        losses: list[float] = []
        for number in range(updates):
            share = min(1.0, (number + 1) / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * number / updates))
            learner.set_step_size(self.learning.learning_rate * max(share, 0.01))
            batch = replay.sample_sessions(config.batch_sessions, rng, config.shuffled)
            metrics = learner.update(moved_at_random(batch, rng, config.moved))
            losses.append(float(metrics["critic_loss"]))
            if (number + 1) % REPORT_EVERY == 0:
                mean = float(np.mean(losses[-REPORT_EVERY:]))
                self._folder.log(f"training {stage}: {number + 1}/{updates} updates, loss {mean:.4f}")
        if not math.isfinite(losses[-1]):
            raise UserError(f"training diverged in round {stage}: the loss is not finite; lower the learning rate")
        return learner

    def _validate(self, stage: int, learner: QLearner, sessions: int) -> Score:
        """Success on development objects; a point of the curve."""
        score = self._score(PolicyWeights.of(learner, self.config.history_blocks))
        trials = self.config.trials_per_session * sessions
        self._folder.add_point("round", {"round": stage, "trials": trials, "by_trial": score.by_trial})
        self._folder.log(f"round {stage}: development objects {np.round(score.by_trial, 3).tolist()}")
        return score

    def _score(self, policy: PolicyWeights) -> Score:
        names = development_names()[: self.config.validation_objects]
        return validate(self._workers, policy, names, self.config.trials_per_session)

    def _finish(self, sessions: Sequence[Session]) -> Path:
        """Train the policy that is shipped, measure it, and write it with the data that adaptation needs."""
        config, stage = self.config, self.config.rounds + 1
        path = self._folder.path / "bundle"
        if self._folder.load("bundle") is not None:
            return path
        learner = self._train(stage, sessions, config.last_updates)
        score = self._validate(stage, learner, len(sessions))
        zeroed = self._score(PolicyWeights.of(learner, config.history_blocks).without_context())
        measured = {"development_objects": score.as_dict(), "development_objects_context_zeroed": zeroed.as_dict()}
        result = {
            "command": list(self.command), "config": asdict(config), "validations": self._folder.points(),
            "measured": measured, "seconds": round(self._folder.seconds, 1),
            "hardware": hardware() | {"device": self.device},
        }  # fmt: skip
        write_json(self._folder.path / "training_result.json", result)
        self._folder.save(
            "bundle",
            learner,
            replay=replay_of(sessions[-config.replay_sessions :], config.history_blocks),
            training=asdict(config),
            seeds={"training": config.seed},
            measured=measured,
            training_objects=training_names(),
        )
        self._folder.log(f"wrote {path}: {measured}")
        return path


def replay_of(sessions: Sequence[Session], history_blocks: int) -> Replay:
    """A replay of grasping sessions."""
    return Replay.of(sessions, spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, history_blocks, spaces.VIEW_SIZE)


def task_specification() -> dict[str, Any]:
    """What a policy must have been trained on to fit this task."""
    return {
        "name": spaces.TASK_NAME,
        "signals": list(spaces.SIGNAL_NAMES),
        "view_cells": spaces.VIEW_CELLS,
        "actions": list(spaces.ACTION_NAMES),
        "decisions_per_trial": spaces.DECISIONS_PER_TRIAL,
    }
