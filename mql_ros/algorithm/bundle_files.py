"""A policy bundle as files: its manifest with the hash of every file, checked when read, written all or nothing.

    manifest.json           schema, specifications, configurations, seeds, measurements, SHA-256 of every other file
    weights.safetensors     the networks of the learner, targets included
    optimizer.safetensors   moments of the optimisers and the generator; their settings in optimizer.json
    replay.safetensors      compact meta-training transitions

No pickle anywhere. Needs no torch: `policy_bundle` turns the files into a learner and a replay.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError
from mql_ros.core.files import new_directory, write_synced

SCHEMA = 1
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
OPTIMIZER = "optimizer.safetensors"
OPTIMIZER_SETTINGS = "optimizer.json"
REPLAY = "replay.safetensors"

_REQUIRED: dict[str, type] = {
    "learner": str, "network": dict, "learning": dict, "files": dict, "history_blocks": int, "robot": dict,
    "task": dict, "version": int, "training_objects": list,
}  # fmt: skip


@dataclass(frozen=True)
class BundleFiles:
    """Contents of a bundle whose manifest and hashes were checked."""

    path: Path
    manifest: dict[str, Any]
    hash: str
    """SHA-256 of the manifest, which holds those of all other files: the identity of the policy."""
    files: dict[str, bytes]
    """Contents of the other files by name, as they were checked."""


def read_bundle(path: str | os.PathLike[str]) -> BundleFiles:
    """Read a bundle and check its manifest and every hash. Raises UserError with one sentence on what is wrong."""
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
        raise broken(folder, f"{MANIFEST} is not valid JSON") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        raise UserError(
            f"Policy bundle {folder} has schema {schema!r}; expected {SCHEMA}; "
            "train it anew with this version, or use the version that wrote it."
        )
    missing = [name for name, kind in _REQUIRED.items() if not isinstance(manifest.get(name), kind)]
    if missing or WEIGHTS not in manifest["files"]:
        raise broken(folder, f"{MANIFEST} lacks {', '.join(missing) or 'the list of files'}")
    files: dict[str, bytes] = {}
    for name, wanted in manifest["files"].items():
        if Path(name).name != name:
            raise broken(folder, f"{MANIFEST} names {name!r}, which is not a plain file name")
        try:
            files[name] = (folder / name).read_bytes()
        except OSError as error:
            raise broken(folder, f"{name} cannot be read ({error.strerror})") from error
        if hashlib.sha256(files[name]).hexdigest() != wanted:
            raise broken(folder, f"the contents of {name} do not fit the hash in {MANIFEST}")
    return BundleFiles(folder, manifest, hashlib.sha256(raw).hexdigest(), files)


def write_bundle(path: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> str:
    """Write a bundle in place of the one that may be there; return its hash.

    The manifest gets the schema and the hashes of the files. Everything goes to a temporary sibling, is flushed and
    renamed, so the bundle exists as a whole or not at all. Raises UserError when it cannot be written.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    text = json.dumps({**manifest, "schema": SCHEMA, "files": hashes}, indent=1, sort_keys=True, allow_nan=False) + "\n"
    try:
        with new_directory(path) as folder:
            for name, content in {**files, MANIFEST: text.encode()}.items():
                write_synced(folder / name, content)
    except OSError as error:
        raise UserError(
            f"Policy bundle {path} cannot be written ({error.strerror or error}); "
            "expected a writable place with room for it; choose another."
        ) from error
    return hashlib.sha256(text.encode()).hexdigest()


def broken(folder: Path, what: str) -> UserError:
    """Return the error that names what is damaged."""
    return UserError(f"Policy bundle {folder} is damaged: {what}; expected it as it was saved; copy or train it anew.")
