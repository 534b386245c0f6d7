"""Whether an adapted policy is better than the one before it, told from trials that the adaptation did not see.

Beyond the paper. To first order, the gain in expected return of moving a Gaussian policy from old to new actions is the
mean of (return - baseline) times the log ratio of the two densities at what was done: a policy gains by coming nearer
to the actions of trials that went well, and by leaving those that went ill. The trials kept aside give that mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import taken
from mql_ros.algorithm.td3 import TD3Learner

LOG_RATIO_CLIP = 2.0
"""Largest log density ratio of a trial, either way: a single trial must not decide alone."""


@dataclass(frozen=True)
class CertificateResult:
    """The comparison of the adapted policy with the one before."""

    trials: int
    """Trials that were kept aside."""
    gain: float
    """Estimated gain in return a trial; positive: the adapted policy is better. 0 where all returns are alike."""
    passed: bool
    """Whether the adapted policy keeps its place."""


def keep_aside(replay: Replay, share: float) -> tuple[Replay, NDArray[np.int64]]:
    """A replay without every so-many-th block of each session, and the transition indices of these in the full one.

    Too few blocks for one to be kept aside leave everything as it is.
    """
    every = round(1.0 / share)
    kept, aside = [], []
    for identifier in replay.identifiers:
        session = replay.session(identifier)
        numbers = np.unique(session.block, return_inverse=True)[1]
        out = numbers % every == every - 1
        aside.append(replay.indices_of(identifier)[out])
        kept.append(taken(session, ~out, session.block[~out]))
    return Replay.of(kept, *replay.sizes), np.concatenate(aside)


def certify(
    learner: TD3Learner, old_actions: torch.Tensor, replay: Replay, aside: NDArray[np.int64], noise: float
) -> CertificateResult:
    """Compare the learner's actions with `old_actions` [m, A] on transitions [m] kept aside.

    `noise` is the standard deviation that both policies are thought to act with. Passes where the gain is positive,
    or where nothing can be told because every trial earned the same.
    """
    new_actions = actions_at(learner, replay, aside)
    done = replay.gather(aside).action
    nearer = (old_actions - done).square().sum(dim=1) - (new_actions - done).square().sum(dim=1)
    blocks, place = np.unique(replay.block_of(aside), return_inverse=True)
    log_ratio = np.bincount(place, weights=nearer.numpy() / (2.0 * noise**2))
    first = np.unique(place, return_index=True)[1]
    returns = replay.block_return(aside[first])
    gain = float(np.mean((returns - returns.mean()) * np.clip(log_ratio, -LOG_RATIO_CLIP, LOG_RATIO_CLIP)))
    return CertificateResult(len(blocks), gain, gain > 0.0 or bool(np.ptp(returns) < 1e-9))


def actions_at(learner: TD3Learner, replay: Replay, indices: NDArray[np.int64]) -> torch.Tensor:
    """The policy's actions [m, A] at transitions, after the history that each of them had."""
    batch = replay.gather(indices).to(learner.device)
    with torch.no_grad():
        return learner.actor(batch.observation, learner.contexts(batch)[0]).cpu()
