"""Policy bundles, which training writes and the nodes load: learner and replay, to and from `bundle_files`."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from mql_ros.algorithm.bundle_files import (
    OPTIMIZER,
    OPTIMIZER_SETTINGS,
    REPLAY,
    WEIGHTS,
    BundleFiles,
    broken,
    read_bundle,
    write_bundle,
)
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.learner import Learner
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError

_Config = TypeVar("_Config")


_Learner = TypeVar("_Learner", bound=Learner)


@dataclass(frozen=True)
class PolicyBundle(BundleFiles):
    """A checked bundle."""

    history_blocks: int

    def configuration(self, part: str, kind: type[_Config]) -> _Config:
        """The part `network` or `learning` of the manifest as the dataclass `kind`. Raises UserError."""
        try:
            return kind(**self.manifest[part])
        except (TypeError, ValueError) as error:
            raise broken(self.path, f"its {kind.__name__} cannot be used ({_first_line(error)})") from error

    def restore(self, learner: _Learner) -> _Learner:
        """Give a learner of the bundle's configurations the state that was saved, and return it.

        Optimisers stay fresh where the bundle has none. Raises UserError where the weights do not fit.
        """
        if type(learner).__name__ != self.manifest["learner"]:
            raise broken(self.path, f"it holds a {self.manifest['learner']}, not a {type(learner).__name__}")
        state = learner.state_dict()
        try:
            tensors = safetensors.torch.load(self.files[WEIGHTS])
            for network in learner.networks:
                prefix = network + "."
                state[network] = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if OPTIMIZER in self.files:
                settings = json.loads(self.files[OPTIMIZER_SETTINGS])
                state |= _optimizer_state(self.files[OPTIMIZER], settings, learner.optimizers)
            learner.load_state_dict(state)
        except (RuntimeError, KeyError, ValueError, safetensors.SafetensorError) as error:
            raise UserError(
                f"The weights of policy bundle {self.path} do not fit its network configuration; "
                f"expected the files that one save wrote together; train or copy it anew ({_first_line(error)})."
            ) from error
        return learner

    def make_replay(self) -> Replay:
        """The meta-training replay. Raises UserError when the bundle carries none."""
        if REPLAY not in self.files:
            raise UserError(
                f"Policy bundle {self.path} carries no replay, which adaptation needs; use one saved with it."
            )
        try:
            return Replay.from_state(safetensors.numpy.load(self.files[REPLAY]))
        except (KeyError, ValueError, safetensors.SafetensorError) as error:
            raise UserError(
                f"The replay of policy bundle {self.path} cannot be read; expected the file that a save wrote; "
                f"train or copy it anew ({_first_line(error)})."
            ) from error


def save_bundle(
    path: str | os.PathLike[str],
    learner: Learner,
    *,
    robot: Mapping[str, Any],
    task: Mapping[str, Any],
    replay: Replay | None = None,
    history_blocks: int | None = None,
    training: Mapping[str, Any] | None = None,
    seeds: Mapping[str, int] | None = None,
    measured: Mapping[str, Any] | None = None,
    training_objects: Sequence[str] = (),
    version: int = 1,
    extra: Mapping[str, Any] | None = None,
    created: str | None = None,
    optimizer: bool = True,
    replay_float16: bool = True,
    overwrite: bool = False,
) -> str:
    """Write a bundle, all or nothing; returns its hash.

    The mappings become part of the manifest, as plain JSON. `history_blocks` is that of the replay unless given.
    Raises UserError when the path is taken (without `overwrite`) or something cannot be written.
    """
    target = Path(path)
    if history_blocks is None:
        if replay is None:
            raise ValueError(
                "Give the replay, or history_blocks: a policy is nothing without the length of its history."
            )
        history_blocks = replay.history_blocks
    if replay is not None and replay.history_blocks != history_blocks:
        raise ValueError(f"history_blocks is {history_blocks}, but the replay was kept with {replay.history_blocks}.")
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists already; expected a new name for the policy bundle; choose one or remove it.")
    files = _learner_files(learner, optimizer)
    if replay is not None:
        files[REPLAY] = safetensors.numpy.save(replay.state(float16=replay_float16))
    manifest = {
        "version": int(version),
        "created": created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "robot": dict(robot),
        "task": dict(task),
        "history_blocks": int(history_blocks),
        "learner": type(learner).__name__,
        "network": dataclasses.asdict(learner.network_config),
        "learning": dataclasses.asdict(learner.config),
        "training": dict(training or {}),
        "seeds": dict(seeds or {}),
        "measured": dict(measured or {}),
        "training_objects": list(training_objects),
        "extra": dict(extra or {}),
        "versions": _versions(),
    }
    return write_bundle(target, manifest, files)


def load_bundle(path: str | os.PathLike[str]) -> PolicyBundle:
    """Read a bundle; check manifest, hashes and configurations. Raises UserError with one sentence on what is wrong."""
    found = read_bundle(path)
    return PolicyBundle(**vars(found), history_blocks=int(found.manifest["history_blocks"]))


def td3_of(bundle: PolicyBundle, device: torch.device | str = "cpu") -> TD3Learner:
    """The TD3 learner that was saved. Raises UserError where the bundle holds none, or is damaged."""
    network, learning = bundle.configuration("network", NetworkConfig), bundle.configuration("learning", TD3Config)
    return bundle.restore(TD3Learner(network, learning, device=device))


def _learner_files(learner: Learner, optimizer: bool) -> dict[str, bytes]:
    state = learner.state_dict()
    weights = {f"{network}.{name}": t for network in learner.networks for name, t in state[network].items()}
    files = {WEIGHTS: _tensor_bytes(weights)}
    if optimizer:
        tensors = {
            f"{name}.{index}.{key}": value
            for name in learner.optimizers
            for index, entry in state[name]["state"].items()
            for key, value in entry.items()
        }
        settings = {name: state[name]["param_groups"] for name in learner.optimizers} | {"updates": state["updates"]}
        files[OPTIMIZER] = _tensor_bytes(tensors | {"generator": state["generator"]})
        files[OPTIMIZER_SETTINGS] = (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()
    return files


def _tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _optimizer_state(content: bytes, settings: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what `_learner_files` saved of the optimisers `names`, the counter and the generator."""
    tensors = safetensors.torch.load(content)
    state: dict[str, Any] = {"updates": settings["updates"], "generator": tensors.pop("generator")}
    for name in names:
        groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in settings[name]]
        state[name] = {"state": {}, "param_groups": groups}
    for name, tensor in tensors.items():
        optimizer, index, key = name.split(".")
        state[optimizer]["state"].setdefault(int(index), {})[key] = tensor
    return state


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".:")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    try:
        versions["mql_ros"] = importlib.metadata.version("mql_ros")
    except importlib.metadata.PackageNotFoundError:
        versions["mql_ros"] = "not installed"
    return versions
