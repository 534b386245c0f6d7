"""Meta-training on a benchmark family: rounds of acting with the policy and TD3 updates, evaluation from history alone.

Each round draws from its own seed, and a checkpoint holds everything else. A killed run therefore continues from its
last checkpoint and ends with the same results, bit for bit; only the times differ.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import td3_of
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError
from mql_ros.core.files import write_text
from mql_ros.training.locomotion.acting import BehaviourPolicy, EpisodeRecorder, act, evaluate
from mql_ros.training.locomotion.config import BenchmarkConfig
from mql_ros.training.locomotion.families import HORIZON, TaskEnvironment, find_family
from mql_ros.training.run_folder import RunFolder

_ACTING, _UPDATES, _EVALUATION = 1, 2, 3  # streams of random numbers


class BenchmarkTraining:
    """One run of `mql train --family` in a folder: checkpoint newest/, and at the end bundle/ and result.json."""

    def __init__(self, config: BenchmarkConfig, folder: Path, device: str = "cpu", command: Sequence[str] = ()) -> None:
        self.config, self.command = config, list(command)
        family = find_family(config.family)
        self._training_tasks, self._test_tasks = family.tasks(config.task_seed)
        acting, tested = config.environments, len(self._test_tasks) * config.evaluation_repeats
        self._environments = [TaskEnvironment(family) for _ in range(acting)]
        # Evaluation has its own environments, so it cannot change the state of the others.
        self._test_environments = [TaskEnvironment(family) for _ in range(tested)]
        task = {"name": config.family, "block_length": config.block_length, "reward_scale": config.reward_scale}
        self._folder = RunFolder(folder, config.as_dict(), robot=family.robot, task=task, may_change=("steps",))
        self._steps, self._cpu_before = 0, 0.0
        self._metrics: dict[str, float] = {}
        self._learner, self._replay = self._start(device)

    def run(self) -> dict[str, Any]:
        """Train to the end and return the contents of result.json."""
        config = self.config
        self._cpu_started = time.process_time() - self._cpu_before
        while self._steps < config.steps:
            before = self._steps
            self._round(before // config.round_steps)
            self._steps += config.round_steps
            last = self._steps >= config.steps
            if last or self._steps // config.evaluate_every > before // config.evaluate_every:
                self._evaluate()
            if last or self._steps // config.checkpoint_every > before // config.checkpoint_every:
                self._checkpoint()
        return self._finish()

    # -- a round -----------------------------------------------------------------------------------------------------

    def _round(self, number: int) -> None:
        """Run one session in every environment, with updates on all earlier sessions and on finished episodes."""
        config, count = self.config, self.config.environments
        rng = np.random.default_rng([config.seed, _UPDATES, number])
        order = rng.permutation(len(self._training_tasks))
        # Tasks are used evenly, even if there are fewer than environments.
        tasks = [self._training_tasks[k] for k in np.resize(order, count)]
        recorder = EpisodeRecorder(tasks, config.block_length)
        identifiers: dict[int, int] = {}
        warm = self._steps >= config.warmup_steps
        behaviour = self._behaviour(noise=config.exploration_noise, random=not warm)
        steps = act(
            self._environments, tasks, config.session_episodes * HORIZON, behaviour, [config.seed, _ACTING, number]
        )
        metrics: dict[str, Any] = {}
        made = 0
        for passed, step in enumerate(steps, start=1):
            for n, episode in recorder.add(step):
                if n in identifiers:
                    self._replay.extend(identifiers[n], episode)
                else:
                    identifiers[n] = self._replay.add(episode)
            while warm and made + 1 <= passed * count * config.updates_per_step and len(self._replay):
                metrics |= self._learner.update(self._replay.sample(config.batch_blocks, rng))
                made += 1
        if not all(math.isfinite(float(value)) for value in metrics.values()):
            raise UserError(
                f"training diverged after {self._steps} steps: a loss is not finite; lower the learning rates"
            )
        self._metrics = {name: round(float(value), 4) for name, value in metrics.items()}

    def _behaviour(self, noise: float = 0.0, random: bool = False) -> BehaviourPolicy:
        config = self.config
        return BehaviourPolicy(
            self._learner, config.history_blocks, config.block_length, config.reward_scale, noise, random
        )

    def _evaluate(self) -> None:
        """Add a point to the curve: returns on the test tasks, always from the same starts."""
        config = self.config
        tasks = [task for task in self._test_tasks for _ in range(config.evaluation_repeats)]
        returns = evaluate(
            self._test_environments,
            tasks,
            config.evaluation_episodes,
            self._behaviour(),
            [config.task_seed, _EVALUATION],
        )
        by_task = returns.reshape(len(self._test_tasks), -1).mean(axis=1)
        point = {
            "steps": self._steps,
            "updates": self._learner.updates,
            "mean_return": round(float(returns.mean()), 2),
            "return_by_episode": np.round(returns.mean(axis=0), 2).tolist(),
            "return_by_task": np.round(by_task, 1).tolist(),
            "critic_loss": self._metrics.get("critic_loss"),
            "q_mean": self._metrics.get("q_mean"),
            "seconds": round(self._folder.seconds, 1),
            "cpu_seconds": round(self._cpu_seconds, 1),
        }
        self._folder.add_point("steps", point)
        self._folder.log(json.dumps(point))

    # -- files -------------------------------------------------------------------------------------------------------

    def _start(self, device: str) -> tuple[TD3Learner, Replay]:
        """Return learner and replay from the newest checkpoint, or new ones from the seed."""
        config = self.config
        if (newest := self._folder.load("newest")) is not None:
            extra = newest.manifest["extra"]
            self._steps, self._cpu_before = int(extra["steps"]), float(extra["cpu_seconds"])
            return td3_of(newest, device), newest.make_replay()
        seen, done = self._environments[0].observation_space, self._environments[0].action_space
        sizes = int(np.prod(seen.shape or ())), int(np.prod(done.shape or ()))
        network = NetworkConfig(*sizes, **config.network)
        learner = TD3Learner(network, TD3Config(**config.td3), seed=config.seed, device=device)
        return learner, Replay(*sizes, config.history_blocks, capacity=1_000_000)

    @property
    def _cpu_seconds(self) -> float:
        return time.process_time() - self._cpu_started

    def _checkpoint(self) -> None:
        """Save everything that an interrupted run needs to continue."""
        self._save("newest", replay_float16=False, extra={"steps": self._steps, "cpu_seconds": self._cpu_seconds})

    def _save(self, name: str, **contents: Any) -> None:
        config = self.config
        self._folder.save(
            name,
            self._learner,
            replay=self._replay,
            seeds={"training": config.seed, "tasks": config.task_seed},
            training_objects=[task.name for task in self._training_tasks],
            **contents,
        )

    def _finish(self) -> dict[str, Any]:
        """Save the policy as a bundle; write and return the results of the run."""
        # A killed run may have left points beyond its last checkpoint.
        curve = [point for point in self._folder.points() if point["steps"] <= self._steps]
        result = {
            "family": self.config.family,
            "seed": self.config.seed,
            "command": self.command,
            "steps": self._steps,
            "updates": self._learner.updates,
            "final_return": curve[-1]["mean_return"],
            "seconds": round(self._folder.seconds, 1),
            "cpu_seconds": round(self._cpu_seconds, 1),
            "hardware": {"processor": _processor(), "cores": os.cpu_count(), "device": str(self._learner.device)},
            "versions": _versions(),
            "config": self.config.as_dict(),
            "test_tasks": [task.name for task in self._test_tasks],
            "curve": curve,
        }
        self._save("bundle", measured={"final_return": result["final_return"]})
        write_text(self._folder.path / "result.json", _json(result))
        return result


def _json(result: dict[str, Any]) -> str:
    """Return JSON with one line for each point of the curve, for readability."""
    head = json.dumps({k: v for k, v in result.items() if k != "curve"}, indent=1)
    curve = ",\n  ".join(json.dumps(line) for line in result["curve"])
    return f'{head[:-2]},\n "curve": [\n  {curve}\n ]\n}}\n'


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> dict[str, str]:
    names = ("python", "gymnasium", "mujoco", "torch")
    return {n: platform.python_version() if n == "python" else importlib.metadata.version(n) for n in names}
