"""Adaptation to a new task: new data first, then old data recycled by propensity (Meta-Q-Learning, section 3.3)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.adaptation.config import AdaptationConfig, ablations
from mql_ros.algorithm.adaptation.frozen_context import FrozenContexts
from mql_ros.algorithm.adaptation.propensity import (
    PropensityConfig,
    PropensityResult,
    fit_propensity,
    principal_components,
)
from mql_ros.algorithm.experience.replay import Batch, Replay, concatenate
from mql_ros.algorithm.experience.session import resampled
from mql_ros.algorithm.networks import ContextEncoder
from mql_ros.algorithm.td3 import TD3Config, TD3Learner

__all__ = ["AdaptationConfig", "AdaptationResult", "Symmetry", "ablations", "adapt", "transition_features"]


class Symmetry(Protocol):
    """Knows the task's symmetries: what old sessions would have been, had they been with the new task."""

    def __call__(self, old: Replay, new: Replay, count: int, rng: np.random.Generator) -> Replay | None:
        """`count` old sessions moved to the new task, with labels; None where they cannot be."""


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
    symmetry_sessions: int = 0
    """Old sessions, moved to the new task, that stood in for the old data as they are."""


def transition_features(
    encoder: ContextEncoder, replay: Replay, indices: NDArray, with_observation: bool = False, chunk: int = 4096
) -> NDArray[np.float32]:
    """[n, C] context that contains each transition itself, or [n, O + C] with its observation; without gradient."""
    device = next(encoder.parameters()).device
    parts = []
    with torch.no_grad():
        for begin in range(0, len(indices), chunk):
            batch = replay.gather(indices[begin : begin + chunk]).to(device)
            features = encoder(batch.items[: batch.gradient_rows])[batch.row, batch.position + 1]
            if with_observation:
                features = torch.cat([batch.observation, features], dim=-1)
            parts.append(features.cpu().numpy())
    return np.concatenate(parts)


def adapt(
    learner: TD3Learner,
    meta_replay: Replay,
    new_replay: Replay,
    config: AdaptationConfig | None = None,
    symmetry: Symmetry | None = None,
) -> AdaptationResult:
    """Adapt the learner, in place, to the task of `new_replay`. Should anything fail, the learner is as before.

    Raises ValueError when there are no new transitions, when old data are needed and there are none, when they are to
    be shifted and there is no `symmetry`, or when the updates end in numbers that are not finite.
    """
    config = config or AdaptationConfig()
    if len(new_replay) == 0:
        raise ValueError("There are no new transitions to adapt to; run at least one trial with the new object first.")
    if len(meta_replay) == 0 and (config.use_recycling or config.use_propensity):
        raise ValueError("The meta-training replay is empty, nothing can be recycled; use a policy bundle with replay.")
    if config.use_recycling and config.symmetry_sessions and symmetry is None:
        raise ValueError("symmetry_sessions is set but no symmetry was given; pass one or set symmetry_sessions to 0.")
    snapshot, settings = learner.state_dict(), learner.config
    try:
        old = meta_replay
        if config.use_recycling and config.symmetry_sessions and symmetry is not None:
            moved = symmetry(
                meta_replay, new_replay, config.symmetry_sessions, np.random.default_rng([config.seed, 53])
            )
            old = meta_replay if moved is None else moved
        result = _Adaptation(learner, old, new_replay, config).run()
        result.symmetry_sessions = 0 if old is meta_replay else sum(1 for _ in old.sessions())
        return result
    except BaseException:
        learner.load_state_dict(snapshot)
        raise
    finally:
        learner.config = settings


