"""`mql train`: meta-train a policy and write its bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "meta-train a policy on the training objects and write a policy bundle; an interrupted run goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--config", default="config/training/grasp.yaml", help="YAML file (default: %(default)s)")
    parser.add_argument("--out", default="runs/grasp", help="folder of the run; the bundle is OUT/bundle")
    parser.add_argument("--workers", type=int, default=2, help="simulator processes (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="where the networks are trained: cpu or cuda")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    import torch

    from mql_ros.errors import UserError
    from mql_sim.training import Training
    from mql_sim.training_config import load_training_config

    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}; expected 1 or more")
    try:
        torch.device(arguments.device)
    except RuntimeError:
        raise UserError(f"--device {arguments.device} is no device; expected cpu or cuda") from None
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu")
    config = load_training_config(arguments.config)
    torch.set_num_threads(1)
    path = Training(config, Path(arguments.out), arguments.workers, arguments.device).run()
    print(f"policy bundle: {path}")
    return 0
