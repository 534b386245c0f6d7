"""Benchmarks of the whole graph: separate processes over DDS, in lockstep, with one adaptation."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

READY_GOAL = 8.0
"""Seconds from launch to the first motion."""
MEMORY_GOAL = 3.0
"""GB in all processes together."""
TRIALS = 10


def graph_figures(bundle: str) -> dict[str, float]:
    """Seconds until the graph is ready, milliseconds a trial, and the peak memory of all processes in GB.

    Memory is the proportional set size, which counts a page that processes share once.
    """
    from mql_ros.ros.bringup.client import GraphClient
    from mql_ros.ros.bringup.processes import Domain, GraphProcesses, check_ros

    check_ros()
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as logs,
        Domain(),
        GraphProcesses({"lockstep": True, "bundle": bundle}, logs) as processes,
        GraphClient(processes) as graph,
        _peak_memory() as peak,
    ):
        graph.wait_until_ready()
        ready = time.monotonic() - start
        graph.set_parameters("arm_simulator", object="bottle", seed=1)
        begun = time.monotonic()
        graph.run_trials(TRIALS, new_session=True)
        trial = (time.monotonic() - begun) / TRIALS
        graph.adapt()
    return {"ready": ready, "trial": 1000.0 * trial, "memory": max(peak) / 1e9}


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Memory of this process and all its descendants in bytes, sampled all the while."""
    totals, over = [0.0], threading.Event()

    def sample() -> None:
        own = psutil.Process(os.getpid())
        while not over.wait(0.2):
            total = 0.0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            totals.append(total)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield totals
    finally:
        over.set()
        thread.join()
