"""A child process that is looked at now and then instead of waited for (knows no rclpy)."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mql_ros.core.errors import EXIT_USER_ERROR


class ChildProcess:
    """One process in a group of its own; it learns from its standard input when this process is gone."""

    def __init__(self, command: Sequence[str], log: Path, deadline: float) -> None:
        """What it prints goes to `log`; `deadline` is the time (s) at which `poll` gives it up."""
        self._log = log
        self._deadline = deadline
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def poll(self, now: float) -> str | None:
        """None while it works; "" when it has ended well; otherwise what went wrong."""
        code = self._process.poll()
        if code is None and now < self._deadline:
            return None
        if code is None:
            self.kill()
            return "it took too long and was stopped"
        if code == 0:
            return ""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        if code == EXIT_USER_ERROR and lines:
            return lines[-1]
        return f"its process ended with code {code}: {' '.join(lines[-1:]) or 'it said nothing'}"

    def kill(self) -> None:
        """End it now."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
