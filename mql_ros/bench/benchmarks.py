"""The benchmarks of `mql bench`, each number beside a baseline. Never tests: other work on the machine shows.

To add one, write a function that returns `BenchResult`s, or why there are none, and name it in `BENCHMARKS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mql_ros.bench.result import BenchResult
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path

if TYPE_CHECKING:
    from mql_ros.algorithm.experience.replay import Replay
    from mql_ros.algorithm.policy_bundle import PolicyBundle
    from mql_ros.algorithm.td3 import TD3Learner
    from mql_sim.environment import GraspTask

SIMULATOR_GOAL = 40.0
"""Simulated seconds per CPU second with contacts."""
ACTION_GOAL = 0.3
"""Milliseconds."""
ADAPTATION_GOAL = 10.0
"""Seconds."""
PROTOTYPE_UPDATE = 1000.0 / 135.0
"""Milliseconds of an update in the prototype that came before this project, on another machine."""
OBJECTS = ("mug", "bottle", "can")
NEW_TRIALS = 20


class Subject:
    """What is measured: made when first needed, so that each benchmark pays for what it uses."""

    def __init__(self, bundle: str | None, decisions: int = 1) -> None:
        self._bundle = bundle
        self.decisions = decisions

    @cached_property
    def bundle(self) -> PolicyBundle | None:
        """The policy bundle: the one that was asked for, else the shipped one, else None."""
        from mql_ros.algorithm.policy_bundle import load_bundle

        if self._bundle is not None:
            return load_bundle(self._bundle)
        try:
            return load_bundle(share_path("models", "grasp"))
        except UserError:
            return None

    @cached_property
    def task(self) -> GraspTask:
        """The simulated task."""
        from mql_ros.grasping.robot.profile import load_profile
        from mql_sim.environment import GraspTask

        return GraspTask(load_profile("panda"))

    @cached_property
    def history_blocks(self) -> int:
        """Trials that the context sees."""
        return self.bundle.history_blocks if self.bundle else self._training.history_blocks

    @cached_property
    def learner(self) -> TD3Learner:
        """The bundle's learner, or an untrained one of the size that training configures."""
        from mql_ros.algorithm.networks import NetworkConfig
        from mql_ros.algorithm.td3 import TD3Config, TD3Learner
        from mql_ros.grasping.task import spaces

        if self.bundle:
            return self.bundle.make_learner()
        network = NetworkConfig(spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, **self._training.network)
        return TD3Learner(network, TD3Config(**self._training.td3))

    @property
    def has_replay(self) -> bool:
        """Whether there is a bundle that carries its meta-training data."""
        from mql_ros.algorithm.policy_bundle import REPLAY

        return self.bundle is not None and REPLAY in self.bundle.files

    @cached_property
    def replay(self) -> Replay:
        """The bundle's replay, or one of the same kind with made-up numbers: the time does not depend on them."""
        from mql_ros.algorithm.experience.replay import Replay
        from mql_ros.algorithm.experience.session import Session
        from mql_ros.grasping.task import spaces

        if self.has_replay and self.bundle:
            return self.bundle.make_replay()
        rng = np.random.default_rng(0)
        length = self._training.trials_per_session * spaces.DECISIONS_PER_TRIAL
        done = np.arange(length) % spaces.DECISIONS_PER_TRIAL == spaces.DECISIONS_PER_TRIAL - 1
        sessions = [
            Session(
                task=f"object-{number % 100}",
                observation=rng.normal(size=(length, spaces.OBSERVATION_SIZE)).astype(np.float32),
                action=rng.uniform(-1, 1, size=(length, spaces.ACTION_SIZE)).astype(np.float32),
                reward=rng.normal(size=length).astype(np.float32),
                next_observation=rng.normal(size=(length, spaces.OBSERVATION_SIZE)).astype(np.float32),
                done=done,
                terminal=done,
                block=np.arange(length) // spaces.DECISIONS_PER_TRIAL,
            )
            for number in range(200)
        ]
        return Replay.of(sessions, spaces.OBSERVATION_SIZE, spaces.ACTION_SIZE, self.history_blocks)

    @cached_property
    def batch_blocks(self) -> int:
        """Trials in a batch."""
        return self._training.batch_blocks

    @cached_property
    def _training(self) -> Any:
        from mql_ros.training.grasping.config import load_training_config

        return load_training_config(str(share_path("config", "training", "grasp.yaml")))


