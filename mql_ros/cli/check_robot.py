"""`mql check-robot`: what the drivers of an arm and its camera do right and wrong, before trials trust them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_json

if TYPE_CHECKING:
    from mql_ros.grasping.driver_check.checks import Verdict
    from mql_ros.ros.bringup.robot_checker import RobotChecker

HELP = (
    "check the drivers of an arm and its camera in about a minute: first what they publish and what is seen, then "
    "small motions of each joint and of the gripper; the arm must stand at its home"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--robot", default="panda", help="robot profile, a name or a .yaml file (default: %(default)s)")
    parser.add_argument("--namespace", default="", help="namespace of the driver's topics (default: none)")
    parser.add_argument("--passive", action="store_true", help="only listen: move nothing")
    parser.add_argument("--yes", action="store_true", help="move without asking; the simulator is moved anyway")
    parser.add_argument("--json", metavar="FILE", help="write the report there too")


def main(arguments: argparse.Namespace | None = None) -> int:
    """Run the verb, or the program `check_robot`: 0 when everything passed, 1 when something failed."""
    if arguments is None:
        from mql_ros.cli.main import main as run_mql

        return run_mql(["check-robot", *sys.argv[1:]])
    from mql_ros.grasping.driver_check.report import UNFINISHED, default_path, make_report
    from mql_ros.grasping.robot.profile import load_profile
    from mql_ros.ros.bringup.processes import check_ros

    profile = load_profile(arguments.robot)
    check_writable(arguments.json)
    _prepare(default_path(profile.name).parent)
    check_ros()
    from mql_ros.ros.bringup.robot_checker import RobotChecker
    from mql_ros.ros.driver.permission import has_simulator

    with RobotChecker(
        profile, arguments.namespace, announce=lambda text: print(f"      {text}", flush=True)
    ) as checker:
        driver = checker.wait_for_driver()
        for topic, nodes in driver.items():
            print(f"{topic}: {', '.join(nodes) or 'nobody'}")
        simulator = has_simulator(driver)
        place = default_path(profile.name, arguments.namespace, simulator)
        _must_ask(checker, arguments)  # before a minute is spent in vain
        verdicts = [_shown(verdict) for verdict in checker.listen()]
        complete = not arguments.passive and all(verdict.passed for verdict in verdicts)
        if complete:
            # Asked anew: who listens beside the simulator may have been discovered meanwhile.
            asks = _must_ask(checker, arguments)
            if asks and input("The arm will now move a little. Is its way clear? [y/N] ").lower() != "y":
                raise UserError("stopped before anything moved")
            # From the first motion on no earlier report counts, however this ends.
            started = [*verdicts, UNFINISHED]
            write_json(place, make_report(profile, arguments.namespace, driver, started, False, simulator))
            verdicts += [_shown(verdict) for verdict in checker.move()]
    report = make_report(profile, arguments.namespace, driver, verdicts, complete, simulator)
    # What only listened and found nothing wrong is no reason to give up an earlier report of the whole.
    kept = place if complete or not report["passed"] else None
    for file in (kept, arguments.json):
        if file is not None:
            write_json(file, report)
    failed = [verdict.check for verdict in verdicts if not verdict.passed]
    outcome = f"failed: {', '.join(failed)}" if failed else f"all {len(verdicts)} checks passed"
    moved = "" if complete else "; the arm was not moved"
    print(f"{profile.name}: {outcome}{moved}" + (f"; report: {kept}" if kept else ""))
    return 0 if report["passed"] else 1


def _must_ask(checker: RobotChecker, arguments: argparse.Namespace) -> bool:
    """Whether somebody must allow the motions; UserError where nobody can be asked."""
    if arguments.passive or arguments.yes or checker.no_simulator() is None:
        return False
    if not sys.stdin.isatty():
        raise UserError("this moves the arm, and nobody can be asked; give --yes to allow it, or --passive")
    return True


def _shown(verdict: Verdict) -> Verdict:
    print(verdict.line(), flush=True)
    return verdict


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made ({error.strerror}); set ROS_HOME to another directory") from error
    check_writable(str(folder / "report.json"))


if __name__ == "__main__":
    sys.exit(main())
