"""Adaptation to a new task: new data first, then old data recycled by propensity (Meta-Q-Learning, section 3.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.adaptation.config import AdaptationConfig, ablations
from mql_ros.algorithm.adaptation.frozen_context import FrozenContexts
from mql_ros.algorithm.adaptation.propensity import (
    PropensityConfig,
    PropensityResult,
    effective_sample_size,
    fit_propensity,
    principal_components,
)
from mql_ros.algorithm.experience.batch import Batch, concatenate
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import resampled, stretches
from mql_ros.algorithm.learner import Learner, Metrics, Proximal
from mql_ros.algorithm.networks import Encoder

__all__ = ["AdaptationConfig", "AdaptationResult", "ablations", "adapt", "transition_features"]


@dataclass
class AdaptationResult:
    """What an adaptation found and did, and the state before it."""

    effective_sample_size: float
    """Of the importance ratios of the recycling pool, in (0, 1]; NaN where no classifier was fitted."""
    proximal_coefficient: float
    """Coefficient lambda that was used."""
    classifier_accuracy: float
    """Held-out balanced accuracy of the classifier; NaN where it is not known."""
    overlap: bool
    """Whether new and old data overlap."""
    mean_importance_ratio: dict[str, float]
    """Mean importance ratio of the pool's data by training task."""
    new_transitions: int
    """Transitions of the new task."""
    new_updates: int
    """Updates on new data only that were done."""
    recycling_updates: int
    """Updates with recycled data that were done."""
    reasons: list[str]
    """What was skipped and why, a sentence each."""
    losses: dict[str, list[float]]
    """Metrics of the updates by name, in order."""
    parameter_distance: float
    """Euclidean distance of all trained parameters from where they were."""
    seconds: float
    """Wall-clock time of all of it."""


def transition_features(
    encoder: Encoder, replay: Replay, indices: NDArray, with_observation: bool = False, chunk: int = 4096
) -> NDArray[np.float32]:
    """[n, C] context that contains each transition itself, or [n, O - V + C] with its observation; without gradient.

    An observation comes without its view of V entries.
    """
    device = next(encoder.parameters()).device
    parts = []
    with torch.no_grad():
        for begin in range(0, len(indices), chunk):
            batch = replay.gather(indices[begin : begin + chunk]).to(device)
            features = encoder(batch.items[: batch.gradient_rows])[batch.row, batch.position + 1]
            if with_observation:
                features = torch.cat([batch.observation[:, replay.view_size :], features], dim=-1)
            parts.append(features.cpu().numpy())
    return np.concatenate(parts)


def adapt(
    learner: Learner, meta_replay: Replay, new_replay: Replay, config: AdaptationConfig | None = None
) -> AdaptationResult:
    """Adapt the learner, in place, to the task of `new_replay`. Should anything fail, the learner is as before.

    Raises ValueError when there are no new transitions, when old data are needed and there are none, or when the
    updates end in numbers that are not finite.
    """
    config = config or AdaptationConfig()
    if len(new_replay) == 0:
        raise ValueError("There are no new transitions to adapt to; run at least one trial with the new object first.")
    if len(meta_replay) == 0 and (config.use_recycling or config.use_propensity):
        raise ValueError("The meta-training replay is empty, nothing can be recycled; use a policy bundle with replay.")
    snapshot = learner.state_dict()
    try:
        return _Adaptation(learner, meta_replay, new_replay, config).run()
    except BaseException:
        learner.load_state_dict(snapshot)
        raise


