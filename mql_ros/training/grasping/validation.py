"""How a policy does on a set of objects, without exploration: what settings are chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mql_ros.rollouts.rollout import successes
from mql_ros.rollouts.workers import Job, PolicyWeights, Workers

FIRST_SEED = 90_000_000
"""Seed of the first session of a validation."""


@dataclass(frozen=True)
class Score:
    """Success by trial on a set of objects."""

    won: list[int]
    """Sessions whose trial succeeded, by trial."""
    sessions: int

    @property
    def by_trial(self) -> list[float]:
        """Success rate of each trial."""
        return [count / self.sessions for count in self.won]

    def as_dict(self) -> dict[str, Any]:
        """JSON for the manifest, with the Wilson interval of the fifth trial."""
        fifth = self.won[min(4, len(self.won) - 1)]
        low, high = binomtest(fifth, self.sessions).proportion_ci(method="wilson")
        return {
            "success_by_trial": [round(v, 4) for v in self.by_trial],
            "sessions": self.sessions,
            "fifth_trial_interval": [round(float(low), 4), round(float(high), 4)],
        }


def validate(workers: Workers, policy: PolicyWeights, names: Sequence[str], trials: int) -> Score:
    """Run a fresh session of `trials` trials on each object, with the same seeds every time.

    A session that cannot be run, because the object does not come to rest in view, counts as failures.
    """
    jobs = [Job(name, FIRST_SEED + number, trials) for number, name in enumerate(names)]
    lost = np.zeros(trials, dtype=bool)
    won = np.array([lost if session is None else successes(session) for session in workers.run(jobs, policy)])
    return Score([int(v) for v in won.sum(axis=0)], len(won))
