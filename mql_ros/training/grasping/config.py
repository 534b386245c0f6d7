"""Settings of meta-training on grasping, read from `config/training/*.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mql_ros.algorithm.q_learning import QLearningConfig
from mql_ros.core.settings import build, check_values, read_yaml, setting
from mql_ros.grasping.learning.networks import GraspNetworkConfig


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of `mql train`; the defaults are a small run for trying things out."""

    seed: int = setting(1, low=0, high=1_000_000)
    """Seed of everything: sessions, networks, draws."""
    robot: str = "panda"
    """Robot profile."""
    trials_per_session: int = setting(8, low=1, high=100)
    """Trials with one object in a row; the history runs across them."""
    history_blocks: int = setting(8, low=0, high=100)
    """Trials before the present one that the context sees; at least one fewer than those of a session."""
    scripted_sessions: int = setting(40, low=1)
    """Sessions of the scripted explorer, which knows nothing that the policy does not."""
    rounds: int = setting(2, low=0)
    """Rounds in which the policy collects; before each, and at the end, it is trained anew on all data so far."""
    sessions_per_round: int = setting(20, low=1)
    """Sessions that the policy collects in a round."""
    updates: int = setting(200, low=1)
    """Updates of a training from scratch before the last one ..."""
    last_updates: int = setting(300, low=1)
    """... and of the last one, whose policy is shipped."""
    batch_sessions: int = setting(24, low=1)
    """Sessions in a batch."""
    shuffled: float = setting(0.0, low=0.0, high=1.0)
    """Share of sessions in a batch whose trials are put into random order. It misleads where a policy collected them:
    a force that was chosen after earlier trials looks like a first guess (docs/research_log.md)."""
    moved: float = setting(0.5, low=0.0, high=1.0)
    """Share of sessions in a batch that are seen from another side: turned by quarters and mirrored at random."""
    exploration: tuple[float, ...] = setting((0.1, 0.3, 0.6), low=0.0, high=1.0)
    """Shares of decisions that are not the best ones, drawn evenly for each session of a round."""
    validation_objects: int = setting(10, low=1)
    """Development objects of a validation, the first ones."""
    replay_sessions: int = setting(100, low=1)
    """Sessions that the bundle carries for adaptation, the newest ones."""
    network: dict[str, Any] = field(default_factory=dict, metadata={"overrides": GraspNetworkConfig})
    """Overrides of mql_ros.grasping.learning.networks.GraspNetworkConfig."""
    learning: dict[str, Any] = field(default_factory=dict, metadata={"overrides": QLearningConfig})
    """Overrides of mql_ros.algorithm.q_learning.QLearningConfig."""

    def __post_init__(self) -> None:
        check_values(self)
        if self.trials_per_session > self.history_blocks + 1:
            raise ValueError(
                f"history_blocks is {self.history_blocks}; expected at least {self.trials_per_session - 1}, "
                "trials_per_session - 1, because batches are of whole sessions"
            )
        if not self.exploration:
            raise ValueError("exploration is empty; expected at least one share")


def load_training_config(path: str) -> TrainingConfig:
    """Read a YAML file; UserError names an unknown key and the nearest known one."""
    what = f"training configuration {path}"
    return build(TrainingConfig, read_yaml(Path(path), what, "config/training/grasp.yaml"), what)
