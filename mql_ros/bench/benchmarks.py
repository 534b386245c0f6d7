"""The benchmarks of `mql bench`, each number beside a baseline. Never tests: other work on the machine shows.

To add one, write a function that returns `BenchResult`s, or why there are none, and name it in `BENCHMARKS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mql_ros.bench.result import BenchResult
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path

if TYPE_CHECKING:
    from mql_ros.algorithm.experience.replay import Replay
    from mql_ros.algorithm.experience.session import Session
    from mql_ros.algorithm.policy_bundle import PolicyBundle
    from mql_ros.algorithm.q_learning import QLearner
    from mql_ros.rollouts.rollout import Agent, PolicyAgent
    from mql_ros.training.grasping.config import TrainingConfig
    from mql_sim.environment import GraspTask

TRIAL_GOAL = 60.0
"""CPU milliseconds of a trial in the simulator, with perception and policy."""
PERCEPTION_GOAL = 20.0
"""Milliseconds from a depth image of 640 x 480 to the height map."""
DECISION_GOAL = 30.0
"""Milliseconds."""
UPDATE_GOAL = 250.0
"""CPU milliseconds of an update, with drawing its batch: 4,100 of them in 20 min leave time to collect."""
ADAPTATION_GOAL = 10.0
"""CPU seconds."""
OBJECTS = ("random-800", "random-820", "random-840", "random-860")
"""Development objects."""


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
        return self.bundle.history_blocks if self.bundle else self.training.history_blocks

    @cached_property
    def learner(self) -> QLearner:
        """The bundle's learner, or an untrained one of the size that training configures."""
        from mql_ros.algorithm.q_learning import QLearningConfig
        from mql_ros.grasping.learning.grasp_policy import grasp_learner, grasp_learner_of
        from mql_ros.grasping.learning.networks import GraspNetworkConfig

        if self.bundle:
            return grasp_learner_of(self.bundle)
        training = self.training
        return grasp_learner(GraspNetworkConfig(**training.network), QLearningConfig(**training.learning))

    def session(self, agent: Agent, number: int) -> Session:
        """A session of `trials_per_session` trials on the development object of a number."""
        from mql_ros.rollouts.rollout import run_session
        from mql_sim.objects.catalogue import thing_of_session

        thing = thing_of_session(OBJECTS[number], number)
        session = run_session(self.task, thing, number, self.training.trials_per_session, agent)
        assert session is not None
        return session

    def policy(self) -> PolicyAgent:
        """The policy in a new session."""
        from mql_ros.rollouts.rollout import PolicyAgent

        return PolicyAgent(self.learner, self.history_blocks)

    @property
    def has_replay(self) -> bool:
        """Whether there is a bundle that carries its meta-training data."""
        from mql_ros.algorithm.policy_bundle import REPLAY

        return self.bundle is not None and REPLAY in self.bundle.files

    @cached_property
    def replay(self) -> Replay:
        """The bundle's replay, or one of the scripted explorer's sessions, each stored many times."""
        from mql_ros.grasping.learning.baselines import Scripted
        from mql_ros.training.grasping.meta_training import replay_of

        if self.has_replay and self.bundle:
            return self.bundle.make_replay()
        sessions = [self.session(Scripted(seed), seed) for seed in range(len(OBJECTS))]
        return replay_of(sessions * 10, self.history_blocks)

    @cached_property
    def training(self) -> TrainingConfig:
        """The settings of the shipped policy's training."""
        from mql_ros.training.grasping.config import load_training_config

        return load_training_config(str(share_path("config", "training", "grasp.yaml")))


def trial_time(subject: Subject) -> list[BenchResult]:
    """CPU time of a trial with the policy, and what perception and decisions take of it."""
    from mql_sim.objects.catalogue import thing_of_session

    for number, name in enumerate(OBJECTS):
        thing_of_session(name, number)  # reading a mesh is no part of a trial
    trials = len(OBJECTS) * subject.training.trials_per_session
    task, agents = subject.task, [subject.policy() for _ in OBJECTS]
    with counted(task, "look") as looks, counted(task.world, "advance") as periods, ExitStack() as stack:
        decisions = [stack.enter_context(counted(agent, "act")) for agent in agents]
        cpu = time.process_time()
        for number, agent in enumerate(agents):
            subject.session(agent, number)
        cpu = 1000.0 * (time.process_time() - cpu) / trials
    simulated = 1000.0 * len(periods) * task.world.profile.control_period / trials
    parts = {"physics": sum(periods), "camera_and_perception": sum(looks), "decisions": sum(map(sum, decisions))}
    return [
        BenchResult("trial", cpu, "CPU ms", TRIAL_GOAL, "goal"),
        BenchResult("trial_speed", simulated / cpu, "simulated s / CPU s", 1.0, "real time", higher_is_better=True),
        *(
            BenchResult(f"trial_{name}", part / trials, "CPU ms", cpu, "the whole trial")
            for name, part in parts.items()
        ),
    ]


