"""The adaptation settings that command line and demo share, from `config/adaptation.yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import yaml

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig
from mql_ros.algorithm.adaptation.exploration import ExplorationConfig
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.robot.profile import check_keys

PREFIX = "exploration_"


def load_adaptation(overrides: Sequence[str] = ()) -> tuple[AdaptationConfig, ExplorationConfig]:
    """The settings of an adaptation, and of exploration in the trials before it; `KEY=VALUE` overrides."""
    data: dict[str, Any] = yaml.safe_load(share_path("config", "adaptation.yaml").read_text())
    for override in overrides:
        key, _, value = override.partition("=")
        data[key] = yaml.safe_load(value)
    known = {f.name for f in fields(AdaptationConfig)} | {PREFIX + f.name for f in fields(ExplorationConfig)}
    check_keys("adaptation settings", data, known)
    exploration = {key.removeprefix(PREFIX): data.pop(key) for key in list(data) if key.startswith(PREFIX)}
    try:
        return AdaptationConfig(**data), ExplorationConfig(**exploration)
    except (TypeError, ValueError) as error:
        raise UserError(f"adaptation settings: {error}") from error
