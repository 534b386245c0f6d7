"""Atomic writing of files and directories: as a whole or not at all, whenever the process is killed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError


def check_writable(path: str | None) -> None:
    """Raise UserError if a file cannot be written at `path`; call it before the work is done."""
    if path is None:
        return
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{path} is a directory; give the name of a file")
    if not file.absolute().parent.is_dir():
        raise UserError(f"{path} cannot be written: there is no directory {file.parent}; make it first")
    if not os.access(file.absolute().parent, os.W_OK):
        raise UserError(f"{path} cannot be written: the directory {file.parent} is read-only; choose another")


def write_json(path: str | Path, data: Any) -> None:
    """Write a JSON file with `write_bytes`; ValueError for NaN and infinity."""
    write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file with `write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name beside `path`, sync and rename it; raise UserError if that fails."""
    file = Path(path)
    partial = _beside(file, "partial")
    try:
        write_synced(partial, content)
        os.replace(partial, file)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place") from error
    finally:
        partial.unlink(missing_ok=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk holds it, for use within `new_directory`."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def new_directory(target: Path) -> Iterator[Path]:
    """Yield an empty directory beside `target` that replaces it if the block succeeds; remove it otherwise.

    Raises OSError if something cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, replaced = _beside(target, "partial"), _beside(target, "replaced")
    recover_directory(target)
    try:
        partial.mkdir()
        yield partial
        _sync_directory(partial)
        if target.exists():
            # A directory cannot be renamed over a full one: rename the old one first, and back on failure.
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


def recover_directory(target: Path) -> None:
    """Remove what a killed process left beside `target`; restore the old directory if it died between renames."""
    for kind in ("replaced", "partial"):
        for leftover in target.parent.glob(f".{target.name}.{kind}-*"):
            process = leftover.name.rpartition("-")[2]
            if process.isdigit() and int(process) != os.getpid() and _alive(int(process)):
                continue
            if kind == "replaced" and not target.exists():
                os.rename(leftover, target)
            else:
                shutil.rmtree(leftover, ignore_errors=True)


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


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
