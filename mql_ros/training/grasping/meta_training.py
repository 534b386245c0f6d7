"""Meta-training on grasping: demonstrations, cloning, then TD3 with context; the better of the two becomes the bundle.

Everything is derived from the seed, so an interrupted run goes on where its last finished piece left it: files of
sessions, and checkpoints that are policy bundles with optimiser state.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.replay import Batch, Replay, concatenate
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.experience.session_files import read_sessions, write_sessions
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError
from mql_ros.core.files import recover_directory, write_json, write_text
from mql_ros.core.hardware import hardware
from mql_ros.grasping.learning.hindsight import labelled
from mql_ros.grasping.task import spaces
from mql_ros.rollouts.rollout import successes
from mql_ros.rollouts.workers import Job, Policy, Workers
from mql_ros.training.grasping.config import TrainingConfig
from mql_ros.training.grasping.validation import Score, evaluate_policy
from mql_sim.objects.catalogue import HELD_OUT_NAMED, development_names, training_names

CHUNK = 50
"""Demonstration sessions in a file."""
VALIDATION_TRIALS = 5


class Training:
    """One run of `mql train` in a folder."""

    def __init__(self, config: TrainingConfig, folder: Path, processes: int, device: str = "cpu") -> None:
        self.config, self.folder, self.device = config, folder, device
        self._objects = training_names()
        folder.mkdir(parents=True, exist_ok=True)
        self._check_same_run()
        self._started = time.monotonic() - self._logged_seconds()
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

    def _check_same_run(self) -> None:
        """A folder belongs to one configuration; going on with another would mix runs."""
        record = self.folder / "training.json"
        text = json.dumps(self.config.as_dict(), indent=2, sort_keys=True)
        if record.exists() and record.read_text() != text:
            raise UserError(
                f"{self.folder} holds a training run with another configuration; choose another --out or remove it"
            )
        write_text(record, text)

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
                self._say(f"demonstrations {last}/{config.demonstration_sessions} sessions")
            for session in read_sessions(path):
                self._replay.add(session)

    def _job(self, stage: int, number: int, noise: float, others: tuple[str, ...] = ()) -> Job:
        run = self.config.seed if stage else self.config.demonstration_seed
        rng = np.random.default_rng([run + 1000 * stage, number])
        name = self._objects[int(rng.integers(len(self._objects)))]
        seed = (run - 1) * 100_000_000 + stage * 10_000_000 + number
        return Job(name, seed, self.config.trials_per_session, noise, others)

    def _clone(self) -> TD3Learner:
        path = self.folder / "cloned"
        if path.exists():
            cloned = load_bundle(path).make_learner(self.device)
            if not self._validations():  # a clone that another run has made
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
                self._say(f"cloning {number + 1}/{config.clone_updates}: {_numbers(metrics)}")
        score = self._validate(learner, 0)
        self._say(f"cloned policy on development objects: {score.by_trial}")
        self._checkpoint(path, learner, {"round": 0, "score": score.value})
        return learner

    def _reinforce(self, cloned: TD3Learner) -> Path:
        """Rounds of collecting and updating; returns the best checkpoint, perhaps the clone itself."""
        config = self.config
        newest = self.folder / "newest"
        for checkpoint in (newest, self.folder / "best"):
            recover_directory(checkpoint)
        best = self.folder / "cloned"
        best_score = float(load_bundle(best).manifest["extra"]["score"])
        learner, done = cloned, 0
        if newest.exists():
            bundle = load_bundle(newest)
            learner, done = bundle.make_learner(self.device), int(bundle.manifest["extra"]["round"])
        else:
            self._use_td3_settings(learner)
            rng = np.random.default_rng([config.seed, 3])
            for _ in range(config.critic_warmup_updates):
                learner.update(self._replay.sample(config.batch_blocks, rng), update_actor=False)
        if (self.folder / "best").exists():
            best = self.folder / "best"
            best_score = float(load_bundle(best).manifest["extra"]["score"])
        self._relabel_demonstrations()
        for number in range(done):
            self._keep(read_sessions(self._round_file(number)))
        for number in range(done, config.rounds):
            collected = self._collect(number, Policy.of(learner, config.history_blocks))
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
                best, best_score = self.folder / "best", score
                self._checkpoint(best, learner, extra)
            if number >= config.rounds - config.averaged_rounds:
                self._average(learner, number)
            self._checkpoint(newest, learner, extra)
            self._say(line)
        return self._averaged_or(best)

    def _average(self, learner: TD3Learner, number: int) -> None:
        """Take a round's actor and encoder into the mean of the last rounds' (Izmailov et al. 2018)."""
        path, before = self.folder / "averaged", number - (self.config.rounds - self.config.averaged_rounds)
        recover_directory(path)
        if path.exists() and load_bundle(path).manifest["extra"]["round"] > number:
            return  # an interrupted run had got this far
        mean = TD3Learner(learner.network_config, learner.config, device=self.device)
        mean.load_state_dict(load_bundle(path).make_learner().state_dict() if before else learner.state_dict())
        for name in ("actor", "encoder"):
            for kept, new in zip(mean.networks[name].parameters(), learner.networks[name].parameters(), strict=True):
                kept.data.lerp_(new.data, 1.0 / (before + 1))
        self._checkpoint(path, mean, {"round": number + 1, "score": None})

    def _averaged_or(self, best: Path) -> Path:
        """The averaged policy, where it is above the clone on the development objects; else the best checkpoint.

        Single checkpoints differ by more than the development objects can tell, so the best of them is partly luck.
        """
        path = self.folder / "averaged"
        if not self.config.averaged_rounds:
            return best
        mean = load_bundle(path).make_learner(self.device)
        score = self._score(mean)
        self._say(f"average of the last {self.config.averaged_rounds} rounds: {np.round(score.by_trial, 3).tolist()}")
        self._checkpoint(path, mean, {"round": self.config.rounds, "score": score.value, "averaged": True})
        cloned = float(load_bundle(self.folder / "cloned").manifest["extra"]["score"])
        return path if score.value > cloned else best

    def _round_file(self, number: int) -> Path:
        return self.folder / "rounds" / f"{number:06d}.npz"

    def _collect(self, number: int, policy: Policy) -> Iterator[Session]:
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
        return self.folder / "demonstrations" / f"{first:06d}.npz"

    def _batch(self, rng: np.random.Generator) -> Batch:
        count = round(self.config.own_fraction * self.config.batch_blocks) if len(self._own) else 0
        demonstrated = self._replay.sample(self.config.batch_blocks - count, rng)
        if count == 0:
            return demonstrated
        return concatenate(demonstrated, self._own.sample(count, rng))

    def _validate(self, learner: TD3Learner, finished: int) -> Score:
        """Score on the development objects after `finished` rounds (0: the clone); goes into validation.jsonl too."""
        config, score = self.config, self._score(learner)
        sessions = config.demonstration_sessions + finished * config.sessions_per_round
        line = {
            "round": finished,
            "decisions": spaces.DECISIONS_PER_TRIAL * config.trials_per_session * sessions,
            "labels": finished == 0,
            "by_trial": score.by_trial,
            "mean_after_first": score.value,
        }
        # An interrupted run may have got beyond the checkpoint that this one goes on from.
        rows = [row for row in self._validations() if row["round"] < finished] + [line]
        write_text(self.folder / "validation.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        return score

    def _score(self, learner: TD3Learner) -> Score:
        config = self.config
        policy = Policy.of(learner, config.history_blocks)
        names = development_names()[: config.validation_objects]
        return evaluate_policy(self._workers, policy, names, VALIDATION_TRIALS, 90, config.validation_sessions)

    def _validations(self) -> list[dict[str, Any]]:
        file = self.folder / "validation.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    # -- results -----------------------------------------------------------------------------------------------------

    def _finish(self, best: Path) -> Path:
        """Measure the chosen policy and write it with the data that adaptation needs."""
        config, path = self.config, self.folder / "bundle"
        held_out = set(HELD_OUT_NAMED) & set(self._objects)
        assert not held_out, f"held-out objects were trained on: {held_out}"
        bundle = load_bundle(best)
        checkpoint, learner = bundle.manifest["extra"], bundle.make_learner(self.device)
        policy = Policy.of(learner, config.history_blocks)
        clone_policy = Policy.of(load_bundle(self.folder / "cloned").make_learner(self.device), config.history_blocks)
        training_sample = self._objects[: config.measured_objects]
        measured: dict[str, Any] = {"development_score": checkpoint["score"]}
        for name, candidate, seed in (
            ("training_objects", policy, 91),
            ("training_objects_context_zeroed", policy.without_context(), 91),
            ("training_objects_cloned_policy", clone_policy, 91),
        ):
            score = evaluate_policy(self._workers, candidate, training_sample, VALIDATION_TRIALS, seed)
            measured[name] = score.as_dict()
            self._say(f"{name}: {json.dumps(measured[name])}")
        replay = self._new_replay(config.replay_sessions)
        for session in self._newest_sessions(config.replay_sessions):
            replay.add(replace(session, teacher_action=None))
        stage = (
            "cloned from the scripted teacher" if best.name == "cloned" else "TD3 with context, started from the clone"
        )
        save_bundle(
            path,
            learner,
            robot={"name": config.robot},
            task=task_specification(),
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
            overwrite=True,
        )
        result = {
            "schema": 1, "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), "config": config.as_dict(),
            "checkpoint": checkpoint, "validations": self._validations(), "measured": measured,
            "seconds": round(time.monotonic() - self._started, 1), "hardware": hardware() | {"device": self.device},
        }  # fmt: skip
        write_json(self.folder / "training_result.json", result)
        self._say(f"wrote {path} ({stage})")
        return path

    def _newest_sessions(self, count: int) -> list[Session]:
        files = sorted((self.folder / "demonstrations").glob("*.npz")) + sorted((self.folder / "rounds").glob("*.npz"))
        sessions: list[Session] = []
        for file in reversed(files):
            sessions = read_sessions(file) + sessions
            if len(sessions) >= count:
                break
        return sessions[-count:]

    def _checkpoint(self, path: Path, learner: TD3Learner, extra: dict[str, Any]) -> None:
        save_bundle(
            path,
            learner,
            robot={"name": self.config.robot},
            task=task_specification(),
            history_blocks=self.config.history_blocks,
            training=self.config.as_dict(),
            extra=extra,
            overwrite=True,
        )

    def _logged_seconds(self) -> float:
        """What an interrupted run has taken so far, from the last stamp in its log."""
        log = self.folder / "log.txt"
        stamps = re.findall(r"^\[ *([\d.]+) min\]", log.read_text(), re.MULTILINE) if log.exists() else []
        return 60.0 * float(stamps[-1]) if stamps else 0.0

    def _say(self, line: str) -> None:
        stamp = f"[{(time.monotonic() - self._started) / 60:6.1f} min] {line}"
        print(stamp, flush=True)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as log:
            log.write(stamp + os.linesep)


def task_specification() -> dict[str, Any]:
    """What a policy must have been trained on to fit this task."""
    return {
        "name": spaces.TASK_NAME,
        "observation": list(spaces.OBSERVATION_NAMES),
        "action_size": spaces.ACTION_SIZE,
        "decisions_per_trial": spaces.DECISIONS_PER_TRIAL,
    }


def _numbers(metrics: dict[str, Any]) -> str:
    kept = ("clone_loss", "critic_loss", "actor_q", "q_mean", "trust_loss")
    return " ".join(f"{key} {float(metrics[key]):.3f}" for key in kept if key in metrics)