class _Adaptation:
    """One run of `adapt`; nothing of it outlives the call."""

    def __init__(self, learner: TD3Learner, meta: Replay, new: Replay, config: AdaptationConfig) -> None:
        self.started = time.perf_counter()
        self.learner, self.meta, self.new, self.config = learner, meta, new, config
        self.rng = np.random.default_rng(config.seed)
        self.new_indices = new.transition_indices()
        self.trained_on = self._with_resampled_histories() if config.resampled_histories else new
        self.reasons: list[str] = []
        self.metrics: list[dict[str, torch.Tensor]] = []

    def run(self) -> AdaptationResult:
        config, learner = self.config, self.learner
        propensity, weights, ratios = self._recycling_weights()
        new_updates = config.new_updates
        if config.clone_weight > 0.0 and not torch.any(self.new.gather(self.new_indices).teacher_mask):
            self.reasons.append("The new data hold no labels, for no trial succeeded; the policy stays as it is.")
            new_updates, weights = 0, None
        ess = propensity.effective_sample_size if propensity else float("nan")
        coefficient = self._proximal_coefficient(ess)
        proximal = learner.proximal_term(coefficient)
        learner.config = self._settings()
        rates = [(learner.actor_optimizer, config.actor_learning_rate)]
        rates += [(learner.critic_optimizer, config.critic_learning_rate)]
        kept = [[group["lr"] for group in optimizer.param_groups] for optimizer, _ in rates]
        for optimizer, rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] if rate is None else rate
        anchor = proximal if coefficient > 0.0 else None
        self._freeze_contexts(weights is not None)
        for _ in range(new_updates):
            self._update([self._new_batch(config.batch_blocks)], anchor)
        recycling_updates = 0
        if weights is not None:
            recycling_updates = config.recycling_updates
            for _ in range(recycling_updates):
                self._update(self._recycling_batch(weights, ratios), anchor)
        for (optimizer, _), old in zip(rates, kept, strict=True):
            for group, rate in zip(optimizer.param_groups, old, strict=True):
                group["lr"] = rate
        distance = self._distance(proximal.reference)
        return AdaptationResult(
            effective_sample_size=ess,
            proximal_coefficient=coefficient,
            classifier_accuracy=propensity.classifier_accuracy if propensity else float("nan"),
            overlap=propensity.overlap if propensity else True,
            mean_importance_ratio=propensity.mean_importance_ratio if propensity else {},
            new_transitions=len(self.new_indices),
            new_updates=new_updates,
            recycling_updates=recycling_updates,
            reasons=self.reasons,
            losses=_rows(self.metrics),
            parameter_distance=distance,
            seconds=time.perf_counter() - self.started,
        )

    def _recycling_weights(self) -> tuple[PropensityResult | None, NDArray | None, torch.Tensor | None]:
        """The classifier's findings, sampling weights over the old replay (None: no recycling), and loss weights."""
        config, meta = self.config, self.meta
        if not config.use_propensity and not config.use_recycling:
            return None, None, None
        self.pool = pool = meta.sample_unique(config.pool_blocks, self.rng)
        ratios, propensity = np.ones(len(pool)), None
        if config.use_propensity:
            # Features of the encoder as meta-trained, once: they must not drift while it adapts.
            encoder, seen = self.learner.encoder, config.observation_features
            features: tuple[NDArray, NDArray] = (
                transition_features(encoder, self.new, self.new_indices, seen),
                transition_features(encoder, meta, pool, seen),
            )
            if config.feature_components:
                features = principal_components(*features, config.feature_components)
            propensity = fit_propensity(
                *features,
                self.new.block_of(self.new_indices),
                meta.block_of(pool),
                meta.task_of(pool),
                PropensityConfig(config.l2, config.logit_clip, config.max_ratio, 5, config.overlap_threshold),
            )
            ratios = propensity.importance_ratio
            if propensity.reason:
                self.reasons.append(propensity.reason)
        if not config.use_recycling or config.recycling_updates == 0:
            return propensity, None, None
        if propensity is not None and not propensity.overlap:
            return propensity, None, None
        if ratios.sum() <= 0.0:
            self.reasons.append("Every importance ratio is zero: no old data resemble the new; recycling was skipped.")
            return propensity, None, None
        weights = np.zeros(meta.index_size)
        if config.recycling == "proportional":
            weights[pool] = ratios
            return propensity, weights, None
        weights[pool] = 1.0
        over_all = np.zeros(meta.index_size, dtype=np.float32)
        over_all[pool] = ratios
        return propensity, weights, torch.from_numpy(over_all)

    def _proximal_coefficient(self, ess: float) -> float:
        if not self.config.use_proximal:
            return 0.0
        if not isinstance(self.config.proximal, str):
            return float(self.config.proximal)
        if np.isnan(ess):
            self.reasons.append("Without propensity there is no effective sample size; the proximal term was left out.")
            return 0.0
        return self.config.proximal_scale * (1.0 - ess)

    def _settings(self) -> TD3Config:
        return replace(
            self.learner.config,
            clone_weight=self.config.clone_weight,
            learn_context=self.config.learn_context,
        )

    def _with_resampled_histories(self) -> Replay:
        sessions = list(self.new.sessions())
        copies, won = self.config.resampled_histories, self.config.success_return
        sessions += [resampled(session, self.rng, won) for session in sessions for _ in range(copies)]
        return Replay.of(sessions, *self.new.sizes)

    def _freeze_contexts(self, recycles: bool) -> None:
        """Where the encoder does not move, encode everything that batches may hold once, of each replay."""
        self.frozen: dict[Replay, FrozenContexts] = {}
        if self.config.learn_context:
            return
        new = self.trained_on
        self.frozen[new] = FrozenContexts(self.learner, new, new.transition_indices())
        if recycles:
            self.frozen[self.meta] = FrozenContexts(self.learner, self.meta, self.pool)

    def _new_batch(self, blocks: int) -> tuple[Replay, Batch]:
        return self.trained_on, self.trained_on.sample(blocks, self.rng)

    def _recycling_batch(self, weights: NDArray, ratios: torch.Tensor | None) -> list[tuple[Replay, Batch]]:
        new_blocks = round(self.config.new_fraction * self.config.batch_blocks)
        old_blocks = self.config.batch_blocks - new_blocks
        parts = []
        if old_blocks > 0:
            old = self.meta.sample_proportional(old_blocks, self.rng, weights)
            if ratios is not None:
                old = replace(old, weight=old.weight * ratios[old.index])
            parts = [(self.meta, old)]
        return parts if new_blocks == 0 else [self._new_batch(new_blocks), *parts]

    def _update(self, parts: list[tuple[Replay, Batch]], proximal: Any) -> None:
        """One update on a batch whose parts come from these replays."""
        actor = False if len(self.metrics) < self.config.critic_first_updates else None
        batch, contexts = parts[0][1], None
        for _, more in parts[1:]:
            batch = concatenate(batch, more)
        if self.frozen:
            known = torch.cat([self.frozen[replay].of(part) for replay, part in parts], dim=1)
            contexts = known[0], known[1]
        self.metrics.append(self.learner.update(batch, update_actor=actor, proximal=proximal, contexts=contexts))

    def _distance(self, reference: Any) -> float:
        square = sum(
            float((now.detach() - before).double().square().sum())
            for name, group in self.learner.parameters().items()
            for now, before in zip(group, reference[name], strict=True)
        )
        if not np.isfinite(square):
            raise ValueError(
                "Adaptation ended in numbers that are not finite and was undone; lower its learning rates."
            )
        return float(np.sqrt(square))


def _rows(metrics: list[dict[str, torch.Tensor]]) -> dict[str, list[float]]:
    names = dict.fromkeys(name for entry in metrics for name in entry)
    return {name: torch.stack([entry[name] for entry in metrics if name in entry]).tolist() for name in names}