class _Adaptation:
    """One run of `adapt`; nothing of it outlives the call."""

    def __init__(self, learner: Learner, meta: Replay, new: Replay, config: AdaptationConfig) -> None:
        self.started = time.perf_counter()
        self.learner, self.meta, self.new, self.config = learner, meta, new, config
        self.rng = np.random.default_rng(config.seed)
        self.new_indices = new.transition_indices()
        self.trained_on = self._training_data()
        self.reasons: list[str] = []
        self.metrics: list[Metrics] = []

    def run(self) -> AdaptationResult:
        config, learner = self.config, self.learner
        self.pool = np.zeros(0, dtype=np.int64)
        if config.use_propensity or config.use_recycling:
            whole = config.sampling == "sessions"
            self.pool = self.meta.sample_unique(config.pool_size, self.rng, sessions=whole)
        propensity = self._propensity() if config.use_propensity else None
        ratios = self._ratios(propensity)
        ess = effective_sample_size(ratios) if propensity else float("nan")
        recycling_updates = config.recycling_updates if self._recycles(propensity, ratios) else 0
        # lambda = 1 - ESS: the less the old data resemble the new task, the nearer to stay to theta_meta.
        coefficient = self._proximal_coefficient(ess)
        reference = learner.proximal_term(coefficient)
        anchor = reference if coefficient > 0.0 else None
        weights = self._over_all(np.ones(len(self.pool)) if config.recycling == "weighted" else ratios)
        factors = torch.from_numpy(self._over_all(ratios)).float() if config.recycling == "weighted" else None
        with learner.adapting(config.step_size, config.learn_context):
            self._freeze_contexts(recycling_updates > 0)
            # Step one: min_theta E_new[loss(theta)] + lambda / 2 |theta - theta_meta|^2 (equation 18).
            for _ in range(config.new_updates):
                self._update([self._new_batch(config.batch_size)], anchor)
            # Step two: min_theta E_old[beta loss(theta)] + lambda / 2 |theta - theta_meta|^2 (equation 19).
            for _ in range(recycling_updates):
                self._update(self._recycling_batch(weights, factors), anchor)
        return AdaptationResult(
            effective_sample_size=ess,
            proximal_coefficient=coefficient,
            classifier_accuracy=propensity.classifier_accuracy if propensity else float("nan"),
            overlap=propensity.overlap if propensity else True,
            mean_importance_ratio=propensity.mean_importance_ratio if propensity else {},
            new_transitions=len(self.new_indices),
            new_updates=config.new_updates,
            recycling_updates=recycling_updates,
            reasons=self.reasons,
            losses=_rows(self.metrics),
            parameter_distance=self._distance(reference),
            seconds=time.perf_counter() - self.started,
        )

    def _propensity(self) -> PropensityResult:
        """What the classifier finds in features of the encoder as meta-trained; they must not drift while it adapts."""
        config, encoder, seen = self.config, self.learner.encoder, self.config.observation_features
        features: tuple[NDArray, NDArray] = (
            transition_features(encoder, self.new, self.new_indices, seen),
            transition_features(encoder, self.meta, self.pool, seen),
        )
        if config.feature_components:
            features = principal_components(*features, config.feature_components)
        return fit_propensity(
            *features,
            self.new.block_of(self.new_indices),
            self.meta.block_of(self.pool),
            self.meta.task_of(self.pool),
            PropensityConfig(config.l2, config.logit_clip, config.max_ratio, 5, config.overlap_threshold),
        )

    def _ratios(self, propensity: PropensityResult | None) -> NDArray[np.float64]:
        """Importance ratio beta of each transition of the pool; the mean of its session where sessions are drawn."""
        if propensity is None:
            return np.ones(len(self.pool))
        ratios = propensity.importance_ratio
        if self.config.sampling == "sessions":
            _, session = np.unique(self.meta.session_of(self.pool), return_inverse=True)
            ratios = (np.bincount(session, weights=ratios) / np.bincount(session))[session]
        return ratios

    def _recycles(self, propensity: PropensityResult | None, ratios: NDArray) -> bool:
        """Whether step two has data; `reasons` tells why not."""
        if propensity is not None and propensity.reason:
            self.reasons.append(propensity.reason)
        if not self.config.use_recycling or (propensity is not None and not propensity.overlap):
            return False
        if ratios.sum() <= 0.0:
            self.reasons.append("Every importance ratio is zero: no old data resemble the new; recycling was skipped.")
            return False
        return True

    def _proximal_coefficient(self, ess: float) -> float:
        if not self.config.use_proximal:
            return 0.0
        if not isinstance(self.config.proximal, str):
            return float(self.config.proximal)
        if np.isnan(ess):
            self.reasons.append("Without propensity there is no effective sample size; the proximal term was left out.")
            return 0.0
        return self.config.proximal_scale * (1.0 - ess)

    def _training_data(self) -> Replay:
        """The new sessions and their resampled copies; in parts that a history holds where whole ones are drawn."""
        sessions, copies = list(self.new.sessions()), self.config.resampled_histories
        sessions += [resampled(session, self.rng) for session in sessions for _ in range(copies)]
        if self.config.sampling == "sessions":
            sessions = [part for session in sessions for part in stretches(session, self.new.history_blocks + 1)]
        return Replay.of(sessions, *self.new.sizes, view_size=self.new.view_size)

    def _freeze_contexts(self, recycles: bool) -> None:
        """Where the encoder does not move, encode everything that batches may hold once, of each replay."""
        self.frozen: dict[Replay, FrozenContexts] = {}
        if self.config.learn_context:
            return
        new = self.trained_on
        self.frozen[new] = FrozenContexts(self.learner, new, new.transition_indices())
        if recycles:
            self.frozen[self.meta] = FrozenContexts(self.learner, self.meta, self.pool)

    def _over_all(self, values: NDArray) -> NDArray[np.float64]:
        """Values of the pool's transitions as an array over all old ones [index_size], zero elsewhere."""
        over_all = np.zeros(self.meta.index_size)
        over_all[self.pool] = values
        return over_all

    def _new_batch(self, size: int) -> tuple[Replay, Batch]:
        new = self.trained_on
        sample = new.sample_sessions if self.config.sampling == "sessions" else new.sample
        return new, sample(size, self.rng)

    def _recycling_batch(self, weights: NDArray, factors: torch.Tensor | None) -> list[tuple[Replay, Batch]]:
        """New data and old ones, drawn by weights [index_size], in a step-two batch; factors scale the old losses."""
        new_size = round(self.config.new_fraction * self.config.batch_size)
        parts = [self._new_batch(new_size)] if new_size else []
        if old_size := self.config.batch_size - new_size:
            if self.config.sampling == "sessions":
                old = self.meta.sample_sessions(old_size, self.rng, weights=weights)
            else:
                old = self.meta.sample_proportional(old_size, self.rng, weights)
            if factors is not None:
                old = replace(old, weight=old.weight * factors[old.index])
            parts.append((self.meta, old))
        return parts

    def _update(self, parts: list[tuple[Replay, Batch]], proximal: Proximal | None) -> None:
        """One update on a batch whose parts come from these replays."""
        batch, contexts = parts[0][1], None
        for _, more in parts[1:]:
            batch = concatenate(batch, more)
        if self.frozen:
            known = torch.cat([self.frozen[replay].of(part) for replay, part in parts], dim=1)
            contexts = known[0], known[1]
        self.metrics.append(self.learner.update(batch, proximal=proximal, contexts=contexts))

    def _distance(self, reference: Proximal) -> float:
        square = sum(
            float((now.detach() - before).double().square().sum())
            for name, group in self.learner.parameters().items()
            for now, before in zip(group, reference.reference[name], strict=True)
        )
        if not np.isfinite(square):
            raise ValueError("Adaptation ended in numbers that are not finite and was undone; lower its step size.")
        return float(np.sqrt(square))


def _rows(metrics: list[Metrics]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for entry in metrics for name in entry)
    return {name: torch.stack([entry[name] for entry in metrics if name in entry]).tolist() for name in names}
