"""The scripted grasp on objects: whoever knows an object's hidden parameters can lift it, whoever does not cannot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mql_ros.evaluation.intervals import wilson_interval
from mql_ros.grasping.task.spaces import is_success
from mql_sim.environment import GraspTask
from mql_sim.expert import expert_action
from mql_sim.objects.catalogue import (
    HELD_OUT_NAMED,
    PROCEDURAL_TRAINING,
    TRAINING_NAMED,
    development_names,
    find_object,
    procedural,
    training_names,
)  # fmt: skip
from mql_sim.objects.spec import ObjectSpec

SAMPLE = 24
"""Procedural training objects in the check, evenly over the family."""
CATEGORIES = ("top", "handle", "narrow")


@dataclass
class Cell:
    """Successes of one kind of grasp."""

    successes: int = 0
    trials: int = 0

    def __str__(self) -> str:
        low, high = wilson_interval(self.successes, self.trials)
        share = self.successes / self.trials
        return f"{share:4.0%} [{low:.0%}, {high:.0%}] of {self.trials}"

    def add(self, successes: int, trials: int) -> None:
        """Count more trials."""
        self.successes += successes
        self.trials += trials

    @property
    def rate(self) -> float:
        """Share of successes."""
        return self.successes / self.trials

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        interval = list(wilson_interval(self.successes, self.trials))
        return {"successes": self.successes, "trials": self.trials, "rate": self.rate, "interval": interval}


@dataclass
class Row:
    """One line of the check: an object, or a category of the procedural family."""

    name: str
    category: str
    use: str
    right: Cell = field(default_factory=Cell)
    wrong: Cell = field(default_factory=Cell)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        wrong = self.wrong.as_dict() if self.wrong.trials else None
        return {"category": self.category, "use": self.use, "right": self.right.as_dict(), "wrong": wrong}


def check_objects(task: GraspTask, names: Sequence[str] | None, trials: int) -> list[Row]:
    """Grasp these objects, or the named ones and a sample of the procedural family, with right and wrong parameters."""
    rows = []
    for seed, spec in enumerate(named_specs() if names is None else [find_object(name) for name in names]):
        others = [other for other in named_specs() if other.name != spec.name]
        row = Row(spec.name, spec.category, use(spec.name))
        row.right.add(successes(task, spec, spec, trials, seed), trials)
        for other in others:
            # The others share the trials of the cell.
            share = math.ceil(trials / len(others))
            row.wrong.add(successes(task, spec, other, share, seed), share)
        rows.append(row)
    if names is None:
        sample = [procedural(k * PROCEDURAL_TRAINING // SAMPLE) for k in range(SAMPLE)]
        rows += _procedural_rows(task, sample, trials)
    return rows


def _procedural_rows(task: GraspTask, sample: list[ObjectSpec], trials: int) -> list[Row]:
    """One row per category, over the sampled objects; the wrong parameters are those of the next one in the sample."""
    rows = [Row(f"procedural {category}", category, "training") for category in CATEGORIES]
    for number, spec in enumerate(sample):
        row = rows[CATEGORIES.index(spec.category)]
        share = max(1, trials // 4)
        row.right.add(successes(task, spec, spec, share, number), share)
        row.wrong.add(successes(task, spec, sample[(number + 1) % len(sample)], share, number), share)
    return [row for row in rows if row.right.trials]


def successes(task: GraspTask, spec: ObjectSpec, assumed: ObjectSpec, trials: int, seed: int) -> int:
    """How many of `trials` scripted grasps of `spec` succeed with the hidden parameters of `assumed`."""
    task.set_object(spec, seed)
    won = 0
    for _ in range(trials):
        observation, done = task.begin_trial(), False
        while not done:
            observation, _, done = task.decide(expert_action(assumed, observation))
        won += is_success(observation)
    return won


def named_specs() -> list[ObjectSpec]:
    return [make() for make in (*TRAINING_NAMED.values(), *HELD_OUT_NAMED.values())]


def use(name: str) -> str:
    if name in HELD_OUT_NAMED:
        return "held out"
    if name in training_names():
        return "training"
    return "development" if name in development_names() else "other"


def size(spec: ObjectSpec) -> tuple[float, float]:
    """Full width along y and height above the table, m."""
    extents = [(shape.position, shape.half_extents()) for shape in spec.shapes]
    high, low = max(p[1] + e[1] for p, e in extents), min(p[1] - e[1] for p, e in extents)
    return high - low, max(p[2] + e[2] for p, e in extents)
