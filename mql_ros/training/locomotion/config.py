"""Settings of meta-training on a benchmark, read from `config/training/<family>.yaml`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.core.errors import UserError
from mql_ros.core.settings import build, read_yaml, setting
from mql_ros.training.locomotion.families import HORIZON


@dataclass(frozen=True)
class BenchmarkConfig:
    """All settings of `mql train --family`; steps are those of single environments."""

    family: str
    """Name of the task family."""
    seed: int = setting(1, low=0)
    """Seed of networks, draws, starts and noise."""
    task_seed: int = setting(1, low=0)
    """Seed of the training and test tasks, which runs with different seeds share."""
    steps: int = setting(200_000, low=1)
    """Environment steps of the run; rounded up to whole rounds."""
    environments: int = setting(10, low=1)
    """Environments that act in parallel, in one batch."""
    session_episodes: int = setting(2, low=1)
    """Episodes of 200 steps with one task in a row; the history spans them."""
    block_length: int = setting(10, low=1)
    """Steps of a block; one recurrent pass serves all its transitions."""
    history_blocks: int = setting(1, low=0)
    """Past blocks in the history."""
    batch_blocks: int = setting(26, low=1)
    """Blocks in a batch."""
    updates_per_step: float = 0.5
    """TD3 updates for one environment step."""
    warmup_steps: int = setting(4000, low=0)
    """Steps with random actions and no updates, at the start."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on actions while collecting."""
    reward_scale: float = 1.0
    """Factor on the rewards for learning; reported returns are without it."""
    evaluate_every: int = setting(4000, low=1)
    """Steps between two evaluations, at least those of a round."""
    evaluation_episodes: int = setting(2, low=1)
    """Episodes in a row, history included, with each test task."""
    evaluation_repeats: int = setting(1, low=1)
    """Sessions with each test task."""
    checkpoint_every: int = setting(20_000, low=1)
    """Steps between two checkpoints, at least those of a round."""
    network: dict[str, Any] = field(default_factory=dict, metadata={"overrides": NetworkConfig})
    """Overrides of mql_ros.algorithm.networks.NetworkConfig."""
    td3: dict[str, Any] = field(default_factory=dict, metadata={"overrides": TD3Config})
    """Overrides of mql_ros.algorithm.td3.TD3Config."""

    @property
    def round_steps(self) -> int:
        """Steps of a round: one session in every environment."""
        return self.environments * self.session_episodes * HORIZON

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def load_benchmark_config(path: str | Path, family: str, **overrides: Any) -> BenchmarkConfig:
    """Return the settings of a YAML file with `overrides` other than None; UserError names a wrong key."""
    what = f"benchmark configuration {path}"
    data = read_yaml(Path(path), what, "config/training/ant-goal.yaml")
    if data.get("family", family) != family:
        raise UserError(f"{what} is for the family '{data['family']}', not for '{family}'; choose the other file")
    given = {name: value for name, value in overrides.items() if value is not None}
    return build(BenchmarkConfig, data | {"family": family} | given, what)
