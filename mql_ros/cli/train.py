"""`mql train`: meta-train a policy and write its bundle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

HELP = "meta-train a policy in rounds of collecting and training, and write a bundle; an interrupted run goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--config", help="YAML file (default: config/training/grasp.yaml, or that of the family in the same folder)"
    )
    parser.add_argument(
        "--out", help="folder of the run; the bundle is OUT/bundle (default: runs/grasp, runs/bench/FAMILY-seedS)"
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="simulator processes for grasping (default: %(default)s)"
    )
    parser.add_argument(
        "--family", help="train on a published locomotion benchmark instead of grasping, such as half-cheetah-dir"
    )
    parser.add_argument("--steps", type=int, help="environment steps, with --family (default: those of its YAML file)")
    parser.add_argument("--seed", type=int, help="seed of the run (default: that of its YAML file)")
    parser.add_argument("--device", default="cpu", help="where the networks are trained: cpu or cuda")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    import torch

    from mql_ros.core.errors import UserError

    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected 1 or more")
    try:
        torch.device(arguments.device)
    except RuntimeError:
        raise UserError(f"--device {arguments.device} is no device; expected cpu or cuda") from None
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu")
    torch.set_num_threads(1)
    if arguments.family is not None:
        return _train_on_benchmark(arguments)
    if arguments.steps is not None:
        raise UserError("--steps belongs to --family; for grasping, set rounds in the file given with --config")
    from mql_ros.core.resources import share_path
    from mql_ros.training.grasping.config import load_training_config
    from mql_ros.training.grasping.meta_training import Training

    config = load_training_config(arguments.config or str(share_path("config", "training", "grasp.yaml")))
    if arguments.seed is not None:
        config = replace(config, seed=arguments.seed)
    out = Path(arguments.out or "runs/grasp")
    path = Training(config, out, arguments.workers, arguments.device, ["mql", *sys.argv[1:]]).run()
    print(f"policy bundle: {path}")
    return 0


def _train_on_benchmark(arguments: argparse.Namespace) -> int:
    from mql_ros.core.resources import share_path
    from mql_ros.training.locomotion.config import load_benchmark_config
    from mql_ros.training.locomotion.families import find_family
    from mql_ros.training.locomotion.meta_training import BenchmarkTraining

    name = arguments.family
    find_family(name)
    path = arguments.config or share_path("config", "training", f"{name}.yaml")
    config = load_benchmark_config(path, name, steps=arguments.steps, seed=arguments.seed)
    folder = Path(arguments.out or f"runs/bench/{name}-seed{config.seed}")
    command = ["mql", *sys.argv[1:]]
    result = BenchmarkTraining(config, folder, arguments.device, command).run()
    print(f"mean return on the test tasks: {result['final_return']}; policy bundle: {folder / 'bundle'}")
    return 0
