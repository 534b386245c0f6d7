"""Settings of an adaptation, and the ablations that it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mql_ros.core.resources import share_path
from mql_ros.core.settings import build, check_values, read_yaml, setting, with_overrides


@dataclass(frozen=True)
class AdaptationConfig:
    """Settings of one adaptation; every ablation is a setting of this, see `ablations`."""

    new_updates: int = setting(10, low=0, high=100000)
    """Updates of step one, on the new task's data only."""
    recycling_updates: int = setting(100, low=0, high=100000)
    """Updates of step two, on meta-training data weighted by propensity."""
    sampling: str = setting("blocks", choices=("blocks", "sessions"))
    """"blocks" draws blocks (trials), each after its history; "sessions" draws whole sessions, with one ratio each."""
    batch_size: int = setting(128, low=1, high=100000)
    """Blocks, or sessions, in a batch."""
    new_fraction: float = setting(0.25, low=0.0, high=1.0)
    """Part of a step-two batch that comes from the new data."""
    pool_size: int = setting(2000, low=1, high=1000000)
    """Old blocks, or sessions, drawn evenly over tasks, whose propensity is computed and that may be recycled."""
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
    """"proportional" draws old data in proportion to their ratio, "weighted" draws evenly and weights the loss."""
    feature_components: int = setting(0, low=0, high=10000)
    """Beyond the paper: the classifier sees so many principal components of the old features; 0 for all features."""
    observation_features: bool = False
    """Whether the classifier sees the observation, without its view, beside the context."""
    max_ratio: float = setting(10.0, low=1.0, high=1000000.0)
    """Largest importance ratio."""
    logit_clip: float = setting(5.0, low=0.1, high=100.0)
    """Largest log importance ratio, either way."""
    l2: float = setting(0.02, low=0.0, high=1000.0)
    """L2 penalty of the classifier."""
    overlap_threshold: float = setting(0.98, low=0.5, high=1.0)
    """Held-out balanced accuracy above which recycling is skipped."""
    step_size: float | None = setting(None, low=0.0, high=1.0)
    """Step size of every optimiser during adaptation; None keeps the learner's."""
    learn_context: bool = True
    """False freezes the encoder while adapting."""
    resampled_histories: int = setting(0, low=0, high=1000)
    """Beyond the paper: so many copies of each new session, its blocks in random order, join the new data. Trials with
    one object are exchangeable, so what was right after one history is right after the others, and at the start."""
    seed: int = setting(0, low=0, high=2147483647)
    """Seed of the draws from both replays."""

    def __post_init__(self) -> None:
        check_values(self)


def ablations(config: AdaptationConfig) -> dict[str, AdaptationConfig]:
    """The methods that adaptation is compared with, each with as many updates and the same step size."""
    total = config.new_updates + config.recycling_updates
    unweighted = replace(config, use_propensity=False, use_proximal=False)
    return {
        "context": replace(unweighted, new_updates=0, recycling_updates=0, use_recycling=False),
        "fine-tune": replace(unweighted, new_updates=total, recycling_updates=0, use_recycling=False),
        # Experience replay: every batch mixes new data with old ones drawn evenly; there is no step one.
        "uniform-replay": replace(unweighted, new_updates=0, recycling_updates=total),
        "replay-only": replace(config, new_updates=0, recycling_updates=total, new_fraction=0.0),
        "unweighted": unweighted,
        "no-proximal": replace(config, use_proximal=False),
        "mql": config,
    }


def load_adaptation(overrides: Sequence[str] = ()) -> AdaptationConfig:
    """Return the settings of config/adaptation.yaml, with `KEY=VALUE` overrides; UserError names what is wrong."""
    what = "adaptation settings"
    data = read_yaml(share_path("config", "adaptation.yaml"), what, "that of the package")
    return build(AdaptationConfig, with_overrides(data, overrides, what), what)
