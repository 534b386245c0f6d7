"""Sessions collected by worker processes; what is collected depends on the seeds alone, not on how many work."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mql_ros.algorithm.adaptation.config import ExplorationConfig
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Learner
from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import load_profile
from mql_ros.rollouts.rollout import Demonstrator, PolicyAgent, run_session
from mql_sim.environment import GraspTask
from mql_sim.objects.catalogue import find_object


@dataclass(frozen=True)
class PolicyWeights:
    """What a worker needs to act: network weights as numpy arrays, so that nothing of torch crosses processes."""

    network: NetworkConfig
    weights: Mapping[str, np.ndarray]
    history_blocks: int

    @staticmethod
    def of(learner: TD3Learner, history_blocks: int) -> PolicyWeights:
        """A copy of the learner's actor and encoder."""
        weights = {
            f"{name}.{key}": value.detach().cpu().numpy().copy()
            for name in ("actor", "encoder")
            for key, value in learner.networks[name].state_dict().items()
        }
        return PolicyWeights(learner.network_config, weights, history_blocks)

    def without_context(self) -> PolicyWeights:
        """The same actor with its context zeroed."""
        return replace(self, network=replace(self.network, use_context=False))

    def make_learner(self) -> TD3Learner:
        """A learner that acts with these weights (its critics are untrained)."""
        import torch

        learner = TD3Learner(self.network)
        for name in ("actor", "encoder"):
            state = {
                k.removeprefix(name + "."): torch.from_numpy(v) for k, v in self.weights.items() if k.startswith(name)
            }
            learner.networks[name].load_state_dict(state)
        return learner


@dataclass(frozen=True)
class Job:
    """One session to run: the object, the seed of placements and noise, and how many trials."""

    object_name: str
    seed: int
    trials: int
    noise: float = 0.0
    others: tuple[str, ...] = ()
    """Objects that a demonstrator may mistake this one for; empty where a policy acts."""


_TASK: GraspTask | None = None
_LEARNER: tuple[int, TD3Learner] | None = None


def _start(robot: str) -> None:
    import torch

    global _TASK
    torch.set_num_threads(1)
    os.nice(5)
    _TASK = GraspTask(load_profile(robot))


def _demonstrate(job: Job) -> Session:
    assert _TASK is not None
    names, spec = job.others, find_object(job.object_name)
    demonstrator = Demonstrator(spec, lambda rng: find_object(names[int(rng.integers(len(names)))]), job.seed)
    return run_session(_TASK, spec, job.seed, job.trials, demonstrator, with_teacher=True)


def _act(arguments: tuple[Job, PolicyWeights, int]) -> Session:
    global _LEARNER
    assert _TASK is not None
    job, policy, version = arguments
    if _LEARNER is None or _LEARNER[0] != version:
        _LEARNER = (version, policy.make_learner())
    agent = PolicyAgent(_LEARNER[1], policy.history_blocks, ExplorationConfig(noise=job.noise), job.seed)
    return run_session(_TASK, find_object(job.object_name), job.seed, job.trials, agent)


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

    def demonstrate(self, jobs: Sequence[Job]) -> Iterator[Session]:
        """Sessions of the scripted teacher, in the order of the jobs."""
        return self._pool.imap(_demonstrate, jobs)

    def act(self, policy: PolicyWeights, jobs: Sequence[Job]) -> Iterator[Session]:
        """Sessions of a policy, in the order of the jobs; they run while the caller does something else."""
        self._version += 1
        return self._pool.imap(_act, [(job, policy, self._version) for job in jobs])

    def map_unordered(
        self, function: Callable[[GraspTask, Any], Any], arguments: Sequence[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Index of each argument and what `function(task, argument)` returns, in the order in which they end.

        The function is one that pickle finds by its name. Raises UserError when a worker was killed: the pool would
        wait for its result for ever.
        """
        workers = multiprocessing.active_children()
        results = self._pool.imap_unordered(
            _call, [(number, function, argument) for number, argument in enumerate(arguments)]
        )
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
