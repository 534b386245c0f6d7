"""Intervals for what was measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

RESAMPLES = 10_000
"""Bootstrap resamples: enough for two digits of a 95 % interval."""
FEWEST_CLUSTERS = 5
"""Smallest number of clusters to resample; below it the result is a Wilson interval over all trials, and named so."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """Plain JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class RateInterval:
    """A 95 % interval of a success rate, and how it was made."""

    low: float
    high: float
    kind: str
    """`bootstrap over objects`, `wilson` (over trials), or `wilson over objects`; see `rate_interval`."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success probability (Wilson 1927): low and high."""
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials: expected 0 <= successes <= trials and trials >= 1")
    interval = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap_mean(values: ArrayLike, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Mean of independent values [n] with its percentile bootstrap interval (Efron 1979); the seed decides the draws.

    The unit of resampling is one value: give one per object or per session where trials depend on each other.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) == 0 or not np.isfinite(sample).all():
        raise ValueError(f"values of shape {sample.shape}: expected a row of at least one finite number")
    mean = float(sample.mean())
    if sample.min() == sample.max():  # one value, or equal ones: scipy refuses the one, and resampling adds nothing
        return Estimate(mean, mean, mean)
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=resamples, method="percentile", random_state=np.random.default_rng(seed),
        batch=max(1, 1_000_000 // len(sample)),  # so that many values take no more memory than few
    ).confidence_interval  # fmt: skip
    return Estimate(mean, float(found.low), float(found.high))


def paired_difference(first: ArrayLike, second: ArrayLike, seed: int, resamples: int = RESAMPLES) -> Estimate:
    """Mean of first - second [n] with its bootstrap interval, where entry k of both was measured on the same thing."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"values of shapes {a.shape} and {b.shape} are no pairs")
    return bootstrap_mean(a - b, seed, resamples)


def rate_interval(outcomes: ArrayLike, seed: int = 0, resamples: int = RESAMPLES) -> RateInterval:
    """Interval of the mean of outcomes [objects, trials] in {0, 1}, where trials of one object depend on each other.

    With at least `FEWEST_CLUSTERS` objects they are resampled, each with all its trials (cluster bootstrap; Davison and
    Hinkley 1997, section 3.8). Where every trial went the same way a bootstrap has no spread and would claim certainty:
    then a Wilson interval counts each object once. With fewer objects it is Wilson's over all trials.
    """
    won = np.asarray(outcomes, dtype=np.float64)
    if won.ndim != 2 or won.size == 0 or not np.isin(won, (0.0, 1.0)).all():
        raise ValueError(f"outcomes of shape {won.shape}: expected objects x trials of zeros and ones")
    if len(won) < FEWEST_CLUSTERS:
        return RateInterval(*wilson_interval(int(won.sum()), won.size), "wilson")
    if won.min() == won.max():
        return RateInterval(*wilson_interval(int(won[:, 0].sum()), len(won)), "wilson over objects")
    estimate = bootstrap_mean(won.mean(axis=1), seed, resamples)
    return RateInterval(estimate.low, estimate.high, "bootstrap over objects")
