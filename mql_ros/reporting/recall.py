"""What propensity draws on: the old objects whose data resemble the new trials, and what was felt in their lifts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mql_ros.algorithm.experience.session import Session
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array
from mql_ros.reporting.thumbnails import thumbnail
from mql_ros.rollouts.rollout import successes
from mql_sim.objects.catalogue import find_thing

MOST, LEAST = 8, 4
"""Old objects that are shown, of those drawn on most and of those drawn on least."""


@dataclass(frozen=True)
class Felt:
    """Means over lifts that succeeded; None without any."""

    of: str
    """Whose lifts."""
    weight: float | None
    """Largest pull on the hand while lifting, N."""
    force: float | None
    """Force of each finger, N."""


@dataclass(frozen=True)
class OldObject:
    """A training object in the adaptation's pool."""

    name: str
    ratio: float
    """Mean importance ratio of its data."""
    picture: bytes
    """PNG."""


@dataclass(frozen=True)
class Recall:
    """What an adaptation draws on."""

    most: list[OldObject]
    """The objects with the greatest ratios, the greatest first ..."""
    least: list[OldObject]
    """... and those with the smallest, the smallest last."""
    objects: int
    """Old objects in the pool."""
    felt: list[Felt]
    """Of the new object, of all old ones in the pool, and of these weighted by their ratios."""


def recall_of(name: str, new: Session, old: Iterable[Session], ratios: Mapping[str, float]) -> Recall:
    """What an adaptation draws on among old sessions, ratios by old object; `new` are trials with the new object."""
    order = sorted(ratios, key=lambda other: -ratios[other])
    rows: list[Array] = []
    weights: list[float] = []
    for session in old:
        if session.task in ratios:
            found = lifts(session)
            rows += list(found)
            weights += [ratios[session.task]] * len(found)
    felt = [
        _mean(name, lifts(new)),
        _mean("old data, evenly", rows),
        _mean("old data, as propensity weighs them", rows, weights),
    ]
    most, least = order[:MOST], order[max(MOST, len(order) - LEAST) :]
    return Recall(_pictured(most, ratios), _pictured(least, ratios), len(ratios), felt)


def _pictured(names: Sequence[str], ratios: Mapping[str, float]) -> list[OldObject]:
    return [OldObject(name, ratios[name], thumbnail(find_thing(name))) for name in names]


def lifts(session: Session) -> Array:
    """Weight and force [k, 2] (N) in the trials of a session that succeeded."""
    weight = session.next_observation[:, spaces.VIEW_SIZE + spaces.SIGNAL["weight"]] * spaces.WEIGHT_SCALE
    won = np.flatnonzero(session.done)[successes(session)]
    return np.array([[float(weight[row]), spaces.force_from_action(session.action[row])] for row in won]).reshape(-1, 2)


def _mean(of: str, rows: Sequence[Array] | Array, weights: Sequence[float] | None = None) -> Felt:
    if len(rows) == 0 or (weights is not None and sum(weights) <= 0.0):
        return Felt(of, None, None)
    weight, force = np.average(rows, axis=0, weights=weights)
    return Felt(of, float(weight), float(force))
