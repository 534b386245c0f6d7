"""Settings of an adaptation, and the ablations that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of one adaptation; every ablation is a setting of this, see `ablations`."""

    new_updates: int = 10
    """Updates of step one, on the new task's data only."""
    recycling_updates: int = 100
    """Updates of step two, on meta-training data weighted by propensity."""
    batch_blocks: int = 128
    """Blocks (trials) in a batch."""
    new_fraction: float = 0.25
    """Part of the blocks of a step-two batch that comes from the new data."""
    pool_blocks: int = 2000
    """Meta-training blocks, drawn evenly over tasks, whose propensity is computed and that may be recycled."""
    use_recycling: bool = True
    """False leaves step two out."""
    use_propensity: bool = True
    """False recycles without weights."""
    use_proximal: bool = True
    """False leaves the proximal term out."""
    proximal: float | str = "ess"
    """Proximal coefficient: "ess" for 1 - effective sample size, or a fixed number."""
    proximal_scale: float = 1.0
    """Factor on 1 - effective sample size; 1 is the paper, whose losses were of another size."""
    recycling: str = "proportional"
    """"proportional" draws old blocks in proportion to their ratio, "weighted" draws evenly and weights the loss."""
    feature_components: int = 0
    """Beyond the paper: the classifier sees so many principal components of the old features; 0 for all features."""
    observation_features: bool = False
    """Whether the classifier sees the observation beside the context."""
    max_ratio: float = 10.0
    """Largest importance ratio."""
    logit_clip: float = 5.0
    """Largest log importance ratio, either way."""
    l2: float = 0.02
    """L2 penalty of the classifier."""
    overlap_threshold: float = 0.98
    """Held-out balanced accuracy above which recycling is skipped."""
    actor_learning_rate: float | None = None
    """Adam's step size for the actor during adaptation; None keeps the learner's."""
    critic_learning_rate: float | None = None
    """The same for critics and encoder."""
    critic_first_updates: int = 0
    """The first so many updates leave the actor alone."""
    clone_weight: float = 0.0
    """Beyond the paper: coefficient of cloning the labels (`Session.teacher_action`) of the new data. Without any
    nothing has succeeded, and the policy stays as it is: failures alone do not say what to do instead."""
    resampled_histories: int = 0
    """Beyond the paper: so many copies of each new session, its blocks drawn anew with replacement, join the new data.
    Trials with one object are exchangeable, so what succeeded once is right after every history: after that of the new
    trials, and after one of successes only, which the adapted policy will see."""
    symmetry_sessions: int = 0
    """Beyond the paper: so many old sessions, moved to the new task by somebody who knows its symmetries (`Symmetry`),
    are recycled in place of the old data as they are."""
    learn_context: bool = True
    """False freezes the encoder while adapting."""
    success_return: float = 0.5
    """Reward of a whole block from which on it counts as successful, for resampled histories."""
    seed: int = 0
    """Seed of the draws from both replays."""

    def __post_init__(self) -> None:
        counts = (self.new_updates, self.recycling_updates, self.critic_first_updates, self.symmetry_sessions)
        if min(counts) < 0:
            raise ValueError("The numbers of updates and symmetry_sessions must not be negative.")
        if self.batch_blocks < 1 or self.pool_blocks < 1 or not 0.0 <= self.new_fraction <= 1.0:
            raise ValueError("batch_blocks and pool_blocks must be at least 1, and new_fraction in [0, 1].")
        if not self.proximal_scale >= 0.0:
            raise ValueError(f"proximal_scale is {self.proximal_scale}; expected a number that is not negative.")
        if isinstance(self.proximal, str) and self.proximal != "ess":
            raise ValueError(f"proximal is {self.proximal!r}; expected 'ess' or a number that is not negative.")
        if not isinstance(self.proximal, str) and not self.proximal >= 0.0:
            raise ValueError(f"proximal is {self.proximal}; expected 'ess' or a number that is not negative.")
        if self.recycling not in ("proportional", "weighted"):
            raise ValueError(f"recycling is {self.recycling!r}; expected 'proportional' or 'weighted'.")


def ablations(config: AdaptationConfig) -> dict[str, AdaptationConfig]:
    """The methods that adaptation is compared with, with the same updates, learning rates and clone weight.

    The paper's ablations recycle old data as they are, and so does `no-symmetry`; `unweighted` lacks propensity
    and proximal term only. Where nothing is shifted they are `mql` and `uniform-replay` once more.
    """
    total = config.new_updates + config.recycling_updates
    plain = replace(config, use_propensity=False, use_proximal=False, symmetry_sessions=0)
    return {
        "context": replace(plain, new_updates=0, recycling_updates=0, use_recycling=False),
        "fine-tune": replace(plain, new_updates=total, recycling_updates=0, use_recycling=False),
        "uniform-replay": plain,
        "replay-only": replace(config, new_updates=0, recycling_updates=total, new_fraction=0.0, symmetry_sessions=0),
        "no-symmetry": replace(config, symmetry_sessions=0),
        "unweighted": replace(config, use_propensity=False, use_proximal=False),
        "mql": config,
    }
