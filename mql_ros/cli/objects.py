"""`mql objects`: what there is to grasp, and the proof that whoever knows the hidden parameters can grasp it."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_json
from mql_ros.evaluation.intervals import wilson_interval
from mql_ros.reporting.text_table import table

if TYPE_CHECKING:
    from mql_sim.environment import GraspTask
    from mql_sim.objects.spec import ObjectSpec

HELP = "list the objects; with --check, grasp each by script with its own hidden parameters and with those of others"
GOAL = 0.95
"""Success that the scripted grasp must reach with the right parameters."""
SAMPLE = 24
"""Procedural training objects in the check, evenly over the family."""
CATEGORIES = ("top", "handle", "narrow")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--check", action="store_true", help="grasp each object by script and print a table of success")
    parser.add_argument("--objects", nargs="+", metavar="NAME", help="these objects only: names or .urdf files")
    parser.add_argument(
        "--trials", type=int, default=40, help="trials in each cell of the check (default: %(default)s)"
    )
    parser.add_argument("--robot", default="panda", help="robot profile (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON too")


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


def main(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when the check finds an object that cannot be grasped."""
    if arguments.trials < 1:
        raise UserError(f"--trials is {arguments.trials}; expected 1 or more")
    check_writable(arguments.json)
    if arguments.check:
        return _check(arguments.objects, arguments.trials, arguments.robot, arguments.json)
    return _list(arguments.objects, arguments.json)


def _list(names: list[str] | None, json_file: str | None) -> int:
    from mql_sim.objects import catalogue

    specs = _named_specs() if names is None else [catalogue.find_object(name) for name in names]
    rows = [["object", "use", "category", "mass kg", "width m", "height m"]]
    described = {}
    for spec in specs:
        width, height = _size(spec)
        use = _use(spec.name)
        rows.append([spec.name, use, spec.category, f"{spec.mass:.2f}", f"{width:.3f}", f"{height:.3f}"])
        described[spec.name] = {
            "use": use, "category": spec.category, "mass": spec.mass, "width": width, "height": height
        }  # fmt: skip
    print(table(rows))
    if names is None:
        first, count = catalogue.DEVELOPMENT_FIRST, catalogue.DEVELOPMENT_COUNT
        print(
            f"\nand the procedural family with continuous shape, size, mass, friction and force window:\n"
            f"  procedural-0000 to procedural-{catalogue.PROCEDURAL_TRAINING - 1:04d} for training,\n"
            f"  procedural-{first:04d} to procedural-{first + count - 1:04d} for development, never trained on;\n"
            "or the path of a .urdf file, e.g. config/objects/example_vase.urdf"
        )
    if json_file:
        write_json(json_file, {"schema": 1, "objects": described})
    return 0


def _check(names: list[str] | None, trials: int, robot: str, json_file: str | None) -> int:
    from mql_ros.grasping.robot.profile import load_profile
    from mql_sim.environment import GraspTask
    from mql_sim.objects.catalogue import PROCEDURAL_TRAINING, find_object, procedural

    chosen = _named_specs() if names is None else [find_object(name) for name in names]
    task = GraspTask(load_profile(robot))
    rows = []
    for seed, spec in enumerate(chosen):
        others = [other for other in _named_specs() if other.name != spec.name]
        row = Row(spec.name, spec.category, _use(spec.name))
        row.right.add(successes(task, spec, spec, trials, seed), trials)
        for other in others:
            # The others share the trials of the cell.
            share = math.ceil(trials / len(others))
            row.wrong.add(successes(task, spec, other, share, seed), share)
        rows.append(row)
    if names is None:
        sample = [procedural(k * PROCEDURAL_TRAINING // SAMPLE) for k in range(SAMPLE)]
        rows += _procedural_rows(task, sample, trials)
    task.world.close()
    heading = [["object", "use", "category", "right parameters", "those of others"]]
    print(table(heading + [[r.name, r.use, r.category, str(r.right), str(r.wrong)] for r in rows]))
    failed = [row for row in rows if row.right.rate < GOAL]
    if json_file:
        cells = {row.name: row.as_dict() for row in rows}
        write_json(json_file, {"schema": 1, "goal": GOAL, "passed": not failed, "objects": cells})
    if failed:
        print(f"below {GOAL:.0%} with the right parameters: {', '.join(row.name for row in failed)}")
    else:
        print(f"every object is lifted in at least {GOAL:.0%} of the trials by whoever knows it")
    return 1 if failed else 0


def _procedural_rows(task: GraspTask, sample: list[ObjectSpec], trials: int) -> list[Row]:
    """One row per category, over the sampled objects; the wrong parameters are those of the next one in the sample."""
    rows = [Row(f"procedural {category}", category, "training") for category in CATEGORIES]
    for number, spec in enumerate(sample):
        row = rows[CATEGORIES.index(spec.category)]
        share = max(1, trials // 4)
        row.right.add(successes(task, spec, spec, share, number), share)
        row.wrong.add(successes(task, spec, sample[(number + 1) % len(sample)], share, number), share)
    return [row for row in rows if row.right.trials]


def successes(task: GraspTask, spec: ObjectSpec, believed: ObjectSpec, trials: int, seed: int) -> int:
    """How many of `trials` scripted grasps of `spec` succeed with the hidden parameters of `believed`."""
    from mql_ros.grasping.task.spaces import is_success
    from mql_sim.expert import expert_action

    task.set_object(spec, seed)
    won = 0
    for _ in range(trials):
        observation, done = task.begin_trial(), False
        while not done:
            observation, _, done = task.decide(expert_action(believed, observation))
        won += is_success(observation)
    return won


def _named_specs() -> list[ObjectSpec]:
    from mql_sim.objects.catalogue import HELD_OUT_NAMED, TRAINING_NAMED

    return [make() for make in (*TRAINING_NAMED.values(), *HELD_OUT_NAMED.values())]


def _use(name: str) -> str:
    from mql_sim.objects.catalogue import HELD_OUT_NAMED, development_names, training_names

    if name in HELD_OUT_NAMED:
        return "held out"
    if name in training_names():
        return "training"
    return "development" if name in development_names() else "other"


def _size(spec: ObjectSpec) -> tuple[float, float]:
    """Full width along y and height above the table, m."""
    extents = [(shape.position, shape.half_extents()) for shape in spec.shapes]
    high, low = max(p[1] + e[1] for p, e in extents), min(p[1] - e[1] for p, e in extents)
    return high - low, max(p[2] + e[2] for p, e in extents)
