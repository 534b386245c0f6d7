"""Propensity of old data for a new task: logistic regression, importance ratios, effective sample size.

Meta-Q-Learning, equations 8 to 12 and 19; the effective sample size as in P3O (Fakoor et al., UAI 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PropensityConfig:
    """Settings of the classifier between new and old data."""

    l2: float = 0.02
    """L2 penalty on the weights of the standardised features, relative to the mean balanced log loss."""
    logit_clip: float = 5.0
    """Largest log importance ratio, either way."""
    max_ratio: float = 10.0
    """Largest importance ratio."""
    folds: int = 5
    """Number of folds of the cross-validation; a group (trial) is in one fold."""
    overlap_threshold: float = 0.98
    """Held-out balanced accuracy above which new and old data do not overlap, so recycling is skipped."""

    def __post_init__(self) -> None:
        if self.l2 <= 0.0 or self.logit_clip <= 0.0 or self.max_ratio <= 0.0 or self.folds < 2:
            raise ValueError("l2, logit_clip and max_ratio must be positive, and folds at least 2.")


@dataclass(frozen=True)
class LogisticModel:
    """Linear log odds (x - mean) / scale . weight + bias of log P(new | x) - log P(meta | x), for equal class sizes."""

    mean: FloatArray
    scale: FloatArray
    weight: FloatArray
    bias: float

    def logit(self, features: ArrayLike) -> FloatArray:
        """Return the log importance ratios [n] of features [n, F], before clipping."""
        standardised = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        return standardised @ self.weight + self.bias


@dataclass(frozen=True)
class PropensityResult:
    """Result of the classifier for m meta-training and n new transitions."""

    importance_ratio: FloatArray
    """[m] clipped beta(x) = P(new | x) / P(meta | x) of each meta-training transition, free of class sizes."""
    effective_sample_size: float
    """Effective sample size of these ratios, normalised to (0, 1]; 0 if all are zero."""
    classifier_accuracy: float
    """Held-out balanced accuracy by cross-validation over groups; NaN if a class has fewer than two groups."""
    training_accuracy: float
    """Balanced accuracy on the fitted data, for information only."""
    overlap: bool
    """Whether the classes overlap; otherwise the ratios are meaningless."""
    reason: str
    """One sentence if they do not overlap, or if that is unknown; else empty."""
    mean_importance_ratio: dict[str, float]
    """Mean ratio by task name."""
    model: LogisticModel


def fit_logistic(new: FloatArray, meta: FloatArray, l2: float) -> LogisticModel:
    """Fit L2-regularised logistic regression of new [n, F] against meta [m, F], with half of the weight on each class.

    Equal class weights make the odds the density ratio itself: no log(n / m) is left in the bias.
    """
    mean, scale = _moments(new, meta)
    features = np.concatenate([new, meta])
    features = (features - mean) / scale
    sign = np.concatenate([np.ones(len(new)), -np.ones(len(meta))])
    share = np.concatenate([np.full(len(new), 0.5 / len(new)), np.full(len(meta), 0.5 / len(meta))])

    def objective(parameters: FloatArray) -> tuple[float, FloatArray]:
        weight, bias = parameters[:-1], parameters[-1]
        margin = sign * (features @ weight + bias)
        loss = -share @ log_expit(margin) + 0.5 * l2 * weight @ weight
        slope = -share * sign * expit(-margin)
        return loss, np.append(features.T @ slope + l2 * weight, slope.sum())

    found = minimize(
        objective, np.zeros(features.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-7}
    )
    return LogisticModel(mean, scale, found.x[:-1], float(found.x[-1]))


def importance_ratio(model: LogisticModel, features: ArrayLike, config: PropensityConfig) -> FloatArray:
    """Return the clipped importance ratios [n] of features [n, F]."""
    logit = np.clip(model.logit(features), -config.logit_clip, config.logit_clip)
    return np.minimum(np.exp(logit), config.max_ratio)


def effective_sample_size(ratios: ArrayLike) -> float:
    """Return (sum beta)^2 / (m sum beta^2): 1 for equal ratios, 1 / m for a single one, 0 if all are zero."""
    beta = np.asarray(ratios, dtype=np.float64)
    largest = beta.max(initial=0.0)
    if largest <= 0.0:
        return 0.0
    beta = beta / largest
    return float(min(1.0, beta.sum() ** 2 / (len(beta) * np.square(beta).sum())))


def proximal_coefficient(ratios: ArrayLike) -> float:
    """Return lambda = 1 - effective sample size: the less old data resemble the new task, the stronger the anchor."""
    return 1.0 - effective_sample_size(ratios)


def held_out_accuracy(
    new: FloatArray, meta: FloatArray, new_groups: NDArray, meta_groups: NDArray, config: PropensityConfig
) -> float:
    """Return the balanced accuracy on held-out groups; NaN if a class has fewer than two groups."""
    new_fold, meta_fold = _folds(new_groups, config.folds), _folds(meta_groups, config.folds)
    folds = min(new_fold.max() + 1, meta_fold.max() + 1)
    if folds < 2:
        return float("nan")
    new_fold, meta_fold = new_fold % folds, meta_fold % folds
    new_right = np.zeros(len(new), dtype=np.bool_)
    meta_right = np.zeros(len(meta), dtype=np.bool_)
    for fold in range(folds):
        model = fit_logistic(new[new_fold != fold], meta[meta_fold != fold], config.l2)
        new_right[new_fold == fold] = model.logit(new[new_fold == fold]) > 0.0
        meta_right[meta_fold == fold] = model.logit(meta[meta_fold == fold]) <= 0.0
    return float(0.5 * (new_right.mean() + meta_right.mean()))


def fit_propensity(
    new: ArrayLike,
    meta: ArrayLike,
    new_groups: ArrayLike,
    meta_groups: ArrayLike,
    meta_tasks: Sequence[str],
    config: PropensityConfig | None = None,
) -> PropensityResult:
    """Return the importance ratios of meta-training features [m, F] for the task of the new features [n, F].

    Groups [n] and [m] identify the trial of each transition, `meta_tasks` [m] its task. Raises ValueError if either
    side is empty or holds numbers that are not finite.
    """
    config = config or PropensityConfig()
    new, meta = np.asarray(new, dtype=np.float64), np.asarray(meta, dtype=np.float64)
    for name, features in (("new", new), ("meta-training", meta)):
        if features.ndim != 2 or len(features) == 0:
            raise ValueError(f"There are no {name} transitions to compare; collect at least one trial first.")
        if not np.all(np.isfinite(features)):
            raise ValueError(f"The features of the {name} data are not finite; the encoder or its input is broken.")
    model = fit_logistic(new, meta, config.l2)
    ratios = importance_ratio(model, meta, config)
    accuracy = held_out_accuracy(new, meta, np.asarray(new_groups), np.asarray(meta_groups), config)
    training = 0.5 * (np.mean(model.logit(new) > 0.0) + np.mean(model.logit(meta) <= 0.0))
    overlap, reason = True, ""
    if np.isnan(accuracy):
        reason = "Overlap of new and old data is not known: cross-validation needs at least two trials of each."
    elif accuracy > config.overlap_threshold:
        overlap = False
        reason = (
            f"New and old data do not overlap: a classifier separates held-out trials with a balanced accuracy of "
            f"{accuracy:.3f}, above {config.overlap_threshold}; recycling was skipped."
        )
    names, place = np.unique(np.asarray(meta_tasks), return_inverse=True)
    means = np.bincount(place, weights=ratios) / np.bincount(place)
    return PropensityResult(
        importance_ratio=ratios,
        effective_sample_size=effective_sample_size(ratios),
        classifier_accuracy=accuracy,
        training_accuracy=float(training),
        overlap=overlap,
        reason=reason,
        mean_importance_ratio={str(name): float(mean) for name, mean in zip(names, means, strict=True)},
        model=model,
    )


def principal_components(new: ArrayLike, meta: ArrayLike, count: int) -> tuple[FloatArray, FloatArray]:
    """Project new [n, F] and old features [m, F] onto the first `count` principal components of the old ones.

    In fewer dimensions chance separates a few new trials less easily, so similar classes overlap.
    """
    old = np.asarray(meta, dtype=np.float64)
    mean, scale = old.mean(axis=0), old.std(axis=0) + 1e-6
    old = (old - mean) / scale
    _, vectors = np.linalg.eigh(old.T @ old)
    axes = vectors[:, ::-1][:, :count]
    return (np.asarray(new, dtype=np.float64) - mean) / scale @ axes, old @ axes


def _moments(new: FloatArray, meta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of the equal mixture of both classes; constant features get scale 1."""
    mean = 0.5 * (new.mean(axis=0) + meta.mean(axis=0))
    second = 0.5 * (np.square(new - mean).mean(axis=0) + np.square(meta - mean).mean(axis=0))
    scale = np.sqrt(second)
    return mean, np.where(scale > 1e-6, scale, 1.0)


def _folds(groups: NDArray, folds: int) -> NDArray[np.int64]:
    """Return the fold of each row; groups are dealt out in order of their identifiers, without chance."""
    _, place = np.unique(groups, return_inverse=True)
    return place % folds
