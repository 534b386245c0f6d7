"""Success of a policy on a set of objects, without exploration noise; it selects checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from mql_ros.rollouts.rollout import successes
from mql_ros.rollouts.workers import Job, PolicyWeights, Workers


@dataclass(frozen=True)
class Score:
    """Success by trial on a set of objects."""

    by_trial: list[float]
    third_trial: tuple[int, int]
    """Successes and number of sessions in the third trial."""

    @property
    def value(self) -> float:
        """Mean success from the second trial on, by which checkpoints are compared."""
        return float(np.mean(self.by_trial[1:]))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON for manifest and log, with the Wilson interval of the third trial."""
        won, count = self.third_trial
        low, high = binomtest(won, count).proportion_ci(method="wilson")
        return {
            "success_by_trial": [round(v, 4) for v in self.by_trial],
            "third_trial": {"successes": won, "trials": count, "rate": won / count, "interval": [low, high]},
        }


def evaluate_policy(
    workers: Workers, policy: PolicyWeights, names: Sequence[str], trials: int, seed: int, sessions: int = 1
) -> Score:
    """Run `sessions` fresh sessions of `trials` trials on each object, without exploration noise."""
    jobs = [Job(name, seed * 1_000_000 + 1000 * k + n, trials) for k in range(sessions) for n, name in enumerate(names)]
    won = np.array([successes(session) for session in workers.act(policy, jobs)])
    third = won[:, min(2, trials - 1)]
    return Score(by_trial=[float(v) for v in won.mean(axis=0)], third_trial=(int(third.sum()), len(third)))
