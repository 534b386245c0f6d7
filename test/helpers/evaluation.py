"""A small policy, and a stand-in for the workers of `mql evaluate`: instant, and as deterministic as they are."""

from __future__ import annotations

import os
import random
import signal
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.policy_bundle import save_bundle
from mql_ros.evaluation.cases import Case
from mql_ros.grasping.learning.grasp_policy import grasp_learner
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.grasping.task import spaces
from mql_ros.training.grasping.meta_training import replay_of, task_specification

NOTHING_JUDGED = {"trials": 0, "false_lifts": 0, "missed_lifts": 0}
OLD_OBJECTS = ("random-001", "random-002", "random-003")


def save_small_policy(path: Path) -> Path:
    """An untrained policy as a bundle, with a replay of made-up trials on OLD_OBJECTS."""
    rng, length = np.random.default_rng(0), 2 * spaces.DECISIONS_PER_TRIAL
    done = np.arange(length) % spaces.DECISIONS_PER_TRIAL == spaces.DECISIONS_PER_TRIAL - 1
    sessions = []
    for name in OLD_OBJECTS * 4:
        views = np.repeat(np.round(rng.random((1, spaces.VIEW_SIZE)), 2), length + 1, axis=0)
        signals = np.zeros((length + 1, spaces.SIGNAL_SIZE))
        signals[np.arange(length + 1), np.arange(length + 1) % spaces.DECISIONS_PER_TRIAL] = 1.0
        signals[:, 3:] = rng.normal(size=(length + 1, spaces.SIGNAL_SIZE - 3))
        seen = np.concatenate([views, signals], axis=1).astype(np.float32)
        action = rng.uniform(-1, 1, (length, spaces.ACTION_SIZE)).astype(np.float32)
        block = np.arange(length) // spaces.DECISIONS_PER_TRIAL
        reward = rng.random(length).astype(np.float32)
        sessions.append(Session(name, seen[:-1], action, reward, seen[1:], done, done.copy(), block))
    learner = grasp_learner(GraspNetworkConfig(context_size=8), seed=1)
    save_bundle(
        path, learner, robot={"name": "panda"}, task=task_specification(), replay=replay_of(sessions, 8),
        training_objects=OLD_OBJECTS,
    )  # fmt: skip
    return path


def result_of(case: Case) -> dict[str, Any]:
    """What run_case might say, from the case alone."""
    result: dict[str, Any] = {"new": [True] * case.new_trials, "unseen": False, "judged": NOTHING_JUDGED}
    for method in case.methods:
        words = f"{case.object_name} {case.seed} {method} {case.new_trials}"
        rng = random.Random(zlib.crc32(words.encode()))
        found = {"effective_sample_size": rng.random(), "seconds": 0.1, "classifier_accuracy": None}
        result[method] = {
            "successes": [[rng.random() < 0.4 + 0.02 * case.new_trials for _ in range(case.test_trials)]],
            "adaptation": found if method == "mql" and case.new_trials else None,
        }
    return result


class FakeWorkers:
    """Hands results back in a random order; ends the process, as kill -9 does, after `killed_after` of them."""

    ran: int = 0
    killed_after: int | None = None

    def __init__(self, robot: str, processes: int) -> None:
        assert robot == "panda" and processes >= 1

    def __enter__(self) -> FakeWorkers:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def map_unordered(self, function: object, cases: Sequence[Case]) -> Iterator[tuple[int, dict[str, Any]]]:
        order = list(range(len(cases)))
        random.Random(len(cases)).shuffle(order)
        for count, number in enumerate(order):
            if count == FakeWorkers.killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
            FakeWorkers.ran += 1
            yield number, result_of(cases[number])
