"""The folder of a training run: its configuration, its log, the points of its curve, and its checkpoints."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mql_ros.algorithm.learner import Learner
from mql_ros.algorithm.policy_bundle import PolicyBundle, load_bundle, save_bundle
from mql_ros.core.errors import UserError
from mql_ros.core.files import recover_directory, write_text


class RunFolder:
    """training.json, log.txt, curve.jsonl and a policy bundle for each checkpoint.

    A killed run continues from its checkpoints. All but the log are written atomically.
    """

    def __init__(
        self,
        path: Path,
        configuration: Mapping[str, Any],
        *,
        robot: str,
        task: Mapping[str, Any],
        may_change: tuple[str, ...] = (),
    ) -> None:
        """Claim the folder for a configuration; settings named in `may_change` may differ from an earlier run's.

        `robot` and `task` go into every bundle. Raises UserError if the folder holds a run with another configuration.
        """
        self.path = path
        self._contents: dict[str, Any] = {
            "robot": {"name": robot},
            "task": task,
            "training": configuration,
            "overwrite": True,
        }
        path.mkdir(parents=True, exist_ok=True)
        fixed = {name: value for name, value in configuration.items() if name not in may_change}
        record, text = path / "training.json", json.dumps(fixed, indent=2, sort_keys=True)
        if record.exists() and record.read_text() != text:
            raise UserError(
                f"{path} holds a training run with another configuration; choose another --out or remove it"
            )
        write_text(record, text)
        self._log, self._curve = path / "log.txt", path / "curve.jsonl"
        stamps = re.findall(r"^\[ *([\d.]+) s\]", self._log.read_text(), re.MULTILINE) if self._log.exists() else []
        self._started = time.monotonic() - (float(stamps[-1]) if stamps else 0.0)

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run, s; an interrupted run counts up to the last line of its log."""
        return time.monotonic() - self._started

    def log(self, line: str) -> None:
        """Print a line of progress and append it to log.txt."""
        stamped = f"[{self.seconds:8.1f} s] {line}"
        print(stamped, flush=True)
        with open(self._log, "a", encoding="utf-8") as log:
            log.write(stamped + "\n")

    def points(self) -> list[dict[str, Any]]:
        """Return the points of the curve, in order."""
        return [json.loads(line) for line in self._curve.read_text().splitlines()] if self._curve.exists() else []

    def add_point(self, position: str, point: Mapping[str, Any]) -> None:
        """Add a point at the count `point[position]` of the curve; drop points from there on.

        An interrupted run may have left points beyond its last checkpoint.
        """
        before = [row for row in self.points() if row[position] < point[position]]
        write_text(self._curve, "".join(json.dumps(row) + "\n" for row in [*before, point]))

    def save(self, name: str, learner: Learner, **contents: Any) -> None:
        """Write a policy bundle in place of the one of this name; `contents` go to `save_bundle`."""
        save_bundle(self.path / name, learner, **(self._contents | contents))

    def load(self, name: str) -> PolicyBundle | None:
        """Return the policy bundle of this name, or None if none was saved."""
        recover_directory(self.path / name)
        return load_bundle(self.path / name) if (self.path / name).exists() else None
