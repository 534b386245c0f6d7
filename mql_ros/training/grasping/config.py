"""Settings of meta-training on grasping, read from `config/training/*.yaml`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.core.settings import build, read_yaml


@dataclass(frozen=True)
class TrainingConfig:
    """All settings of `mql train`; the defaults are a small run for trying things out."""

    seed: int = 1
    """Seed of everything: sessions, networks, draws."""
    robot: str = "panda"
    """Robot profile."""
    trials_per_session: int = 8
    """Trials with one object in a row; the history runs across them."""
    history_blocks: int = 5
    """Trials before the present one that the context sees."""
    demonstration_sessions: int = 200
    """Sessions of the scripted teacher, which knows the objects."""
    demonstration_seed: int = 1
    """Seed of the demonstrations: runs with different seeds may start from the same ones."""
    clone_updates: int = 1000
    """Updates that clone the teacher's actions from context, with the critics learning along."""
    rounds: int = 4
    """Rounds of collecting with the policy and TD3 updates."""
    sessions_per_round: int = 20
    """Sessions that the policy collects in a round."""
    updates_per_round: int = 200
    """TD3 updates in a round."""
    own_fraction: float = 0.0
    """Part of a batch, below 1, that comes from the policy's own trials; with 0 they join the demonstrations in one
    replay, so that their part is their share of all data."""
    exploration_noise: float = 0.12
    """Standard deviation of the noise on actions while collecting; 0 in every fourth session."""
    batch_blocks: int = 128
    """Trials in a batch."""
    clone_weight_start: float = 2.0
    """Weight, beside the value term, of the labels that a session's own successes give (`hindsight`), in the
    first round ..."""
    clone_weight_end: float = 1.0
    """... and in the last, geometric in between; 0 for none."""
    critic_warmup_updates: int = 200
    """TD3 updates of critics and encoder alone before the actor follows."""
    validate_every: int = 2
    """Rounds between two validations on the development objects."""
    averaged_rounds: int = 0
    """The last so many rounds whose policies are averaged, weight by weight, into one more candidate at the end."""
    validation_objects: int = 60
    """Development objects of a validation."""
    validation_sessions: int = 1
    """Sessions on each of them: the fewer there are, the more the best checkpoint looks better than it is."""
    measured_objects: int = 204
    """Training objects on which the finished policy is measured."""
    replay_sessions: int = 200
    """Sessions that the bundle carries for adaptation, the newest first."""
    network: dict[str, Any] = field(default_factory=dict, metadata={"overrides": NetworkConfig})
    """Overrides of mql_ros.algorithm.networks.NetworkConfig."""
    clone: dict[str, Any] = field(default_factory=dict, metadata={"overrides": TD3Config})
    """Overrides of mql_ros.algorithm.td3.TD3Config while cloning."""
    td3: dict[str, Any] = field(default_factory=dict, metadata={"overrides": TD3Config})
    """Overrides of mql_ros.algorithm.td3.TD3Config afterwards."""

    def clone_weight(self, number: int) -> float:
        """Weight of the labels in round `number`."""
        if self.clone_weight_start <= 0.0 or self.clone_weight_end <= 0.0:
            return 0.0
        share = number / max(1, self.rounds - 1)
        return self.clone_weight_start * (self.clone_weight_end / self.clone_weight_start) ** share

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON for the manifest."""
        return asdict(self)


def load_training_config(path: str) -> TrainingConfig:
    """Read a YAML file; UserError names the key that is wrong."""
    what = f"training configuration {path}"
    return build(TrainingConfig, read_yaml(Path(path), what, "config/training/grasp.yaml"), what)
