"""Settings of meta-training on a benchmark, read from `config/training/<family>.yaml`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import check_keys
from mql_ros.training.locomotion.families import HORIZON


@dataclass(frozen=True)
class BenchmarkConfig:
    """All settings of `mql train --family`; steps count those of single environments."""

    family: str
    """Name of the task family."""
    seed: int = 1
    """Seed of networks, draws, starts and noise."""
    task_seed: int = 1
    """Seed of the training and test tasks: runs with different seeds share them."""
    steps: int = 200_000
    """Environment steps of the run; rounded up to whole rounds."""
    environments: int = 10
    """Environments that act side by side, in one batch."""
    session_episodes: int = 2
    """Episodes of 200 steps with one task in a row; the history runs across them."""
    block_length: int = 10
    """Steps of a block; one recurrent pass serves all its transitions."""
    history_blocks: int = 1
    """Blocks before the present one that the context sees."""
    batch_blocks: int = 26
    """Blocks in a batch."""
    updates_per_step: float = 0.5
    """TD3 updates for one environment step."""
    warmup_steps: int = 4000
    """Steps with random actions and no updates, at the start."""
    exploration_noise: float = 0.2
    """Standard deviation of the noise on actions while collecting."""
    reward_scale: float = 1.0
    """Factor on the rewards that are learned from; returns are reported without it."""
    evaluate_every: int = 4000
    """Steps between two evaluations, at least those of a round."""
    evaluation_episodes: int = 2
    """Episodes in a row, history included, with each test task."""
    evaluation_repeats: int = 1
    """Sessions with each test task."""
    checkpoint_every: int = 20_000
    """Steps between two checkpoints, at least those of a round."""
    network: dict[str, Any] = field(default_factory=dict)
    """Overrides of mql_ros.algorithm.networks.NetworkConfig."""
    td3: dict[str, Any] = field(default_factory=dict)
    """Overrides of mql_ros.algorithm.td3.TD3Config."""

    @property
    def round_steps(self) -> int:
        """Steps of a round: one session in every environment."""
        return self.environments * self.session_episodes * HORIZON

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def load_benchmark_config(path: str | Path, family: str, **overrides: Any) -> BenchmarkConfig:
    """Read a YAML file; what is overridden by None stays. UserError names an unknown key and the nearest known one."""
    what = f"benchmark configuration {path}"
    try:
        data = yaml.safe_load(Path(path).read_text()) or {}
    except OSError as error:
        raise UserError(f"{what} cannot be read ({error.strerror}); give a file such as config/training/...") from error
    except yaml.YAMLError as error:
        raise UserError(f"{what} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise UserError(f"{what}: expected `key: value` lines")
    check_keys(what, data, {f.name for f in fields(BenchmarkConfig)})
    if data.get("family", family) != family:
        raise UserError(f"{what} is for the family '{data['family']}', not for '{family}'; choose the other file")
    values = data | {"family": family} | {name: value for name, value in overrides.items() if value is not None}
    defaults = BenchmarkConfig(family)
    for name, value in values.items():
        wanted = type(getattr(defaults, name))
        if wanted is float and isinstance(value, int):
            values[name] = float(value)
        elif not isinstance(value, wanted) or isinstance(value, bool):
            raise UserError(f"{what}: {name} is {value!r}; expected {wanted.__name__}")
        elif wanted is int and value < (0 if name in _MAY_BE_ZERO else 1):
            raise UserError(f"{what}: {name} is {value}; expected at least {0 if name in _MAY_BE_ZERO else 1}")
    for name, kind in (("network", NetworkConfig), ("td3", TD3Config)):
        check_keys(f"{what}: {name}", values.get(name, {}), {f.name for f in fields(kind)})
    return BenchmarkConfig(**values)


_MAY_BE_ZERO = ("seed", "task_seed", "history_blocks", "warmup_steps")
