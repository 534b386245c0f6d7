"""Child processes: polled instead of waited for, and ended with their parent (no rclpy)."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mql_ros.core.errors import EXIT_USER_ERROR

EXIT_WITH_PARENT = "MQL_EXIT_WITH_PARENT"
"""Environment variable with a process number: a node ends when that process does, however that ends."""


def end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, if EXIT_WITH_PARENT names it.

    Raises KeyboardInterrupt if the parent has died already.
    """
    parent = os.environ.get(EXIT_WITH_PARENT)
    if not parent or not sys.platform.startswith("linux"):
        return
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):
        raise KeyboardInterrupt


class ChildProcess:
    """A process in a group of its own; its standard input closes when this process ends."""

    def __init__(self, command: Sequence[str], log: Path, deadline: float) -> None:
        """Start `command` with its output in the file `log`; `poll` kills it at the time `deadline`, s."""
        self._log = log
        self._deadline = deadline
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def poll(self, now: float) -> str | None:
        """Return None while it runs, "" after a success, or the error; `now` is the time, s."""
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
        return f"its process ended with code {code}: {' '.join(lines[-1:]) or 'it printed nothing'}"

    def kill(self) -> None:
        """Kill the process group now."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
