"""What verbs write: JSON files, all or nothing, and plain tables."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mql_ros.core.errors import UserError


def check_writable(path: str | None) -> None:
    """Raise UserError before the work is done, not after it, when a file cannot be written there."""
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
    """Write a JSON file as a whole or not at all; UserError says why it cannot be written."""
    file = Path(path)
    text = json.dumps(data, indent=1, allow_nan=False) + "\n"
    partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
    try:
        with open(partial, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"{path} cannot be written ({error.strerror}); choose another place") from error


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows under their headings (the first row) with columns as wide as they must be; numbers to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    right = [all(row[k][:1].isdigit() or not row[k] for row in rows[1:]) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