@contextmanager
def counted(owner: Any, method: str) -> Iterator[list[float]]:
    """CPU milliseconds of each call of an object's method in the meantime."""
    taken: list[float] = []
    call = getattr(owner, method)

    def timed(*arguments: Any) -> Any:
        start = time.process_time()
        result = call(*arguments)
        taken.append(1000.0 * (time.process_time() - start))
        return result

    setattr(owner, method, timed)
    try:
        yield taken
    finally:
        delattr(owner, method)


def perception_time(subject: Subject, images: int = 40) -> list[BenchResult]:
    """From a depth image of 640 x 480 pixels that shows one object to its height map."""
    from mql_ros.grasping.perception.camera import CameraModel
    from mql_ros.grasping.perception.height_map import see
    from mql_sim.camera import DepthNoise, measured, render
    from mql_sim.objects.catalogue import thing_of_session

    scene = subject.task.scene
    scene.set_thing(thing_of_session(OBJECTS[0], 0), 0)
    scene.reset()
    camera = CameraModel(640, 480, 600.0, 600.0, 319.5, 239.5, scene.world.profile.camera.pose)
    depth = measured(render(camera, [scene.world.surface()]), camera, DepthNoise(), np.random.default_rng(0))
    times = []
    for _ in range(images):
        start = time.perf_counter()
        see(depth, camera, scene.workspace, 0.0)
        times.append(1000.0 * (time.perf_counter() - start))
    return [BenchResult("perception_640x480", float(np.median(times)), "ms, median", PERCEPTION_GOAL, "goal")]


def decision_time(subject: Subject) -> list[BenchResult]:
    """One decision: proposals, their values, and taking what came of it into the context; PLACE is the longest."""
    agent = subject.policy()
    with counted(agent, "act") as acting, counted(agent, "learn") as learning:
        subject.session(agent, 0)
    whole = np.array(acting) + np.array(learning)
    return [
        BenchResult("decision", float(np.median(whole)), "CPU ms, median", DECISION_GOAL, "goal"),
        BenchResult("decision_place", float(np.median(whole[::3])), "CPU ms, median", DECISION_GOAL, "goal"),
        BenchResult("decision_longest", float(whole.max()), "CPU ms", DECISION_GOAL, "goal of the median"),
    ]


def update_time(subject: Subject, updates: int = 6) -> list[BenchResult]:
    """An update of training with drawing its batch of whole sessions."""
    learner, rng, times = subject.learner, np.random.default_rng(0), []
    training, state = subject.training, learner.state_dict()
    for _ in range(updates + 1):
        start = time.process_time()
        learner.update(subject.replay.sample_sessions(training.batch_sessions, rng, training.shuffled))
        times.append(1000.0 * (time.process_time() - start))
    learner.load_state_dict(state)
    return [BenchResult("update", float(np.mean(times[1:])), "CPU ms, mean", UPDATE_GOAL, "goal")]


def adaptation_time(subject: Subject) -> list[BenchResult] | str:
    """One whole adaptation to the trials of one session, with the settings of the demo."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    if not subject.has_replay:
        return f"the bundle {subject.bundle.path} carries no replay, which adaptation needs"
    from mql_ros.algorithm.adaptation.adapt import adapt
    from mql_ros.algorithm.adaptation.config import load_adaptation
    from mql_ros.training.grasping.meta_training import replay_of

    learner, state = subject.learner, subject.learner.state_dict()
    new = replay_of([subject.session(subject.policy(), 0)], subject.history_blocks)
    # Without overlap most of the work would be skipped: measure all of it.
    settings = replace(load_adaptation(), overlap_threshold=1.0)
    start = time.process_time()
    adapt(learner, subject.replay, new, settings)
    taken = time.process_time() - start
    learner.load_state_dict(state)
    return [BenchResult("adaptation", taken, "CPU s", ADAPTATION_GOAL, "goal")]


def graph(subject: Subject) -> list[BenchResult] | str:
    """The five nodes as processes over DDS."""
    if subject.bundle is None:
        return "no bundle: train one, or name one with --bundle"
    from mql_ros.bench.graph import MEMORY_GOAL, READY_GOAL, graph_figures

    figures = graph_figures(str(subject.bundle.path.absolute()))
    in_process = trial_time(subject)[0].value
    return [
        BenchResult("graph_ready", figures["ready"], "s", READY_GOAL, "goal"),
        BenchResult("graph_trial", figures["trial"], "ms", in_process, "CPU time of a trial in one process"),
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
    "trial": trial_time,
    "perception": perception_time,
    "decision": decision_time,
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
