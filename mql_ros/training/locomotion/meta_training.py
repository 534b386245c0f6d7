"""Meta-training on a benchmark family: rounds of acting with the policy and TD3 updates, evaluation from history alone.

Each round draws from its own seed, and a checkpoint holds everything else. A run that was killed goes on from its last
checkpoint and ends with the numbers that it would have ended with, bit for bit; only the times differ.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle
from mql_ros.algorithm.td3 import TD3Config, TD3Learner
from mql_ros.core.errors import UserError
from mql_ros.core.files import write_text
from mql_ros.training.locomotion.acting import Behaviour, EpisodeRecorder, act, evaluate
from mql_ros.training.locomotion.config import BenchmarkConfig
from mql_ros.training.locomotion.families import HORIZON, TaskEnvironment, find_family

_ACTING, _UPDATES, _EVALUATION = 1, 2, 3  # streams of random numbers


class BenchmarkTraining:
    """One run of `mql train --family` in a folder: log.jsonl, checkpoints/, and at the end bundle/ and result.json."""

    def __init__(self, config: BenchmarkConfig, folder: Path, device: str = "cpu", command: Sequence[str] = ()) -> None:
        self.config, self.folder, self.command = config, folder, list(command)
        family = find_family(config.family)
        self._training_tasks, self._test_tasks = family.tasks(config.task_seed)
        acting, tested = config.environments, len(self._test_tasks) * config.evaluation_repeats
        self._environments = [TaskEnvironment(family) for _ in range(acting)]
        # Evaluation has its own, so that it cannot change what the others go on with.
        self._test_environments = [TaskEnvironment(family) for _ in range(tested)]
        self._check_same_run()
        self._steps, self._seconds, self._cpu_seconds = 0, 0.0, 0.0
        self._log: list[dict[str, Any]] = []
        self._metrics: dict[str, float] = {}
        self._learner, self._replay = self._start(device)

    def run(self) -> dict[str, Any]:
        """Train to the end; returns what is in result.json."""
        config = self.config
        self._wall, self._cpu = time.monotonic() - self._seconds, time.process_time() - self._cpu_seconds
        while self._steps < config.steps:
            before = self._steps
            self._round(before // config.round_steps)
            self._steps += config.round_steps
            last = self._steps >= config.steps
            self._seconds, self._cpu_seconds = time.monotonic() - self._wall, time.process_time() - self._cpu
            if last or self._steps // config.evaluate_every > before // config.evaluate_every:
                self._evaluate()
            if last or self._steps // config.checkpoint_every > before // config.checkpoint_every:
                self._checkpoint()
        return self._finish()

    # -- a round -----------------------------------------------------------------------------------------------------

    def _round(self, number: int) -> None:
        """One session in every environment, with updates on all that came before it and on its finished episodes."""
        config, count = self.config, self.config.environments
        rng = np.random.default_rng([config.seed, _UPDATES, number])
        order = rng.permutation(len(self._training_tasks))
        # Tasks are used evenly, also where there are fewer than environments.
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

    def _behaviour(self, noise: float = 0.0, random: bool = False) -> Behaviour:
        config = self.config
        return Behaviour(self._learner, config.history_blocks, config.block_length, config.reward_scale, noise, random)

    def _evaluate(self) -> None:
        """A line of the log: returns on the test tasks, from the same starts each time."""
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
        line = {
            "steps": self._steps,
            "updates": self._learner.updates,
            "mean_return": round(float(returns.mean()), 2),
            "return_by_episode": np.round(returns.mean(axis=0), 2).tolist(),
            "return_by_task": np.round(by_task, 1).tolist(),
            "critic_loss": self._metrics.get("critic_loss"),
            "q_mean": self._metrics.get("q_mean"),
            "seconds": round(self._seconds, 1),
            "cpu_seconds": round(self._cpu_seconds, 1),
        }
        self._log.append(line)
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    # -- files -------------------------------------------------------------------------------------------------------

    def _check_same_run(self) -> None:
        """A folder belongs to one configuration; only the number of steps may grow."""
        self.folder.mkdir(parents=True, exist_ok=True)
        record, values = self.folder / "training.json", self.config.as_dict()
        del values["steps"]
        text = json.dumps(values, indent=2, sort_keys=True)
        if record.exists() and record.read_text() != text:
            raise UserError(
                f"{self.folder} holds a training run with another configuration; choose another --out or remove it"
            )
        write_text(record, text)

    def _start(self, device: str) -> tuple[TD3Learner, Replay]:
        """From the newest checkpoint, or from the seed. The log goes back to where the checkpoint was written."""
        config = self.config
        checkpoints = sorted((self.folder / "checkpoints").glob("[0-9]*"))
        if checkpoints:
            bundle = load_bundle(checkpoints[-1])
            learner, replay = bundle.make_learner(device), bundle.make_replay()
            extra = bundle.manifest["extra"]
            self._steps, self._log = int(extra["steps"]), list(extra["log"])
            self._seconds, self._cpu_seconds = float(extra["seconds"]), float(extra["cpu_seconds"])
        else:
            seen, done = self._environments[0].observation_space, self._environments[0].action_space
            sizes = int(np.prod(seen.shape or ())), int(np.prod(done.shape or ()))
            network = NetworkConfig(*sizes, **config.network)
            learner = TD3Learner(network, TD3Config(**config.td3), seed=config.seed, device=device)
            replay = Replay(*sizes, config.history_blocks, capacity=1_000_000)
        lines = "".join(json.dumps(line) + "\n" for line in self._log)
        write_text(self.folder / "log.jsonl", lines)
        return learner, replay

    def _checkpoint(self) -> None:
        """Everything that the run goes on with, under a name of its own; the older ones go once it is there."""
        folder = self.folder / "checkpoints"
        path = folder / f"{self._steps:010d}"
        extra = {"steps": self._steps, "log": self._log, "seconds": self._seconds, "cpu_seconds": self._cpu_seconds}
        self._save(path, replay_float16=False, extra=extra)
        for old in folder.glob("[0-9]*"):
            if old != path:
                shutil.rmtree(old)

    def _save(self, path: Path, **more: Any) -> None:
        config, family = self.config, find_family(self.config.family)
        save_bundle(
            path,
            self._learner,
            robot={"name": family.robot},
            task={"name": config.family, "block_length": config.block_length, "reward_scale": config.reward_scale},
            replay=self._replay,
            training=config.as_dict(),
            seeds={"training": config.seed, "tasks": config.task_seed},
            training_objects=[task.name for task in self._training_tasks],
            overwrite=True,
            **more,
        )

    def _finish(self) -> dict[str, Any]:
        """The policy as a bundle, and the run's numbers as one small JSON file."""
        result = {
            "family": self.config.family,
            "seed": self.config.seed,
            "command": self.command,
            "steps": self._steps,
            "updates": self._learner.updates,
            "final_return": self._log[-1]["mean_return"],
            "seconds": round(self._seconds, 1),
            "cpu_seconds": round(self._cpu_seconds, 1),
            "hardware": {"processor": _processor(), "cores": os.cpu_count(), "device": str(self._learner.device)},
            "versions": _versions(),
            "config": self.config.as_dict(),
            "test_tasks": [task.name for task in self._test_tasks],
            "curve": self._log,
        }
        self._save(self.folder / "bundle", measured={"final_return": result["final_return"]})
        write_text(self.folder / "result.json", _json(result))
        return result


def _json(result: dict[str, Any]) -> str:
    """JSON with a line for each point of the curve, which reads better than one for each number."""
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
