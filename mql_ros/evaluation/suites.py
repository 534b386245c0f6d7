"""Suites of objects that a policy is measured on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mql_ros.core.errors import UserError
from mql_sim.objects.catalogue import (
    FILES,
    development_names,
    find_thing,
    held_out_hard_names,
    held_out_names,
    training_names,
)
from mql_sim.objects.household import HOUSEHOLD

SUITES: dict[str, tuple[str, ...]] = {
    "training": tuple(training_names()),
    "in-distribution": tuple(training_names()[::20]),  # of those trained on, with hidden properties drawn anew
    "development": tuple(development_names()),
    "random-urdfs": tuple(held_out_names()),
    "hard-to-place": tuple(held_out_hard_names()),
    "household": tuple(HOUSEHOLD),
}
"""Names of objects by suite. Nobody trains on `development`, and nobody tunes on the three below it."""


def find_names(words: Sequence[str]) -> list[str]:
    """Return the names of objects that suites, names, files and folders of files stand for, each once.

    Raises UserError for what is none of these, or cannot be read.
    """
    names: list[str] = []
    for word in words:
        if word in SUITES:
            names += SUITES[word]
        elif Path(word).is_dir():
            found = sorted(str(path) for path in Path(word).iterdir() if path.suffix.lower() in FILES)
            if not found:
                raise UserError(f"the folder {word} holds no {', '.join(FILES)} file; give objects by name, or files")
            names += found
        else:
            names.append(word)
    names = list(dict.fromkeys(names))
    for name in set(names).difference(*SUITES.values()):
        find_thing(name)
    return names


def identity(name: str) -> str:
    """What an object is for results that are kept: its name, or for a file what it holds."""
    return find_thing(name).content_hash if name.lower().endswith(FILES) else name


def trained_on(bundle: Path, names: Sequence[str]) -> int:
    """Return how many of these objects the bundle was trained on."""
    known = json.loads((bundle / "manifest.json").read_bytes()).get("training_objects", ())
    return len(set(known).intersection(names))
