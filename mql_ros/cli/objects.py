"""`mql objects`: what there is to grasp, and the proof that whoever knows the hidden parameters can grasp it."""

from __future__ import annotations

import argparse

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_json
from mql_ros.reporting.text_table import table

HELP = "list the objects; with --check, grasp each by script with its own hidden parameters and with those of others"
GOAL = 0.95
"""Success that the scripted grasp must reach with the right parameters."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--check", action="store_true", help="grasp each object by script and print a table of success")
    parser.add_argument("--objects", nargs="+", metavar="NAME", help="these objects only: names or .urdf files")
    parser.add_argument(
        "--trials", type=int, default=40, help="trials in each cell of the check (default: %(default)s)"
    )
    parser.add_argument("--robot", default="panda", help="robot profile (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON too")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 when the check finds an object that cannot be grasped."""
    if arguments.trials < 1:
        raise UserError(f"--trials is {arguments.trials}; expected 1 or more")
    check_writable(arguments.json)
    if arguments.check:
        return _check(arguments.objects, arguments.trials, arguments.robot, arguments.json)
    return _list(arguments.objects, arguments.json)


def _list(names: list[str] | None, json_file: str | None) -> int:
    from mql_ros.evaluation.object_check import named_specs, size, use
    from mql_sim.objects import catalogue

    specs = named_specs() if names is None else [catalogue.find_object(name) for name in names]
    rows = [["object", "use", "category", "mass kg", "width m", "height m"]]
    described = {}
    for spec in specs:
        width, height = size(spec)
        purpose = use(spec.name)
        rows.append([spec.name, purpose, spec.category, f"{spec.mass:.2f}", f"{width:.3f}", f"{height:.3f}"])
        described[spec.name] = {
            "use": purpose, "category": spec.category, "mass": spec.mass, "width": width, "height": height
        }  # fmt: skip
    print(table(rows))
    if names is None:
        first, count = catalogue.DEVELOPMENT_FIRST, catalogue.DEVELOPMENT_COUNT
        print(
            f"\nand the procedural family with continuous shape, size, mass, friction and force window:\n"
            f"  procedural-0000 to procedural-{catalogue.PROCEDURAL_TRAINING - 1:04d} for training,\n"
            f"  procedural-{first:04d} to procedural-{first + count - 1:04d} for development, never trained on;\n"
            "or the path of a .urdf file, e.g. config/objects/example_vase.urdf"
        )
    if json_file:
        write_json(json_file, {"schema": 1, "objects": described})
    return 0


def _check(names: list[str] | None, trials: int, robot: str, json_file: str | None) -> int:
    from mql_ros.evaluation.object_check import check_objects
    from mql_ros.grasping.robot.profile import load_profile
    from mql_sim.environment import GraspTask

    task = GraspTask(load_profile(robot))
    rows = check_objects(task, names, trials)
    task.world.close()
    heading = [["object", "use", "category", "right parameters", "those of others"]]
    print(table(heading + [[r.name, r.use, r.category, str(r.right), str(r.wrong)] for r in rows]))
    failed = [row for row in rows if row.right.rate < GOAL]
    if json_file:
        cells = {row.name: row.as_dict() for row in rows}
        write_json(json_file, {"schema": 1, "goal": GOAL, "passed": not failed, "objects": cells})
    if failed:
        print(f"below {GOAL:.0%} with the right parameters: {', '.join(row.name for row in failed)}")
    else:
        print(f"every object is lifted in at least {GOAL:.0%} of the trials by whoever knows it")
    return 1 if failed else 0
