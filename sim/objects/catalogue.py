"""Objects by name: PyBullet's random ones, ones that are hard to place on, household ones, and files of one's own."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from functools import lru_cache

import numpy as np

from mql_ros.core.errors import UserError
from mql_sim.objects.hard import hard_thing
from mql_sim.objects.hidden import with_hidden
from mql_sim.objects.household import HOUSEHOLD
from mql_sim.objects.load import RANDOM_DAMAGED, RANDOM_URDFS, make_thing, random_urdf
from mql_sim.objects.thing import Thing

TRAINING_FIRST, DEVELOPMENT_FIRST, HELD_OUT_FIRST = 0, 800, 900
"""Random objects from these numbers on are trained on, developed on, and held out (as PyBullet's environment does)."""
HARD_TRAINING, HARD_DEVELOPMENT, HARD_HELD_OUT = (0, 400), (400, 460), (1000, 1100)
"""First number and end of the objects that are hard to place on."""
FILES = (".urdf", ".obj", ".stl", ".dae")
_RANDOM, _HARD = re.compile(r"random-(\d{3})"), re.compile(r"hard-(\d{4})")


def random_names(first: int, last: int) -> list[str]:
    """Return the names of the random objects numbered from `first` to before `last`, without the damaged ones."""
    return [f"random-{number:03d}" for number in range(first, last) if number not in RANDOM_DAMAGED]


def hard_names(first: int, last: int) -> list[str]:
    """Return the names of the objects hard to place on, numbered from `first` to before `last`."""
    return [f"hard-{number:04d}" for number in range(first, last)]


def training_names() -> list[str]:
    """Return the names of the objects that policies are trained on, a third of them hard to place on."""
    return random_names(TRAINING_FIRST, DEVELOPMENT_FIRST) + hard_names(*HARD_TRAINING)


def development_names() -> list[str]:
    """Return the names of objects for choosing between policies and settings: looked at, never trained on.

    Any first part of them holds both kinds, as the objects of training do.
    """
    usual, hard = random_names(DEVELOPMENT_FIRST, HELD_OUT_FIRST), hard_names(*HARD_DEVELOPMENT)
    return [name for k, last in enumerate(hard) for name in (*usual[2 * k : 2 * k + 2], last)]


def held_out_names() -> list[str]:
    """Return the names of the random objects that nobody trains or tunes on."""
    return random_names(HELD_OUT_FIRST, RANDOM_URDFS)


def held_out_hard_names() -> list[str]:
    """Return the names of the objects hard to place on that nobody trains or tunes on."""
    return hard_names(*HARD_HELD_OUT)


_random_urdf, _hard_thing = lru_cache(maxsize=1024)(random_urdf), lru_cache(maxsize=1024)(hard_thing)


def find_thing(name: str) -> Thing:
    """Return the object of a name or file. Raises UserError naming the nearest known name."""
    if found := _RANDOM.fullmatch(name):
        return _random_urdf(int(found[1]))
    if found := _HARD.fullmatch(name):
        return _hard_thing(int(found[1]))
    if name in HOUSEHOLD:
        return replace(HOUSEHOLD[name](), upright=True)
    if name.lower().endswith(FILES):
        return make_thing(name)
    near = difflib.get_close_matches(name, [*HOUSEHOLD, "random-000", "hard-0000"], n=1)
    raise UserError(
        f"there is no object '{name}'{f'; did you mean {near[0]}?' if near else ''}; expected one of "
        f"{', '.join(HOUSEHOLD)}, random-000 to random-{RANDOM_URDFS - 1}, hard-0000 to hard-9999, "
        f"or a file ({', '.join(FILES)})"
    )


def thing_of_session(name: str, seed: int) -> Thing:
    """Return the object of a name for a session: random and hard ones have hidden properties drawn by the seed."""
    thing = find_thing(name)
    drawn = _RANDOM.fullmatch(name) or _HARD.fullmatch(name)
    return with_hidden(thing, np.random.default_rng([seed, 3])) if drawn else thing
