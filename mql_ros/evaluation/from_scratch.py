"""The baseline without meta-learning: TD3 with fresh networks, on the new trials of one object alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config, TD3Learner

FROM_SCRATCH_UPDATES = 500
BATCH_BLOCKS = 64
"""Trials in a batch: 192 transitions."""


def train_from_scratch(network: NetworkConfig, td3: TD3Config, new: Replay, updates: int, seed: int) -> TD3Learner:
    """Single-task TD3: networks initialised from `seed`, then `updates` updates on the trials in `new`.

    Plain TD3, so without context (with one task there is none to infer) and without imitating anybody; `network` gives
    the sizes of actor and critics, `td3` the rest of the settings. Without any new trial the networks stay untrained.
    """
    plain = replace(td3, clone_weight=0.0)
    learner = TD3Learner(replace(network, use_context=False), plain, seed=seed)
    rng = np.random.default_rng([seed, 41])
    for _ in range(updates if len(new) else 0):
        learner.update(new.sample(BATCH_BLOCKS, rng))
    return learner
