"""A policy on disk: a directory that training writes, the nodes load, and adaptation needs. No pickle anywhere.

    manifest.json           schema, specifications, configurations, seeds, measurements, SHA-256 of every other file
    weights.safetensors     actor, critics, encoder and targets
    optimizer.safetensors   moments of the optimisers and the generator; their settings in optimizer.json
    replay.safetensors      compact meta-training transitions

It is written to a temporary sibling, flushed and renamed, so that it exists as a whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError

SCHEMA = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_SETTINGS = "optimizer.json"
REPLAY = "replay.safetensors"

_OPTIMIZERS = ("actor_optimizer", "critic_optimizer")
_REQUIRED = ("network", "td3", "files", "history_blocks", "robot", "task", "version", "training_objects")
_Config = TypeVar("_Config")


@dataclass(frozen=True)
class PolicyBundle:
    """A loaded bundle whose every hash was right."""

    path: Path
    manifest: dict[str, Any]
    hash: str
    """SHA-256 of the manifest, which holds those of all other files: the identity of the policy."""
    network_config: NetworkConfig
    td3_config: TD3Config
    history_blocks: int
    files: dict[str, bytes]
    """Contents of the files as they were checked."""

    def make_learner(self, device: torch.device | str = "cpu") -> TD3Learner:
        """The learner as it was saved; with fresh optimisers where the bundle has none. Raises UserError."""
        learner = TD3Learner(self.network_config, self.td3_config, device=device)
        state = learner.state_dict()
        try:
            tensors = safetensors.torch.load(self.files[WEIGHTS])
            for network in learner.networks:
                prefix = network + "."
                state[network] = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if OPTIMIZER in self.files:
                state |= _unflatten_optimizers(self.files[OPTIMIZER], json.loads(self.files[OPTIMIZER_SETTINGS]))
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
    learner: TD3Learner,
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
        "schema": SCHEMA,
        "version": int(version),
        "created": created or datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "robot": dict(robot),
        "task": dict(task),
        "history_blocks": int(history_blocks),
        "network": dataclasses.asdict(learner.network_config),
        "td3": dataclasses.asdict(learner.config),
        "training": dict(training or {}),
        "seeds": dict(seeds or {}),
        "measured": dict(measured or {}),
        "training_objects": list(training_objects),
        "extra": dict(extra or {}),
        "versions": _versions(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    files[MANIFEST] = (json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    try:
        _write_directory(target, files)
    except OSError as error:
        raise UserError(
            f"Policy bundle {target} cannot be written ({error.strerror or error}); "
            "expected a writable place with room for it; choose another."
        ) from error
    return hashlib.sha256(files[MANIFEST]).hexdigest()


def load_bundle(path: str | os.PathLike[str]) -> PolicyBundle:
    """Read a bundle and check its schema and every hash. Raises UserError with one sentence on what is wrong."""
    folder = Path(path)
    try:
        raw = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise UserError(
            f"{folder} is not a policy bundle: {MANIFEST} cannot be read ({error.strerror}); "
            "expected a directory that training or adaptation wrote; check the path."
        ) from error
    try:
        manifest = json.loads(raw)
    except ValueError as error:
        raise _broken(folder, f"{MANIFEST} is not valid JSON") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        raise UserError(
            f"Policy bundle {folder} has schema {schema!r}; expected {SCHEMA}; "
            "train it anew with this version, or use the version that wrote it."
        )
    missing = [name for name in _REQUIRED if name not in manifest]
    if missing or not isinstance(manifest["files"], dict) or WEIGHTS not in manifest["files"]:
        raise _broken(folder, f"{MANIFEST} lacks {', '.join(missing) or 'the list of files'}")
    files: dict[str, bytes] = {}
    for name, wanted in manifest["files"].items():
        if Path(name).name != name:
            raise _broken(folder, f"{MANIFEST} names {name!r}, which is not a plain file name")
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise _broken(folder, f"{name} cannot be read ({error.strerror})") from error
        if hashlib.sha256(files[name]).hexdigest() != wanted:
            raise _broken(folder, f"the contents of {name} do not fit the hash in {MANIFEST}")
    return PolicyBundle(
        path=folder,
        manifest=manifest,
        hash=hashlib.sha256(raw).hexdigest(),
        network_config=_config(NetworkConfig, manifest["network"], folder),
        td3_config=_config(TD3Config, manifest["td3"], folder),
        history_blocks=int(manifest["history_blocks"]),
        files=files,
    )


def bundle_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a bundle's manifest, and so of all that it names."""
    try:
        return hashlib.sha256((Path(path) / MANIFEST).read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(
            f"{path} is not a policy bundle: {MANIFEST} cannot be read ({error.strerror}); check the path."
        ) from error


def _learner_files(learner: TD3Learner, optimizer: bool) -> dict[str, bytes]:
    state = learner.state_dict()
    weights = {f"{network}.{name}": t for network in learner.networks for name, t in state[network].items()}
    files = {WEIGHTS: _tensor_bytes(weights)}
    if optimizer:
        tensors = {
            f"{name}.{index}.{key}": value
            for name in _OPTIMIZERS
            for index, entry in state[name]["state"].items()
            for key, value in entry.items()
        }
        settings = {name: state[name]["param_groups"] for name in _OPTIMIZERS} | {"updates": state["updates"]}
        files[OPTIMIZER] = _tensor_bytes(tensors | {"generator": state["generator"]})
        files[OPTIMIZER_SETTINGS] = (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode()
    return files


def _tensor_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return safetensors.torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def _unflatten_optimizers(content: bytes, settings: dict[str, Any]) -> dict[str, Any]:
    tensors = safetensors.torch.load(content)
    state: dict[str, Any] = {"updates": settings["updates"], "generator": tensors.pop("generator")}
    for name in _OPTIMIZERS:
        groups = [{k: tuple(v) if k == "betas" else v for k, v in group.items()} for group in settings[name]]
        state[name] = {"state": {}, "param_groups": groups}
    for name, tensor in tensors.items():
        optimizer, index, key = name.split(".")
        state[optimizer]["state"].setdefault(int(index), {})[key] = tensor
    return state


def _config(kind: type[_Config], values: Any, folder: Path) -> _Config:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise _broken(folder, f"its {kind.__name__} cannot be used ({_first_line(error)})") from error


def _broken(folder: Path, what: str) -> UserError:
    return UserError(f"Policy bundle {folder} is damaged: {what}; expected it as it was saved; copy or train it anew.")


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].rstrip(".:")


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    try:
        versions["mql_ros"] = importlib.metadata.version("mql_ros")
    except importlib.metadata.PackageNotFoundError:
        versions["mql_ros"] = "not installed"
    return versions


def _write_directory(target: Path, files: Mapping[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{os.getpid()}"
    replaced = target.parent / f".{target.name}.replaced-{os.getpid()}"
    recover_bundle(target)
    try:
        partial.mkdir()
        for name, content in files.items():
            with open(partial / name, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync_directory(partial)
        if target.exists():
            # A directory cannot be renamed over a full one: the old bundle steps aside, and back should that fail.
            os.rename(target, replaced)
            try:
                os.rename(partial, target)
            except BaseException:
                os.rename(replaced, target)
                raise
        else:
            os.rename(partial, target)
        _sync_directory(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)


def recover_bundle(target: Path) -> None:
    """Clear away what a killed process left of the bundle; bring the old one back if it died between two renames."""
    for kind in ("replaced", "partial"):
        for leftover in target.parent.glob(f".{target.name}.{kind}-*"):
            process = leftover.name.rpartition("-")[2]
            if process.isdigit() and int(process) != os.getpid() and _alive(int(process)):
                continue
            if kind == "replaced" and not target.exists():
                os.rename(leftover, target)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
