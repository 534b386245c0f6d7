"""Suites of objects, or of kinds of objects, that a policy is measured on; what is tried and tested of each."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mql_ros.core.errors import UserError
from mql_sim.objects.catalogue import (
    HELD_OUT_NAMED,
    development_names,
    find_object,
    kind_member,
    training_names,
)  # fmt: skip
from mql_sim.objects.spec import ObjectSpec

KIND_TRIED, KIND_TESTED = 4, 3
"""Members of a kind that are tried before an adaptation, and others that the adapted policy is tested on."""
FIRST_TESTED = 100
"""Number of the first tested member of a kind: far from those tried, so that more can be tried."""
_KIND = re.compile(r"kind-(\d+)")


def _numbered(family: str, first: int, count: int) -> tuple[str, ...]:
    return tuple(f"{family}-{number:04d}" for number in range(first, first + count))


# The three held-out suites, of 40 each, were written down before anything was tuned: nobody trains or tunes on them.
SUITES: dict[str, tuple[str, ...]] = {
    "training": tuple(training_names()),
    "development": tuple(development_names()),
    "beyond": _numbered("beyond", 0, 30),  # past the training range; adaptation is developed on these
    "held-out": tuple(HELD_OUT_NAMED),
    "in-distribution": (*_numbered("procedural", 20_000, 39), "bottle"),
    "out-of-distribution": _numbered("beyond", 1_000, 40),
    "kinds": _numbered("kind", 0, 60),  # adaptation is developed on these
    "out-of-distribution-kinds": _numbered("kind", 1_000, 40),
}
"""Names of objects, or of kinds of objects, by suite; only `training` is trained on."""


@dataclass(frozen=True)
class NewTask:
    """Which objects are tried before an adaptation, and which the adapted policy is tested on."""

    tried: tuple[ObjectSpec, ...]
    tested: tuple[ObjectSpec, ...]

    @property
    def one_object(self) -> bool:
        """Whether one object is both; else those tested have not been tried."""
        return self.tried == self.tested

    @property
    def members(self) -> tuple[ObjectSpec, ...]:
        """All objects, each once."""
        return self.tried if self.one_object else (*self.tried, *self.tested)


def task_name(name: str) -> str:
    """The one name by which a task goes: kind-7 is kind-0007, mug+beyond-7 mug+beyond-0007; files go by their path."""
    if kind := _KIND.fullmatch(name):
        return f"kind-{int(kind[1]):04d}"
    parts = _parts(name)
    return "+".join(part if part.endswith(".urdf") else find_object(part).name for part in parts)


def _parts(name: str) -> list[str]:
    return [name] if Path(name).is_file() else name.split("+")


def find_task(name: str) -> NewTask:
    """The task of a name: a kind (`kind-NNNN`), objects of one kind (`A+B+C`: the last is tested), or one object.

    Raises UserError for what is none of these.
    """
    if kind := _KIND.fullmatch(name):
        number = int(kind[1])
        tested = range(FIRST_TESTED, FIRST_TESTED + KIND_TESTED)
        tried = range(KIND_TRIED)
        return NewTask(tuple(kind_member(number, m) for m in tried), tuple(kind_member(number, m) for m in tested))
    parts = _parts(name)
    if "" in parts or len(set(parts)) < len(parts):
        raise UserError(f"'{name}': expected different objects joined by +, the last of which is tested")
    specs = tuple(find_object(part) for part in parts)
    return NewTask(specs[:-1] or specs, specs[-1:])


def find_names(words: Sequence[str]) -> list[str]:
    """Return the task names that suites, folders of URDFs and names stand for, each once; UserError for none."""
    names: list[str] = []
    for word in words:
        if word in SUITES:
            names += SUITES[word]
        elif Path(word).is_dir():
            found = sorted(str(path) for path in Path(word).glob("*.urdf"))
            if not found:
                raise UserError(f"the folder {word} holds no .urdf file; give objects by name, or a folder of URDFs")
            names += found
        else:
            names.append(word)
    # procedural-7 and procedural-0007 are one object; a file goes by its path.
    return list(dict.fromkeys(task_name(name) for name in names))


def check_alike(names: Sequence[str], adaptations: int) -> None:
    """Raise UserError if one table of these tasks would compare what cannot be compared."""
    tasks = [find_task(name) for name in names]
    if len({len(task.tested) for task in tasks}) > 1:
        raise UserError("these names are tested on different numbers of objects; measure kinds and objects apart")
    if adaptations > 1 and not all(task.one_object for task in tasks):
        raise UserError("a kind is adapted to once, after all of its objects have been tried; leave --adaptations out")


def trained_on(bundle: Path, names: Sequence[str]) -> int:
    """Return how many of these tasks hold an object that the bundle was trained on."""
    known = set(json.loads((bundle / "manifest.json").read_bytes()).get("training_objects", ()))
    # A file may call its object whatever it likes.
    tasks = [find_task(name) for name in names if ".urdf" not in name]
    return sum(not known.isdisjoint(spec.name for spec in task.members) for task in tasks)
