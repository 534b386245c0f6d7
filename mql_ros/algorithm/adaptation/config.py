"""Settings of an adaptation, and the ablations that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from mql_ros.core.resources import share_path
from mql_ros.core.settings import build, check_keys, check_values, read_yaml, setting, with_overrides


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of one adaptation; every ablation is a setting of this, see `ablations`."""

    new_updates: int = setting(10, low=0, high=100000)
    """Updates of step one, on the new task's data only."""
    recycling_updates: int = setting(100, low=0, high=100000)
    """Updates of step two, on meta-training data weighted by propensity."""
    batch_blocks: int = setting(128, low=1, high=100000)
    """Blocks (trials) in a batch."""
    new_fraction: float = setting(0.25, low=0.0, high=1.0)
    """Part of the blocks of a step-two batch that comes from the new data."""
    pool_blocks: int = setting(2000, low=1, high=1000000)
    """Meta-training blocks, drawn evenly over tasks, whose propensity is computed and that may be recycled."""
    use_recycling: bool = True
    """False leaves step two out."""
    use_propensity: bool = True
    """False recycles without weights."""
    use_proximal: bool = True
    """False leaves the proximal term out."""
    proximal: float | str = setting("ess", low=0, choices=("ess",))
    """Proximal coefficient: "ess" for 1 - effective sample size, or a fixed number."""
    proximal_scale: float = setting(1.0, low=0.0, high=1000.0)
    """Factor on 1 - effective sample size; 1 is the paper, whose losses were of another size."""
    recycling: str = setting("proportional", choices=("proportional", "weighted"))
    """"proportional" draws old blocks in proportion to their ratio, "weighted" draws evenly and weights the loss."""
    feature_components: int = setting(0, low=0, high=10000)
    """Beyond the paper: the classifier sees so many principal components of the old features; 0 for all features."""
    observation_features: bool = False
    """Whether the classifier sees the observation beside the context."""
    max_ratio: float = setting(10.0, low=1.0, high=1000000.0)
    """Largest importance ratio."""
    logit_clip: float = setting(5.0, low=0.1, high=100.0)
    """Largest log importance ratio, either way."""
    l2: float = setting(0.02, low=0.0, high=1000.0)
    """L2 penalty of the classifier."""
    overlap_threshold: float = setting(0.98, low=0.5, high=1.0)
    """Held-out balanced accuracy above which recycling is skipped."""
    actor_learning_rate: float | None = setting(None, low=0.0, high=1.0)
    """Adam's step size for the actor during adaptation; None keeps the learner's."""
    critic_learning_rate: float | None = setting(None, low=0.0, high=1.0)
    """Adam's step size for critics and encoder during adaptation; None keeps the learner's."""
    critic_first_updates: int = setting(0, low=0, high=100000)
    """The first so many updates leave the actor alone."""
    clone_weight: float = setting(0.0, low=0.0, high=1000.0)
    """Beyond the paper: coefficient of cloning the labels (`Session.teacher_action`) of the new data. New data without
    labels hold no success, and then the policy stays as it is: failures alone show no better action."""
    resampled_histories: int = setting(0, low=0, high=1000)
    """Beyond the paper: so many copies of each new session, its blocks drawn anew with replacement, join the new data.
    Trials with one object are exchangeable, so what succeeded once is right after every history: after that of the new
    trials, and after one of successes only, which the adapted policy will see."""
    symmetry_sessions: int = setting(0, low=0, high=10000)
    """Beyond the paper: so many old sessions, moved to the new task by somebody who knows its symmetries (`Symmetry`),
    are recycled in place of the old data as they are."""
    learn_context: bool = True
    """False freezes the encoder while adapting."""
    success_return: float = setting(0.5, low=-10.0, high=10.0)
    """Reward of a whole block from which on it counts as successful, for resampled histories."""
    seed: int = setting(0, low=0, high=2147483647)
    """Seed of the draws from both replays."""

    def __post_init__(self) -> None:
        check_values(self)


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


@dataclass(frozen=True)
class ExplorationConfig:
    """Settings of exploration; noise alone is the published way."""

    noise: float = setting(0.2, low=0.0)
    """Standard deviation of the noise on each entry of an action."""
    persistence: float = setting(0.0, low=0.0, high=1.0)
    """Correlation of the noise between two steps of a block: 0 independent, 1 the same noise throughout."""
    recall: float = setting(0.0, low=0.0, high=1.0)
    """Probability of beginning a block with a recalled history, after `recall_after` blocks without any success."""
    recall_after: int = setting(5, low=1)
    """Number of failed blocks before a history may be recalled."""
    recall_by: str = setting("even", choices=("even", "propensity"))
    """"even": old tasks are drawn evenly; "propensity": by the mean importance ratio of their data."""
    candidates: int = setting(8, low=1)
    """Histories drawn for a recall; the one whose first action is farthest from those that failed is taken."""
    success_return: float = 0.5
    """Reward of a whole block from which on it counts as successful."""
    search: bool = False
    """Whether a guide that knows the task leads, if there is one (in grasping `grasping.learning.grasp_search`)."""

    def __post_init__(self) -> None:
        check_values(self)


NO_EXPLORATION = ExplorationConfig(noise=0.0)


EXPLORATION = "exploration_"
"""Prefix of the keys of config/adaptation.yaml that belong to ExplorationConfig."""


def load_adaptation(overrides: Sequence[str] = ()) -> tuple[AdaptationConfig, ExplorationConfig]:
    """Return the settings of an adaptation, and of exploration in the trials before it.

    They come from config/adaptation.yaml, with `KEY=VALUE` overrides. Raises UserError that names what is wrong.
    """
    what = "adaptation settings"
    data = read_yaml(share_path("config", "adaptation.yaml"), what, "that of the package")
    data = with_overrides(data, overrides, what)
    known = {f.name for f in fields(AdaptationConfig)} | {EXPLORATION + f.name for f in fields(ExplorationConfig)}
    check_keys(what, data, known)
    exploration = {key.removeprefix(EXPLORATION): data.pop(key) for key in list(data) if key.startswith(EXPLORATION)}
    return build(AdaptationConfig, data, what), build(ExplorationConfig, exploration, f"{what}, exploration")
