"""Benchmarks of the whole graph as processes over DDS: trials and memory, the decision loop, the context's deadline.

The decision loop stands beside bare rclpy processes that pass a message on as often; deadlines beside a process that
is never idle.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from scipy import stats

from mql_ros.bench.result import BenchResult

if TYPE_CHECKING:
    from mql_ros.ros.bringup.client import GraphClient

READY_GOAL = 8.0
"""Seconds from launch to the first motion."""
MEMORY_GOAL = 3.0
"""GB in all processes together."""
TRIALS = 10
HOPS = 5
"""Messages on the way: joint_states, grasp_reward, transition, context, joint trajectory."""
LOOP_TRIALS = 100
PINGS = 500
FIRST_MOTION_GOAL = 8.0
"""Seconds."""
LOOP_GOAL = 20.0
"""Milliseconds, 99th percentile."""
LOAD_RATE, LOAD_SECONDS, LOAD_GOAL = 500.0, 10.0, 25.0
"""joint_states a second; how long; and percent of a core that policy_server may take for them."""
DEADLINE_GOAL = 0.1
"""Percent of the decisions."""
SESSION_TRIALS = 50
CONFIDENCE = 0.95
NEIGHBOUR = "while True: pass"


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


def loop_figures(bundle: str) -> list[BenchResult]:
    """The decision loop, bare processes, memory of each node, the first motion, and the load of a fast driver."""
    from mql_ros.ros.bringup.client import GraphClient
    from mql_ros.ros.bringup.processes import Domain, GraphProcesses, check_ros

    check_ros()
    with Domain(), tempfile.TemporaryDirectory() as logs:
        start = time.monotonic()
        with (
            GraphProcesses({"lockstep": True, "bundle": bundle}, logs) as graph,
            GraphClient(graph) as client,
        ):
            client.wait_until_ready()
            client.start(new_session=True)
            client.wait_for(lambda: client.counts["arm_controller/joint_trajectory"], 20.0, "the first motion")
            first_motion = time.monotonic() - start
            client.wait_for(lambda: client.state["state"] == "idle", 60.0, "the end of the first trials")
            loop = percentiles(decision_loop(client))
            memory = memory_of(graph.pids)
        bare = percentiles(ping_pong())
        with (
            GraphProcesses({"bundle": bundle}, logs, sim=False) as graph,
            GraphClient(graph) as client,
        ):
            client.wait_until_ready(sim=False)
            load = load_of(graph.pids["policy_server"])
    hops = f"{HOPS} hops through bare rclpy processes"
    return [
        BenchResult("decision_loop_p50", loop[0], "ms", bare[0], hops),
        BenchResult("decision_loop_p99", loop[1], "ms", bare[1], f"{hops}; the goal is half of that ratio"),
        BenchResult("decision_loop_p99_limit", loop[1], "ms", LOOP_GOAL, "goal"),
        BenchResult("joint_states_500_hz", load, "% of a core in policy_server", LOAD_GOAL, "goal"),
        BenchResult("first_motion", first_motion, "s from launch", FIRST_MOTION_GOAL, "goal"),
        *(BenchResult(f"memory_{name}", size, "MB", size, "none: reported") for name, size in memory.items()),
    ]


class LoopProbe:
    """Records when a decision's last measurement and its answer, the next decision's first trajectory, arrive."""

    def __init__(self, client: GraphClient) -> None:
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory

        from mql_ros.ros.base.qos import RELIABLE

        self._measured: dict[int, float] = {}
        self._answered: dict[int, float] = {}
        for kind, topic, times in (
            (JointState, "joint_states", self._measured),
            (JointTrajectory, "arm_controller/joint_trajectory", self._answered),
        ):
            client.node.create_subscription(kind, topic, self._taker(times), RELIABLE)

    def _taker(self, times: dict[int, float]) -> Any:
        from mql_ros.ros.messages.encoding import nanoseconds

        return lambda message: times.setdefault(nanoseconds(message.header.stamp), time.perf_counter())

    def milliseconds(self, stamps: list[float]) -> list[float]:
        """From the measurement of each stamp (s) to its answer, where both were received."""
        keys = [round(stamp * 1e9) for stamp in stamps]
        found = [key for key in keys if key in self._measured and key in self._answered]
        return [1000.0 * (self._answered[key] - self._measured[key]) for key in found]


def decision_loop(client: GraphClient) -> list[float]:
    """Milliseconds of each decision from its last measurement to the next decision's trajectory, in lockstep."""
    probe = LoopProbe(client)
    steps = client.run_trials(LOOP_TRIALS, new_session=True)
    return probe.milliseconds([step.stamp for step in steps if not step.done])


def ping_pong() -> list[float]:
    """Milliseconds for HOPS hops through three bare processes, in the shape of the decision loop."""
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.node import Node
    from std_msgs.msg import Float64MultiArray

    from mql_ros.bench.ping_pong import RELIABLE

    ways = (["hop0", "hop1"], ["hop1", "hop2", "hop3", "hop4"], ["hop2", "hop3"])
    context = Context()
    rclpy.init(context=context)
    node, executor = Node("ping", context=context), SingleThreadedExecutor(context=context)
    executor.add_node(node)
    back: list[float] = []
    node.create_subscription(Float64MultiArray, "hop4", lambda message: back.append(time.perf_counter()), RELIABLE)
    publisher = node.create_publisher(Float64MultiArray, "hop0", RELIABLE)
    message = Float64MultiArray(data=[0.0] * 64)
    took: list[float] = []
    try:
        with processes([["relay", *way] for way in ways]):
            while len(took) < PINGS:
                before, sent = len(back), time.perf_counter()
                publisher.publish(message)
                while len(back) == before and time.perf_counter() - sent < 1.0:
                    executor.spin_once(timeout_sec=0.1)
                if len(back) > before and back[-1] > sent:  # the first ones are lost until all are connected
                    took.append(1000.0 * (back[-1] - sent))
    finally:
        node.destroy_node()
        context.try_shutdown()
    return took[PINGS // 10 :]


def load_of(pid: int) -> float:
    """Percent of a core that a process takes while joint_states come LOAD_RATE times a second."""
    process = psutil.Process(pid)

    def used() -> float:
        times = process.cpu_times()
        return times.user + times.system

    with processes([["joint_states", str(LOAD_RATE)]]):
        time.sleep(2.0)
        begin, start = used(), time.perf_counter()
        time.sleep(LOAD_SECONDS)
        return 100.0 * (used() - begin) / (time.perf_counter() - start)


def memory_of(pids: dict[str, int]) -> dict[str, float]:
    """Proportional set size of each process, MB."""
    return {name: psutil.Process(pid).memory_full_info().pss / 1e6 for name, pid in pids.items()}


def percentiles(values: list[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return float(np.percentile(values, 50)), float(np.percentile(values, 99))


@contextmanager
def processes(commands: list[list[str]]) -> Iterator[None]:
    """Run `mql_ros.bench.ping_pong` with these arguments, and end them."""
    module = [sys.executable, "-m", "mql_ros.bench.ping_pong"]
    running = [subprocess.Popen([*module, *command]) for command in commands]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(10)


def deadline_figures(bundle: str, decisions: int) -> list[BenchResult]:
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
    return [BenchResult("missed_context_deadlines", bound, what, DEADLINE_GOAL, "goal, beside a busy process")]


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
