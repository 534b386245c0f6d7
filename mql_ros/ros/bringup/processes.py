"""The nodes as processes without `ros2 launch`, in a ROS domain of their own (no rclpy)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

import yaml

from mql_ros.core.errors import UserError
from mql_ros.ros.base.child_process import EXIT_WITH_PARENT
from mql_ros.ros.base.parameters import Value, parameters_of, unknown_parameter
from mql_ros.ros.bringup.node_table import OWN_GRAPH, NodeEntry, implied_parameters, nodes_of

DOMAINS = range(1, 101)
DOMAIN_PORT = 28_100
"""Loopback port of domain 0; a process that uses a domain binds its port."""
STOP_SECONDS = {signal.SIGINT: 10.0, signal.SIGTERM: 3.0, signal.SIGKILL: 3.0}
"""Time limit for a node to end after each signal, s."""


def check_ros() -> None:
    """Raise UserError, with what to install, if rclpy or the middleware is missing."""
    how = (
        "source the setup file of a ROS 2 distribution, or install the ROS 2 wheels: pip install 'mql_ros[ros]' "
        "(or `make setup`)"
    )
    if find_spec("rclpy") is None:
        raise UserError(f"ROS 2 is missing: the Python package 'rclpy' was not found; {how}")
    probe = "import rclpy; rclpy.init(); rclpy.create_node('mql_probe').destroy_node(); rclpy.shutdown()"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        if wanted := os.environ.get("RMW_IMPLEMENTATION"):
            raise UserError(
                f"ROS 2 does not start with the middleware {wanted}, which RMW_IMPLEMENTATION names; install it, or "
                f"unset RMW_IMPLEMENTATION to use the default one; {how}"
            )
        reason = next((line for line in reversed(result.stderr.splitlines()) if line.strip()), "no reason given")
        raise UserError(f"ROS 2 does not start ({reason.strip()[:200]}); {how}")


class Domain:
    """A ROS domain that no other process of this kind on this machine uses, in this process's environment.

    A ROS_DOMAIN_ID that is set already is kept. Discovery stays on this machine unless the environment widens it.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        if os.environ.get("ROS_DISTRO") == "humble":  # knows only the older name, which the newer ones warn about
            os.environ.setdefault("ROS_LOCALHOST_ONLY", "1")
        if "ROS_DOMAIN_ID" in os.environ:
            return
        for number in DOMAINS:
            claim = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                claim.bind(("127.0.0.1", DOMAIN_PORT + number))
            except OSError:
                claim.close()
                continue
            self._socket = claim
            os.environ["ROS_DOMAIN_ID"] = str(number)
            return
        raise UserError("no ROS domain is free (1 to 100 are in use here); choose one: export ROS_DOMAIN_ID=101")

    def __enter__(self) -> Domain:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Release the domain."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            os.environ.pop("ROS_DOMAIN_ID", None)


class GraphProcesses:
    """The nodes of the graph as processes of their own, each in its own process group; a context manager.

    `given` are parameters by name; each node gets those that it has. What the nodes print goes to files in
    `log_directory`. Leaving the context stops every process: SIGINT, then SIGTERM, then SIGKILL.
    """

    def __init__(
        self, given: Mapping[str, Value], log_directory: str | Path, *, sim: bool = True, namespace: str = ""
    ) -> None:
        if (complaint := unknown_parameter(given)) is not None:
            raise UserError(complaint)
        self._entries = nodes_of(sim)
        self._parameters = {
            entry.name: implied_parameters(entry.name, sim) | parameters_of(entry.name, given)
            for entry in self._entries
        }
        self._logs = Path(log_directory).absolute()
        self._namespace = namespace
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.exit_codes: dict[str, int] = {}
        """By node name, once stopped: 0 is a clean exit, -9 a process that had to be killed."""

    @property
    def pids(self) -> dict[str, int]:
        """Process numbers of the nodes that were started."""
        return {name: process.pid for name, process in self._processes.items()}

    def start(self) -> None:
        """Start all processes; returns at once (`GraphClient.wait_until_ready` waits)."""
        self._logs.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, EXIT_WITH_PARENT: str(os.getpid()), "ROS_LOG_DIR": str(self._logs / "ros")}
        # One thread each: small networks only lose by more, and there are more processes than cores.
        environment.setdefault("OMP_NUM_THREADS", "1")
        for entry in self._entries:
            with open(self.log_file(entry.name), "wb") as log:
                self._processes[entry.name] = subprocess.Popen(
                    self._command(entry),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True,
                )  # fmt: skip

    def log_file(self, name: str) -> Path:
        """Return the file of a node's output."""
        return self._logs / f"{name}.log"

    def _command(self, entry: NodeEntry) -> list[str]:
        file = self._logs / f"{entry.name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": self._parameters[entry.name]}}))
        command = [sys.executable, "-m", entry.module, "--ros-args", "--params-file", str(file)]
        if self._namespace:
            command += ["-r", f"__ns:=/{self._namespace.strip('/')}"]
            command += [word for old, new in OWN_GRAPH.items() for word in ("-r", f"{old}:={new}")]
        return command

    def check(self) -> None:
        """Raise UserError, with its last line of output, if a node has ended by itself."""
        for name, process in self._processes.items():
            if (code := process.poll()) is not None:
                lines = self.log_file(name).read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
                raise UserError(f"the node {name} has ended with code {code}: {lines[-1]} (see {self.log_file(name)})")

    def stop(self) -> dict[str, int]:
        """Stop all processes; return the exit codes of all, also of those that had ended already."""
        for number, seconds in STOP_SECONDS.items():
            running = [process for process in self._processes.values() if process.poll() is None]
            for process in running:
                os.killpg(process.pid, number)
            deadline = time.monotonic() + seconds
            for process in running:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
        self.exit_codes = {name: process.returncode for name, process in self._processes.items()}
        return self.exit_codes

    def __enter__(self) -> GraphProcesses:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
