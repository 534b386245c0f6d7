"""`mql demo`: the whole ROS 2 graph on objects never seen in training, with a report."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "bring the ROS 2 graph up in simulation, try new objects, adapt, try them again, and write a report"

DEFAULT_OBJECTS = ("bottle", "random-900", "random-950")
"""Beside the mesh EXAMPLE."""
EXAMPLE = ("config", "objects", "example_bracket.obj")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--object",
        action="append",
        metavar="NAME|FILE",
        help=f"object to grasp; may be given several times (default: {', '.join(DEFAULT_OBJECTS)}, {EXAMPLE[-1]})",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=6,
        metavar="N",
        help="trials before and after adaptation, and twice as many new ones between (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of placements and noise (default: 1)")
    parser.add_argument("--policy", help="policy bundle (default: the shipped one)")
    parser.add_argument(
        "--robot", default="panda", metavar="NAME|FILE.yaml", help="robot profile of the arm (default: %(default)s)"
    )
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where the report goes (default: out/demo)")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from mql_ros.core.errors import UserError
    from mql_ros.core.resources import share_path
    from mql_ros.grasping.robot.profile import load_profile
    from mql_ros.reporting.demo import run_demo
    from mql_ros.ros.bringup.processes import check_ros
    from mql_ros.ros.policies.policy_loading import check_bundle
    from mql_sim.objects.catalogue import find_thing

    out = Path(arguments.out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not empty; give --out a new directory, or remove it")
    if not 1 <= arguments.trials <= 200:
        raise UserError(f"--trials is {arguments.trials}; expected 1 to 200")
    if not 0 <= arguments.seed <= 1_000_000:
        raise UserError(f"--seed is {arguments.seed}; expected 0 to 1000000")
    names = list(dict.fromkeys(arguments.object or [*DEFAULT_OBJECTS, str(share_path(*EXAMPLE))]))
    for name in names:
        find_thing(name)
    policy = Path(arguments.policy) if arguments.policy else share_path("models", "grasp")
    profile = load_profile(arguments.robot)
    check_bundle(policy, profile.name, *profile.policies_from)
    check_ros()
    run_demo(names, arguments.trials, arguments.seed, policy, arguments.robot, out)
    print(f"report: {out / 'report.html'}   numbers: {out / 'result.json'}")
    return 0
