"""Meta-training on grasping: demonstrations, cloning, then TD3 with context; the better of the two becomes the bundle.

Everything is derived from the seed, so an interrupted run goes on where its last finished piece left it: files of
sessions, and checkpoints with optimiser state.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.replay import Batch, Replay, concatenate
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.experience.session_files import read_sessions, write_sessions
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import PolicyBundle
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError
from mql_ros.core.files import write_json
from mql_ros.core.hardware import hardware
from mql_ros.grasping.learning.hindsight import labelled
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import successes
from mql_ros.rollouts.workers import Job, PolicyWeights, Workers
from mql_ros.training.grasping.config import TrainingConfig
from mql_ros.training.grasping.validation import Score, evaluate_policy
from mql_ros.training.run_folder import RunFolder
from mql_sim.objects.catalogue import HELD_OUT_NAMED, development_names, training_names

CHUNK = 50
"""Demonstration sessions in a file."""
VALIDATION_TRIALS = 5


class Training:
    """One run of `mql train` in a folder: demonstrations/, rounds/, checkpoints, and at the end bundle/."""

    def __init__(self, config: TrainingConfig, folder: Path, processes: int, device: str = "cpu") -> None:
        self.config, self.device = config, device
        self._objects = training_names()
        self._folder = RunFolder(folder, config.as_dict(), robot=config.robot, task=task_specification())
        self._workers = Workers(config.robot, processes)
        own = config.rounds * config.sessions_per_round
        self._replay = self._new_replay(config.demonstration_sessions + own)
        self._own = self._new_replay(own)

    def _new_replay(self, sessions: int) -> Replay:
        trials = self.config.trials_per_session * (sessions + 1)
        return Replay(
            spaces.OBSERVATION_SIZE,
            spaces.ACTION_SIZE,
            self.config.history_blocks,
            capacity=spaces.DECISIONS_PER_TRIAL * trials,
        )

    def run(self) -> Path:
        """Train to the end; returns the path of the finished bundle."""
        with self._workers:
            self._demonstrate()
            cloned = self._clone()
            return self._finish(self._reinforce(cloned))

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _demonstrate(self) -> None:
        config = self.config
        for first in range(0, config.demonstration_sessions, CHUNK):
            path = self._demonstrations_file(first)
            if not path.exists():
                last = min(first + CHUNK, config.demonstration_sessions)
                jobs = [self._job(0, number, 0.0, tuple(self._objects)) for number in range(first, last)]
                write_sessions(path, list(self._workers.demonstrate(jobs)))
                self._folder.log(f"demonstrations {last}/{config.demonstration_sessions} sessions")
            for session in read_sessions(path):
                self._replay.add(session)

    def _job(self, stage: int, number: int, noise: float, others: tuple[str, ...] = ()) -> Job:
        run = self.config.seed if stage else self.config.demonstration_seed
        rng = np.random.default_rng([run + 1000 * stage, number])
        name = self._objects[int(rng.integers(len(self._objects)))]
        seed = (run - 1) * 100_000_000 + stage * 10_000_000 + number
        return Job(name, seed, self.config.trials_per_session, noise, others)

    def _clone(self) -> TD3Learner:
        if (checkpoint := self._folder.load("cloned")) is not None:
            cloned = checkpoint.make_learner(self.device)
            if not self._folder.points():  # a clone that another run has made
                self._validate(cloned, 0)
            return cloned
        config = self.config
        network = NetworkConfig(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, **config.network)
        learner = TD3Learner(network, TD3Config(**config.clone), seed=config.seed, device=self.device)
        rng = np.random.default_rng([config.seed, 2])
        metrics: dict[str, Any] = {}
        for number in range(config.clone_updates):
            metrics = learner.clone_update(self._replay.sample(config.batch_blocks, rng), critic_weight=1.0)
            if (number + 1) % 1000 == 0:
                self._folder.log(f"cloning {number + 1}/{config.clone_updates}: {_numbers(metrics)}")
        score = self._validate(learner, 0)
        self._folder.log(f"cloned policy on development objects: {score.by_trial}")
        self._checkpoint("cloned", learner, {"round": 0, "score": score.value})
        return learner

    def _reinforce(self, cloned: TD3Learner) -> PolicyBundle:
        """Rounds of collecting and updating; returns the best checkpoint, perhaps the clone itself."""
        config = self.config
        learner, done = cloned, 0
        if (newest := self._folder.load("newest")) is not None:
            learner, done = newest.make_learner(self.device), int(newest.manifest["extra"]["round"])
        else:
            self._use_td3_settings(learner)
            rng = np.random.default_rng([config.seed, 3])
            for _ in range(config.critic_warmup_updates):
                learner.update(self._replay.sample(config.batch_blocks, rng), update_actor=False)
        best_score = _score_of(self._folder.load("best") or self._saved("cloned"))
        self._relabel_demonstrations()
        for number in range(done):
            self._keep(read_sessions(self._round_file(number)))
        for number in range(done, config.rounds):
            collected = self._collect(number, PolicyWeights.of(learner, config.history_blocks))
            metrics = self._update(learner, number)
            sessions = list(collected)
            write_sessions(self._round_file(number), sessions)
            self._keep(sessions)
            rate = np.array([successes(session) for session in sessions]).mean(axis=0)
            line = f"round {number + 1}/{config.rounds}: collected {np.round(rate, 2).tolist()} {_numbers(metrics)}"
            score = None
            if (number + 1) % config.validate_every == 0 or number + 1 == config.rounds:
                validation = self._validate(learner, number + 1)
                score = validation.value
                line += f" validation {np.round(validation.by_trial, 3).tolist()}"
            extra = {"round": number + 1, "score": score}
            if score is not None and score > best_score:
                best_score = score
                self._checkpoint("best", learner, extra)
            if number >= config.rounds - config.averaged_rounds:
                self._average(learner, number)
            self._checkpoint("newest", learner, extra)
            self._folder.log(line)
        return self._averaged_or(self._folder.load("best") or self._saved("cloned"))

    def _average(self, learner: TD3Learner, number: int) -> None:
        """Take a round's actor and encoder into the mean of the last rounds' (Izmailov et al. 2018)."""
        before = number - (self.config.rounds - self.config.averaged_rounds)
        averaged = self._folder.load("averaged")
        if averaged is not None and averaged.manifest["extra"]["round"] > number:
            return  # an interrupted run had got this far
        mean = TD3Learner(learner.network_config, learner.config, device=self.device)
        mean.load_state_dict((averaged.make_learner() if averaged and before else learner).state_dict())
        for name in ("actor", "encoder"):
            for kept, new in zip(mean.networks[name].parameters(), learner.networks[name].parameters(), strict=True):
                kept.data.lerp_(new.data, 1.0 / (before + 1))
        self._checkpoint("averaged", mean, {"round": number + 1, "score": None})

    def _averaged_or(self, best: PolicyBundle) -> PolicyBundle:
        """The averaged policy, where it is above the clone on the development objects; else the best checkpoint.

        Single checkpoints differ by more than the development objects resolve, so the best of them is partly luck.
        """
        if not self.config.averaged_rounds:
            return best
        mean = self._saved("averaged").make_learner(self.device)
        score = self._score(mean)
        count, shown = self.config.averaged_rounds, np.round(score.by_trial, 3).tolist()
        self._folder.log(f"average of the last {count} rounds: {shown}")
        self._checkpoint("averaged", mean, {"round": self.config.rounds, "score": score.value, "averaged": True})
        return self._saved("averaged") if score.value > _score_of(self._saved("cloned")) else best

    def _saved(self, name: str) -> PolicyBundle:
        bundle = self._folder.load(name)
        assert bundle is not None
        return bundle

    def _round_file(self, number: int) -> Path:
        return self._folder.path / "rounds" / f"{number:06d}.npz"

    def _collect(self, number: int, policy: PolicyWeights) -> Iterator[Session]:
        """Start a round's sessions in the workers; they run while the learner updates on what is there already."""
        config = self.config
        first = number * config.sessions_per_round
        jobs = [
            self._job(1, k, 0.0 if k % 4 == 0 else config.exploration_noise)
            for k in range(first, first + config.sessions_per_round)
        ]
        return self._workers.act(policy, jobs)

    def _use_td3_settings(self, learner: TD3Learner) -> None:
        learner.config = TD3Config(**self.config.td3)
        for optimizer, rate in (
            (learner.actor_optimizer, learner.config.actor_learning_rate),
            (learner.critic_optimizer, learner.config.critic_learning_rate),
        ):
            for group in optimizer.param_groups:
                group["lr"] = rate
                if group["weight_decay"] > 0:
                    group["weight_decay"] = learner.config.weight_decay

    def _update(self, learner: TD3Learner, number: int) -> dict[str, Any]:
        config = self.config
        learner.config = replace(learner.config, clone_weight=config.clone_weight(number))
        rng = np.random.default_rng([config.seed, 5, number])
        metrics: dict[str, Any] = {}
        for _ in range(config.updates_per_round):
            metrics = metrics | learner.update(self._batch(rng))
        if not all(math.isfinite(float(value)) for value in metrics.values()):
            raise UserError(f"training diverged in round {number + 1}: a loss is not finite; lower the learning rates")
        return metrics

    def _keep(self, sessions: list[Session]) -> None:
        """Store what the policy did: in a replay of its own where batches take a fixed part from it."""
        replay = self._own if self.config.own_fraction > 0.0 else self._replay
        for session in sessions:
            replay.add(labelled(session))

    def _relabel_demonstrations(self) -> None:
        """After cloning, the demonstrations too have no labels but those of their own successes: nothing privileged."""
        config = self.config
        self._replay = self._new_replay(config.demonstration_sessions + config.rounds * config.sessions_per_round)
        for first in range(0, config.demonstration_sessions, CHUNK):
            for session in read_sessions(self._demonstrations_file(first)):
                self._replay.add(labelled(session))

    def _demonstrations_file(self, first: int) -> Path:
        return self._folder.path / "demonstrations" / f"{first:06d}.npz"

    def _batch(self, rng: np.random.Generator) -> Batch:
        count = round(self.config.own_fraction * self.config.batch_blocks) if len(self._own) else 0
        demonstrated = self._replay.sample(self.config.batch_blocks - count, rng)
        if count == 0:
            return demonstrated
        return concatenate(demonstrated, self._own.sample(count, rng))

    def _validate(self, learner: TD3Learner, finished: int) -> Score:
        """Score on the development objects after `finished` rounds (0: the clone); a point of the curve."""
        config, score = self.config, self._score(learner)
        sessions = config.demonstration_sessions + finished * config.sessions_per_round
        point = {
            "round": finished,
            "decisions": spaces.DECISIONS_PER_TRIAL * config.trials_per_session * sessions,
            "labels": finished == 0,
            "by_trial": score.by_trial,
            "mean_after_first": score.value,
        }
        self._folder.add_point("round", point)
        return score

    def _score(self, learner: TD3Learner) -> Score:
        config = self.config
        policy = PolicyWeights.of(learner, config.history_blocks)
        names = development_names()[: config.validation_objects]
        return evaluate_policy(self._workers, policy, names, VALIDATION_TRIALS, 90, config.validation_sessions)

    # -- results -----------------------------------------------------------------------------------------------------

    def _finish(self, best: PolicyBundle) -> Path:
        """Measure the chosen policy and write it with the data that adaptation needs."""
        config = self.config
        held_out = set(HELD_OUT_NAMED) & set(self._objects)
        assert not held_out, f"held-out objects were trained on: {held_out}"
        checkpoint, learner = best.manifest["extra"], best.make_learner(self.device)
        policy = PolicyWeights.of(learner, config.history_blocks)
        clone_policy = PolicyWeights.of(self._saved("cloned").make_learner(self.device), config.history_blocks)
        training_sample = self._objects[: config.measured_objects]
        measured: dict[str, Any] = {"development_score": checkpoint["score"]}
        for name, candidate, seed in (
            ("training_objects", policy, 91),
            ("training_objects_context_zeroed", policy.without_context(), 91),
            ("training_objects_cloned_policy", clone_policy, 91),
        ):
            score = evaluate_policy(self._workers, candidate, training_sample, VALIDATION_TRIALS, seed)
            measured[name] = score.as_dict()
            self._folder.log(f"{name}: {json.dumps(measured[name])}")
        replay = self._new_replay(config.replay_sessions)
        for session in self._newest_sessions(config.replay_sessions):
            replay.add(replace(session, teacher_action=None))
        stage = (
            "cloned from the scripted teacher"
            if best.path.name == "cloned"
            else "TD3 with context, started from the clone"
        )
        self._folder.save(
            "bundle",
            learner,
            replay=replay,
            training={
                **config.as_dict(),
                "shipped_policy": stage,
                "checkpoint": checkpoint,
                "rounds_without_teacher": checkpoint["round"],
            },
            seeds={"training": config.seed},
            measured=measured,
            training_objects=self._objects,
        )
        result = {
            "schema": 1, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), "config": config.as_dict(),
            "checkpoint": checkpoint, "validations": self._folder.points(), "measured": measured,
            "seconds": round(self._folder.seconds, 1), "hardware": hardware() | {"device": self.device},
        }  # fmt: skip
        write_json(self._folder.path / "training_result.json", result)
        path = self._folder.path / "bundle"
        self._folder.log(f"wrote {path} ({stage})")
        return path

    def _newest_sessions(self, count: int) -> list[Session]:
        kinds = ("demonstrations", "rounds")
        files = [file for kind in kinds for file in sorted((self._folder.path / kind).glob("*.npz"))]
        sessions: list[Session] = []
        for file in reversed(files):
            sessions = read_sessions(file) + sessions
            if len(sessions) >= count:
                break
        return sessions[-count:]

    def _checkpoint(self, name: str, learner: TD3Learner, extra: dict[str, Any]) -> None:
        self._folder.save(name, learner, history_blocks=self.config.history_blocks, extra=extra)


def task_specification() -> dict[str, Any]:
    """What a policy must have been trained on to fit this task."""
    return {
        "name": spaces.TASK_NAME,
        "observation": list(spaces.OBSERVATION_NAMES),
        "action_size": spaces.ACTION_SIZE,
        "decisions_per_trial": spaces.DECISIONS_PER_TRIAL,
    }


def _score_of(checkpoint: PolicyBundle) -> float:
    return float(checkpoint.manifest["extra"]["score"])


def _numbers(metrics: dict[str, Any]) -> str:
    kept = ("clone_loss", "critic_loss", "actor_q", "q_mean", "trust_loss")
    return " ".join(f"{key} {float(metrics[key]):.3f}" for key in kept if key in metrics)
