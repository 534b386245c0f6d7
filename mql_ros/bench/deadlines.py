"""Benchmark of the context's deadline: how many decisions had to do without, beside a process that is never idle."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scipy import stats

from mql_ros.bench.measurement import Measurement

if TYPE_CHECKING:
    from mql_ros.ros.bringup.client import GraphClient

GOAL = 0.1
"""Percent of the decisions."""
SESSION_TRIALS = 50
CONFIDENCE = 0.95
NEIGHBOUR = "while True: pass"


def deadline_figures(bundle: str, decisions: int) -> list[Measurement]:
    """The part of at least so many decisions whose context came later than `context_deadline`, over DDS.

    In lockstep such a context is waited for all the same, and counted, so that the decisions follow each other at once.
    """
    from mql_ros.grasping.task import spaces
    from mql_ros.ros.bringup.client import GraphClient
    from mql_ros.ros.bringup.processes import Domain, GraphProcesses, check_ros

    check_ros()
    with (
        Domain(),
        tempfile.TemporaryDirectory() as logs,
        GraphProcesses({"lockstep": True, "bundle": bundle}, logs) as graph,
        GraphClient(graph) as client,
        busy_neighbour(),
    ):
        client.wait_until_ready()
        left = decisions
        while left > 0:
            trials = min(SESSION_TRIALS, -(-left // spaces.DECISIONS_PER_TRIAL))
            left -= len(client.run_trials(trials, new_session=True, seconds_per_trial=60.0))
        made = decisions - left
        missed = _missed(client, made)
    bound = 100.0 * float(stats.beta.ppf(CONFIDENCE, missed + 1, made - missed)) if missed < made else 100.0
    what = f"% of decisions, {CONFIDENCE:.0%} bound ({missed} of {made})"
    return [Measurement("missed_context_deadlines", bound, what, GOAL, "goal, beside a busy process")]


def _missed(client: GraphClient, decisions: int) -> int:
    def figures() -> dict[str, str]:
        return {value.key: value.value for value in client.diagnostics["policy_server"].values}

    client.wait_for(lambda: int(figures()["decisions"]) == decisions, 10.0, "the policy_server's figures")
    return int(figures()["missed_context_deadlines"])


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """A process that keeps a core busy."""
    with subprocess.Popen([sys.executable, "-c", NEIGHBOUR]) as process:
        try:
            yield
        finally:
            process.kill()
