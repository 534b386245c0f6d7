"""Sessions run by worker processes; what they hold depends on the seeds alone, not on how many work."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.q_learning import QLearner
from mql_ros.core.errors import UserError
from mql_ros.grasping.learning.baselines import Scripted
from mql_ros.grasping.learning.grasp_policy import NO_EXPLORATION, Exploration, grasp_learner
from mql_ros.grasping.learning.networks import GraspNetworkConfig
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.rollouts.rollout import Agent, PolicyAgent, run_session
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import thing_of_session


@dataclass(frozen=True)
class PolicyWeights:
    """What a worker needs to act: network weights as numpy arrays, so that nothing of torch crosses processes."""

    network: GraspNetworkConfig
    weights: Mapping[str, np.ndarray]
    history_blocks: int

    @staticmethod
    def of(learner: QLearner, history_blocks: int) -> PolicyWeights:
        """A copy of the learner's critic and encoder."""
        weights = {
            f"{name}.{key}": value.detach().cpu().numpy().copy()
            for name in ("critic", "encoder")
            for key, value in learner.networks[name].state_dict().items()
        }
        return PolicyWeights(learner.network_config, weights, history_blocks)

    def without_context(self) -> PolicyWeights:
        """The same critic with its context zeroed."""
        return replace(self, network=replace(self.network, use_context=False))

    def make_learner(self) -> QLearner:
        """A learner that acts with these weights."""
        import torch

        learner = grasp_learner(self.network)
        for name in ("critic", "encoder"):
            prefix = name + "."
            state = {k[len(prefix) :]: torch.from_numpy(v) for k, v in self.weights.items() if k.startswith(prefix)}
            learner.networks[name].load_state_dict(state)
        return learner


@dataclass(frozen=True)
class Job:
    """One session to run: the object, the seed of all that is drawn, how many trials, and how they are explored."""

    object_name: str
    seed: int
    trials: int
    exploration: Exploration = NO_EXPLORATION


_TASK: GraspTask | None = None
_LEARNER: tuple[int, QLearner] | None = None


def _start(robot: str) -> None:
    import torch

    global _TASK
    torch.set_num_threads(1)
    os.nice(5)
    _TASK = GraspTask(load_profile(robot))


def _run_job(task: GraspTask, arguments: tuple[Job, PolicyWeights | None, int]) -> Session | None:
    global _LEARNER
    job, policy, version = arguments
    agent: Agent
    if policy is None:
        agent = Scripted(job.seed)
    else:
        if _LEARNER is None or _LEARNER[0] != version:
            _LEARNER = (version, policy.make_learner())
        agent = PolicyAgent(_LEARNER[1], policy.history_blocks, job.seed, job.exploration)
    return run_session(task, thing_of_session(job.object_name, job.seed), job.seed, job.trials, agent)


def _call(numbered: tuple[int, Callable[[GraspTask, Any], Any], Any]) -> tuple[int, Any]:
    assert _TASK is not None
    number, function, argument = numbered
    return number, function(_TASK, argument)


class Workers:
    """A pool of simulators."""

    def __init__(self, robot: str, processes: int) -> None:
        self._pool = multiprocessing.get_context("spawn").Pool(processes, _start, (robot,))
        self._version = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: Any) -> None:
        self._pool.terminate()
        self._pool.join()

    def run(self, jobs: Sequence[Job], policy: PolicyWeights | None = None) -> list[Session | None]:
        """Sessions of a policy, or of the scripted explorer, in the order of the jobs.

        None stands for a session whose object did not come to rest or was not seen. Raises UserError as
        `map_unordered` does.
        """
        self._version += 1
        found = dict(self.map_unordered(_run_job, [(job, policy, self._version) for job in jobs]))
        return [found[number] for number in range(len(jobs))]

    def map_unordered(
        self, function: Callable[[GraspTask, Any], Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Index of each argument and what `function(task, argument)` returns, in the order in which they end.

        The function is one that pickle finds by its name. Raises UserError when a worker was killed: the pool would
        wait for its result for ever.
        """
        workers = multiprocessing.active_children()
        tasks = [(number, function, argument) for number, argument in enumerate(arguments)]
        results = self._pool.imap_unordered(_call, tasks)
        while True:
            try:
                finished = results.next(timeout=5.0)
            except StopIteration:
                return
            except multiprocessing.TimeoutError:
                dead = [worker for worker in workers if worker.exitcode]
                if dead:
                    raise UserError(
                        f"a worker process ended by itself (exit code {dead[0].exitcode}), perhaps for want of memory; "
                        "run the command again, with fewer --workers"
                    ) from None
                continue
            yield finished