def simulator_speed(subject: Subject, trials: int = 12) -> list[BenchResult]:
    """Scripted grasps, so that the fingers hold something for much of the time."""
    from mql_sim.expert import expert_action
    from mql_sim.objects.catalogue import find_object

    task, specs = subject.task, [find_object(name) for name in OBJECTS]
    with _counted(task.world) as steps:
        cpu = time.process_time()
        count = 0
        for seed, spec in enumerate(specs):
            task.set_object(spec, seed)
            for _ in range(max(1, trials // len(specs))):
                observation, done = task.begin_trial(), False
                while not done:
                    observation, _, done = task.decide(expert_action(spec, observation))
                count += 1
        cpu = time.process_time() - cpu
    period = task.world.profile.control_period
    simulated = len(steps) * period
    speed = simulated / sum(steps)
    at_goal = 1000.0 * simulated / count / SIMULATOR_GOAL
    return [
        BenchResult("simulator_speed", speed, "simulated s / CPU s", SIMULATOR_GOAL, "goal", higher_is_better=True),
        BenchResult("trial", 1000.0 * cpu / count, "CPU ms", at_goal, "its simulated time at the simulator's goal"),
    ]


@contextmanager
def _counted(world: Any) -> Iterator[list[float]]:
    """CPU seconds of each control period that the world simulates in the meantime."""
    steps: list[float] = []
    advance = world.advance

    def counted(*arguments: Any) -> Any:
        start = time.process_time()
        result = advance(*arguments)
        steps.append(time.process_time() - start)
        return result

    world.advance = counted
    try:
        yield steps
    finally:
        del world.advance


def action_time(subject: Subject, actions: int = 1500) -> list[BenchResult]:
    """One decision as on the robot: the step that ended goes into the context, the actor acts on it."""
    from mql_ros.algorithm.context import ContextTracker
    from mql_ros.grasping.task import spaces

    learner = subject.learner
    tracker = ContextTracker(learner.encoder, subject.history_blocks, spaces.ACTION_SIZE, spaces.OBSERVATION_SIZE)
    rng = np.random.default_rng(0)
    observation = rng.uniform(-1, 1, size=spaces.OBSERVATION_SIZE).astype(np.float32)
    action = learner.act(observation, tracker.context)
    times = []
    for k in range(actions):
        done = k % spaces.DECISIONS_PER_TRIAL == spaces.DECISIONS_PER_TRIAL - 1
        start = time.perf_counter()
        context = tracker.append(action, 0.1, observation, done)
        action = learner.act(observation, context)
        times.append(1000.0 * (time.perf_counter() - start))
    first = times[spaces.DECISIONS_PER_TRIAL * subject.history_blocks :]
    # The window rolls on at the end of a trial: then its trials are encoded anew.
    rolling = [t for k, t in enumerate(first) if k % spaces.DECISIONS_PER_TRIAL == spaces.DECISIONS_PER_TRIAL - 1]
    return [
        BenchResult("action", float(np.median(first)), "ms, median", ACTION_GOAL, "goal"),
        BenchResult("action_after_trial", float(np.median(rolling)), "ms, median", ACTION_GOAL, "goal of the median"),
    ]


def update_time(subject: Subject, updates: int = 40) -> list[BenchResult]:
    """A TD3 update with drawing its batch; every second one updates the actor too."""
    learner, rng, times = subject.learner, np.random.default_rng(0), []
    state = learner.state_dict()
    for _ in range(updates + 4):
        start = time.process_time()
        learner.update(subject.replay.sample(subject.batch_blocks, rng))
        times.append(1000.0 * (time.process_time() - start))
    learner.load_state_dict(state)
    return [BenchResult("update", float(np.mean(times[4:])), "CPU ms, mean", PROTOTYPE_UPDATE, "earlier prototype")]


def adaptation_time(subject: Subject) -> list[BenchResult] | str:
    """One whole adaptation to the bottle, with the settings of the demo."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    if not subject.has_replay:
        return f"the bundle {subject.bundle.path} carries no replay, which adaptation needs"
    from mql_ros.algorithm.adaptation.adapt import adapt
    from mql_ros.algorithm.adaptation.config import load_adaptation
    from mql_ros.algorithm.experience.replay import Replay
    from mql_ros.grasping.learning.grasp_search import GraspSearch, successful_grasps
    from mql_ros.grasping.learning.hindsight import labelled
    from mql_ros.grasping.learning.symmetry import shifted_sessions
    from mql_ros.rollouts.rollout import PolicyAgent, run_session
    from mql_sim.objects.catalogue import find_object

    settings, exploration = load_adaptation()
    learner = subject.bundle.make_learner()
    meta = subject.replay
    guide = GraspSearch(successful_grasps(meta.sessions()), 0)
    agent = PolicyAgent(learner, subject.history_blocks, replace(exploration, recall=0.0), guide=guide)
    session = labelled(run_session(subject.task, find_object("bottle"), 0, NEW_TRIALS, agent))
    new = Replay.of([session], *meta.sizes)
    # Without overlap most of the work would be skipped: measure all of it.
    settings = replace(settings, overlap_threshold=1.0)
    start = time.process_time()
    adapt(learner, meta, new, settings, shifted_sessions)
    return [BenchResult("adaptation", time.process_time() - start, "CPU s", ADAPTATION_GOAL, "goal")]


def graph(subject: Subject) -> list[BenchResult] | str:
    """The five nodes as processes over DDS."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    from mql_ros.bench.graph import MEMORY_GOAL, READY_GOAL, graph_figures

    figures = graph_figures(str(subject.bundle.path.absolute()))
    in_process = simulator_speed(subject, trials=6)[1].value
    return [
        BenchResult("graph_ready", figures["ready"], "s", READY_GOAL, "goal"),
        BenchResult("graph_trial", figures["trial"], "ms", in_process, "CPU time of a scripted trial in one process"),
        BenchResult("graph_memory", figures["memory"], "GB, peak", MEMORY_GOAL, "goal"),
    ]


def loop(subject: Subject) -> list[BenchResult] | str:
    """Latency of a decision, memory and load of the nodes."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    from mql_ros.bench.graph import loop_figures

    return loop_figures(str(subject.bundle.path.absolute()))


def deadlines(subject: Subject) -> list[BenchResult] | str:
    """Contexts that come too late, beside a busy process."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    from mql_ros.bench.graph import deadline_figures

    return deadline_figures(str(subject.bundle.path.absolute()), subject.decisions)


def learning(name: str) -> Callable[[Subject], list[BenchResult]]:
    """A benchmark of the algorithm alone, from `bench.learning`, which imports torch: only once it is run."""

    def benchmark(subject: Subject) -> list[BenchResult]:
        from mql_ros.bench import learning as bench_learning

        measured: list[BenchResult] = getattr(bench_learning, name)(subject)
        return measured

    return benchmark


LEARNING = ("update_published_sizes", "adaptation_published_sizes", "replay_memory", "scaling", "plain_torch")

BENCHMARKS: dict[str, Callable[[Subject], list[BenchResult] | str]] = {
    "simulator": simulator_speed,
    "action": action_time,
    "update": update_time,
    "adaptation": adaptation_time,
    **{name: learning(name) for name in LEARNING},
    "graph": graph,
    "loop": loop,
    "deadlines": deadlines,
}


def measure(subject: Subject, names: Sequence[str] | None) -> list[BenchResult]:
    """Run these benchmarks, or all of them; print why one has no numbers."""
    results: list[BenchResult] = []
    for name, benchmark in BENCHMARKS.items():
        if names and name not in names:
            continue
        outcome = benchmark(subject)
        if isinstance(outcome, str):
            print(f"{name}: {outcome}")
        else:
            results += outcome
    return results
