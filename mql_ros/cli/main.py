"""`mql`: picks the verb, and turns what goes wrong into one sentence and an exit code."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, cast

from mql_ros import __version__
from mql_ros.core.errors import EXIT_USER_ERROR, UserError

# Each verb is a module mql_ros/cli/<verb>.py, with `_` for `-`. The summaries stand here because a verb's module is
# imported only when it is chosen: torch alone takes seconds.
VERBS = {
    "objects": "list the objects to grasp; search for a grasp of each, and say why there is none",
    "train": "meta-train a policy and write it as a bundle",
    "evaluate": "measure a policy's success on objects, beside ways to grasp without learning",
    "check-robot": "check the drivers of arm and camera, simulated or real, before they are trusted with trials",
    "demo": "grasp objects never seen before over ROS 2, adapt, and write a report",
    "bench": "measure speed, latency and memory",
    "results": "write the page of results from the JSON files that were measured",
}

EXIT_INTERRUPTED = 130  # as shells do: 128 + SIGINT


class Verb(Protocol):
    """What a verb's module provides."""

    HELP: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    main: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `mql` and return its exit code: 0 done, 2 an error of use, 130 interrupted, else the verb's own."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        print(f"mql: error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "mql_ros", "mql_sim"):  # a fault in the program, which wants its traceback
            raise
        print(f"mql: error: the Python package '{package}' is missing; {_how_to_install(package)}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("mql: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mql", description="Meta-Q-Learning for robot grasping. `mql VERB --help` shows more about a verb."
    )
    parser.add_argument("--version", action="version", version=f"mql_ros {__version__}")
    verb_parsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    # No option before the verb takes a value, so the first plain word is the verb.
    chosen = next((word for word in argv if not word.startswith("-")), None)
    run: Callable[[argparse.Namespace], int] | None = None
    for name, summary in VERBS.items():
        verb_parser = verb_parsers.add_parser(name, help=summary)
        if name == chosen:
            verb = _load(name)
            verb_parser.description = verb.HELP
            verb.add_arguments(verb_parser)
            run = verb.main
    arguments = parser.parse_args(argv)
    assert run is not None  # argparse has refused any word that is no verb
    return run(arguments)


def _load(name: str) -> Verb:
    module = f"{__package__}.{name.replace('-', '_')}"
    try:
        return cast(Verb, importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise UserError(
            f"the verb '{name}' is missing from this installation ({module} does not exist); install mql_ros again"
        ) from error


def _how_to_install(package: str) -> str:
    if package.startswith(("rclpy", "rmw_", "rosidl_", "ament_")) or package.endswith(("_msgs", "_srvs")):
        return "source the setup file of a ROS 2 distribution, or install the ROS 2 wheels: pip install 'mql_ros[ros]'"
    return "install mql_ros with its dependencies: make setup, or pip install ."
