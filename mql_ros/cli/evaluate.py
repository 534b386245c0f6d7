"""`mql evaluate`: success of a policy on objects, for several methods on matched seeds, with intervals."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mql_ros.algorithm.adaptation.config import AdaptationConfig
    from mql_ros.evaluation.cases import Case

HELP = "measure a policy on objects beside ways to grasp without learning, and after adaptation, on matched seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    from mql_ros.evaluation.methods import METHODS
    from mql_ros.evaluation.suites import SUITES
    from mql_sim.benches import BENCHES

    parser.add_argument("--policy", metavar="BUNDLE", help="policy bundle (default: the shipped one)")
    parser.add_argument(
        "--robot", default="panda", metavar="NAME|FILE.yaml", help="robot profile of the arm (default: %(default)s)"
    )
    parser.add_argument(
        "--bench", default="usual", choices=BENCHES, help="camera and pads of the bench (default: %(default)s)"
    )
    parser.add_argument(
        "--objects",
        nargs="+",
        default=["development"],
        metavar="NAME",
        help="objects: names such as bottle or random-900, a .urdf, .obj, .stl or .dae, or a folder of them; "
        f"or suites: {', '.join(SUITES)} (default: development)",
    )
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many of the objects (default: all)")
    parser.add_argument(
        "--methods",
        default="no-context,context",
        metavar="NAME[,NAME...]",
        help=f"methods to compare, of {', '.join(METHODS)} (default: %(default)s)",
    )
    parser.add_argument(
        "--trials",
        type=_new_trials,
        default="0",
        metavar="N[,N...]",
        help="trials before the test, to adapt on; several, as in 0,5,20, are compared (default: %(default)s)",
    )
    parser.add_argument("--against", metavar="BUNDLE", help="another policy, for the method `reference`: not adapted")
    parser.add_argument("--test-trials", type=int, default=5, help="trials that are counted (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="seeds an object (default: 1)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core, here %(default)s)"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="adaptation settings to override")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the results there; the same command goes on where an interrupted one stopped (FILE.partial.jsonl)",
    )
    parser.add_argument(
        "--figure",
        metavar="FILE",
        help="draw success over the number of new trials (over the test trials if there is one number): .png or .svg",
    )
    parser.add_argument(
        "--propensity",
        metavar="FILE",
        help="draw which training objects' data the method `mql` drew on, for the first six objects: .png or .svg",
    )


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from mql_ros.algorithm.adaptation.config import load_adaptation
    from mql_ros.core.files import check_writable, write_json
    from mql_ros.core.resources import share_path
    from mql_ros.evaluation.runner import PartialResults, program_hash, run_cases
    from mql_ros.evaluation.suites import find_names, trained_on
    from mql_ros.grasping.robot.profile import load_profile
    from mql_ros.reporting.evaluation import print_report, summarize
    from mql_ros.reporting.figures import check_figure, evaluation_figure, save_figure
    from mql_ros.reporting.propensity import mean_ratios, propensity_figure, propensity_summary
    from mql_ros.ros.policies.policy_loading import check_bundle

    methods = _methods(arguments)
    names = find_names(arguments.objects)[: arguments.limit or None]
    policy = Path(arguments.policy or share_path("models", "grasp"))
    profile = load_profile(arguments.robot)
    robots = profile.name, *profile.policies_from
    bundle_hash = check_bundle(policy, *robots).hash
    reference_hash = check_bundle(Path(arguments.against), *robots).hash if arguments.against else None
    check_writable(arguments.json)
    check_figure(arguments.figure)
    check_figure(arguments.propensity)
    known = trained_on(policy, names)
    if known:
        print(f"warning: {known} of these {len(names)} objects were trained on", file=sys.stderr)
    cases = _cases(arguments, str(policy), names, methods, load_adaptation(arguments.set))
    started = time.monotonic()
    partial = PartialResults(arguments.json)
    try:
        results, resumed = run_cases(cases, bundle_hash, reference_hash, arguments.workers, partial)
    except KeyboardInterrupt:
        if arguments.json:
            print(f"\nfinished sessions are in {partial.path}; the same command goes on from there", file=sys.stderr)
        raise
    report = summarize(cases, results, methods)
    report["settings"] = _settings(arguments) | {
        "robot": profile.name, "policy": policy.name, "bundle_hash": bundle_hash, "trained_on": known,
        "reference_hash": reference_hash, "program_hash": program_hash(),
        "sessions": len(cases), "sessions_resumed": resumed, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    ratios = mean_ratios(cases, results)
    if ratios:
        report["propensity"] = propensity_summary(ratios)
    print_report(report)
    if arguments.propensity and ratios:
        save_figure(propensity_figure(ratios), arguments.propensity)
    if arguments.figure:
        save_figure(evaluation_figure(report), arguments.figure)
    if arguments.json:
        write_json(arguments.json, report)
        partial.remove()
    return 0


def _methods(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the chosen methods; UserError if they or the counts are impossible."""
    from mql_ros.core.errors import UserError
    from mql_ros.evaluation.methods import METHODS

    methods = tuple(dict.fromkeys(name.strip() for name in arguments.methods.split(",")))
    for name in methods:
        if name not in METHODS:
            raise UserError(f"unknown method '{name}'; known methods are {', '.join(METHODS)}")
    counts = (arguments.seeds, arguments.test_trials, arguments.workers)
    if min(counts) < 1 or arguments.limit < 0:
        raise UserError("--seeds, --test-trials and --workers must be at least 1, and --limit not negative")
    if ("reference" in methods) != bool(arguments.against):
        raise UserError("the method 'reference' and --against BUNDLE belong together; give both or neither")
    return methods


def _cases(
    arguments: argparse.Namespace,
    policy: str,
    names: Sequence[str],
    methods: tuple[str, ...],
    adaptation: AdaptationConfig,
) -> list[Case]:
    from mql_ros.evaluation.cases import Case

    # All numbers of new trials of an object stand together, so that what is left always costs as much as what is done.
    return [
        Case(
            bundle=policy,
            object_name=name,
            seed=seed,
            methods=methods,
            new_trials=new_trials,
            test_trials=arguments.test_trials,
            adaptation=adaptation,
            reference=arguments.against,
            robot=arguments.robot,
            bench=arguments.bench,
        )
        for seed in range(arguments.seeds)
        for name in names
        for new_trials in arguments.trials
    ]


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the report keeps, as far as the command line says them."""
    from mql_ros.core.hardware import hardware

    return {
        "command": command_line(arguments), "objects": arguments.objects, "limit": arguments.limit,
        "bench": arguments.bench,
        "new_trials": max(arguments.trials), "by_new_trials": list(arguments.trials),
        "test_trials": arguments.test_trials, "seeds": arguments.seeds, "overrides": arguments.set,
        "hardware": hardware(),
        "workers": arguments.workers, "against": arguments.against and Path(arguments.against).name,
    }  # fmt: skip


def command_line(arguments: argparse.Namespace) -> str:
    """The command with every setting written out, defaults too: what to type to measure the same again."""
    words = ["mql", "evaluate"]
    for key, value in vars(arguments).items():
        if key == "verb" or value is None or value == []:
            continue
        words.append("--" + key.replace("_", "-"))
        if isinstance(value, tuple):
            words.append(",".join(str(number) for number in value))
        else:
            words += [str(part) for part in (value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _new_trials(text: str) -> tuple[int, ...]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected a number, or several as in 0,5,10,20") from None
    if numbers[0] < 0:
        raise argparse.ArgumentTypeError(f"'{text}': numbers of trials are not negative")
    return tuple(numbers)
