"""`mql objects`: what there is to grasp, and whether an oracle finds a grasp for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_json
from mql_ros.reporting.text_table import table

if TYPE_CHECKING:
    from mql_sim.objects.thing import Thing

HELP = "list the objects; with --check, search for a grasp of each and say why there is none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "objects", nargs="*", metavar="OBJECT", help="names, files, or folders of files (default: the household ones)"
    )
    parser.add_argument("--check", action="store_true", help="search for a grasp of each object, in a few seconds each")
    parser.add_argument("--mass", type=float, metavar="KG", help="mass of objects from files")
    parser.add_argument("--friction", type=float, metavar="MU", help="friction coefficient of objects from files")
    parser.add_argument("--crush-force", type=float, metavar="N", help="finger force that crushes objects from files")
    parser.add_argument("--size", type=float, metavar="M", help="largest extent to which objects from files are scaled")
    parser.add_argument("--seed", type=int, default=0, help="how the objects rest and lie (default: %(default)s)")
    parser.add_argument("--robot", default="panda", help="robot profile (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON too")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb: 1 if the check finds an object that cannot be grasped."""
    check_writable(arguments.json)
    things = _things(arguments)
    rows = [["object", "mass kg", "friction", "crush N", "size mm", *(["grasp", "why not"] if arguments.check else [])]]
    described: dict[str, Any] = {}
    for name, thing in things.items():
        row, facts = _described(thing)
        described[name] = facts
        rows.append([name, *row])
        for note in thing.notes:
            print(f"{name}: {note}")
    if arguments.check:
        verdicts = _check(things, arguments.robot, arguments.seed)
        for row, (name, verdict) in zip(rows[1:], verdicts.items(), strict=True):
            described[name] |= verdict
            grasp = verdict["grasp"] or {}
            found = ", ".join(f"{key} {value:.3f}" for key, value in grasp.items()) + f", {verdict['force']:.1f} N"
            row += [found if verdict["success"] else "none", verdict["reason"]]
    print(table(rows))
    if not arguments.objects:
        print(
            "\nrandom-000 to random-799 and hard-0000 to hard-0399 are trained on, random-800 to random-899 and\n"
            "hard-0400 to hard-0459 are for development, random-900 to random-999 and hard-1000 to hard-1099 are held\n"
            "out; mass, friction, centre of mass and crush force of these are drawn anew for each session"
        )
    if arguments.json:
        write_json(arguments.json, {"schema": 2, "objects": described})
    return int(arguments.check and not all(facts["success"] for facts in described.values()))


def _things(arguments: argparse.Namespace) -> dict[str, Thing]:
    """Objects by the name or path that was given."""
    from mql_sim.objects.catalogue import FILES, find_thing, thing_of_session
    from mql_sim.objects.household import HOUSEHOLD
    from mql_sim.objects.load import make_thing

    given = {key: getattr(arguments, key) for key in ("mass", "friction", "crush_force", "size")}
    found: dict[str, Thing] = {}
    for name in arguments.objects or HOUSEHOLD:
        if Path(name).is_dir():
            files = sorted(str(file) for file in Path(name).rglob("*") if file.suffix.lower() in FILES)
            urdfs = [file for file in files if file.lower().endswith(".urdf")]
            if not files:
                raise UserError(f"folder {name} holds no object; expected files {', '.join(FILES)}")
            # Meshes beside a URDF belong to it.
            found |= {file: make_thing(file, **given) for file in urdfs or files}
        elif name.lower().endswith(FILES):
            found[name] = make_thing(name, **given)
        elif any(value is not None for value in given.values()):
            raise UserError(f"'{name}' is no file; --mass, --friction, --crush-force and --size are for files only")
        else:
            found[name] = find_thing(name) if name in HOUSEHOLD else thing_of_session(name, arguments.seed)
    return found


def _described(thing: Thing) -> tuple[list[str], dict[str, Any]]:
    """A row of the table, and plain JSON."""
    from mql_sim.objects.thing import UNCRUSHABLE

    size = [float(extent) for extent in thing.size]
    crush = None if thing.crush_force >= UNCRUSHABLE else thing.crush_force
    row = [
        f"{thing.mass:.3g}", f"{thing.friction:.2f}", "-" if crush is None else f"{crush:.1f}",
        " x ".join(f"{1000 * extent:.0f}" for extent in size),
    ]  # fmt: skip
    facts = {
        "mass": thing.mass, "friction": thing.friction, "crush_force": crush, "size": size,
        "content_hash": thing.content_hash, "notes": list(thing.notes),
    }  # fmt: skip
    return row, facts


def _check(things: dict[str, Thing], robot: str, seed: int) -> dict[str, dict[str, Any]]:
    from mql_ros.grasping.robot.profile import load_profile
    from mql_sim.environment import GraspTask
    from mql_sim.oracle import find_grasp

    task = GraspTask(load_profile(robot))
    found = {name: find_grasp(task, thing, seed).as_dict() for name, thing in things.items()}
    task.world.close()
    return found
