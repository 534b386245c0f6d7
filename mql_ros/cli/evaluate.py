"""`mql evaluate`: success of a policy on objects, for several arms on matched seeds, with intervals."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

HELP = "measure a policy on objects: without context, with context, and after adaptation, on matched seeds"

SUITES = (
    "training", "development", "beyond", "held-out", "in-distribution", "out-of-distribution", "kinds",
    "out-of-distribution-kinds",
)  # fmt: skip
"""Those of mql_sim.objects.catalogue, which is not imported for a help text."""
ARMS = (
    "reference", "no-context", "context", "repeat", "fine-tune", "uniform-replay", "replay-only", "untransported",
    "unweighted", "mql", "from-scratch",
)  # fmt: skip
"""Those of mql_ros.evaluation.methods, likewise."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--policy", metavar="BUNDLE", help="policy bundle (default: the shipped one)")
    parser.add_argument(
        "--robot", default="panda", metavar="NAME|FILE.yaml", help="robot profile of the arm (default: %(default)s)"
    )
    parser.add_argument(
        "--objects",
        nargs="+",
        default=["training"],
        metavar="NAME",
        help="catalogue names, procedural-NNNN, a .urdf or a folder of them; kinds, of which some objects are tried "
        f"and others tested: kind-NNNN or A+B+C (C is tested); or {', '.join(SUITES)} (default: training)",
    )
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many of the objects (default: all)")
    parser.add_argument(
        "--arms", default="no-context,context", help=f"comma-separated, of {', '.join(ARMS)} (default: %(default)s)"
    )
    parser.add_argument(
        "--trials",
        type=_new_trials,
        default="0",
        metavar="N[,N...]",
        help="new trials to adapt on; several numbers, such as 0,5,10,20, are compared (default: %(default)s)",
    )
    parser.add_argument("--against", metavar="BUNDLE", help="another policy, for the arm `reference`: not adapted")
    parser.add_argument(
        "--adaptations",
        type=int,
        default=1,
        metavar="M",
        help="adapt M times, each after its share of the new trials (default: 1; kinds: once, after all)",
    )
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
        help="draw which training objects' data the arm `mql` drew on, for the first six objects: .png or .svg",
    )


def main(arguments: argparse.Namespace) -> int:  # noqa: C901, PLR0915
    """Run the verb."""
    from mql_ros.core.errors import UserError
    from mql_ros.core.hardware import hardware
    from mql_ros.core.output import check_writable, write_json
    from mql_ros.core.resources import share_path
    from mql_ros.evaluation.adaptation_settings import load_adaptation
    from mql_ros.evaluation.methods import Trial
    from mql_ros.evaluation.runner import PartialResults, run_trials
    from mql_ros.grasping.robot.profile import load_profile
    from mql_ros.reporting.evaluation import print_report, summarize
    from mql_ros.reporting.figures import check_figure, evaluation_figure, save_figure
    from mql_ros.reporting.propensity import mean_ratios, propensity_figure, propensity_summary
    from mql_ros.ros.policies.policy_loading import check_bundle

    arms = tuple(dict.fromkeys(name.strip() for name in arguments.arms.split(",")))
    for arm in arms:
        if arm not in ARMS:
            raise UserError(f"unknown arm '{arm}'; known arms are {', '.join(ARMS)}")
    counts = (arguments.seeds, arguments.adaptations, arguments.test_trials, arguments.workers)
    if min(counts) < 1 or arguments.limit < 0:
        raise UserError(
            "--seeds, --adaptations, --test-trials and --workers must be at least 1, and --limit not negative"
        )
    if ("reference" in arms) != bool(arguments.against):
        raise UserError("the arm 'reference' and --against BUNDLE belong together; give both or neither")
    names = find_objects(arguments.objects)[: arguments.limit or None]
    _check_alike(names, arguments.adaptations)
    policy = arguments.policy or str(share_path("models", "grasp"))
    profile = load_profile(arguments.robot)
    bundle_hash = check_bundle(Path(policy), profile.name, *profile.policies_from).hash
    check_writable(arguments.json)
    check_figure(arguments.figure)
    check_figure(arguments.propensity)
    trained_on = _warn_of_training_objects(policy, names)
    adaptation, exploration = load_adaptation(arguments.set)
    # All numbers of new trials of an object stand together, so that what is left always costs as much as what is done.
    trials = [
        Trial(
            bundle=policy,
            object_name=name,
            seed=seed,
            arms=arms,
            new_trials=new_trials,
            adaptations=arguments.adaptations,
            test_trials=arguments.test_trials,
            exploration=exploration,
            adaptation=adaptation,
            reference=arguments.against,
            robot=arguments.robot,
        )
        for seed in range(arguments.seeds)
        for name in names
        for new_trials in arguments.trials
    ]
    started = time.monotonic()
    partial = PartialResults(arguments.json)
    try:
        results, resumed = run_trials(trials, bundle_hash, arguments.workers, partial)
    except KeyboardInterrupt:
        if arguments.json:
            print(f"\nfinished sessions are in {partial.path}; the same command goes on from there", file=sys.stderr)
        raise
    report = summarize(trials, results, arms)
    report["settings"] = {
        "command": command_line(arguments), "robot": profile.name,
        "policy": Path(policy).name, "bundle_hash": bundle_hash,
        "objects": arguments.objects, "limit": arguments.limit, "trained_on": trained_on,
        "new_trials": max(arguments.trials), "by_new_trials": list(arguments.trials),
        "adaptations": arguments.adaptations, "test_trials": arguments.test_trials, "seeds": arguments.seeds,
        "exploration": asdict(exploration), "overrides": arguments.set, "hardware": hardware(),
        "workers": arguments.workers, "against": arguments.against and Path(arguments.against).name,
        "sessions": len(trials), "sessions_resumed": resumed, "seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    ratios = mean_ratios(trials, results)
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


def find_objects(words: Sequence[str]) -> list[str]:
    """Names of the objects that suites, folders and names stand for, each once; UserError where there is none."""
    from mql_ros.core.errors import UserError
    from mql_sim.objects import catalogue

    names: list[str] = []
    for word in words:
        if word in catalogue.SUITES:
            names += catalogue.SUITES[word]()
        elif Path(word).is_dir():
            found = sorted(str(path) for path in Path(word).glob("*.urdf"))
            if not found:
                raise UserError(f"the folder {word} holds no .urdf file; give objects by name, or a folder of URDFs")
            names += found
        else:
            names.append(word)
    # procedural-7 and procedural-0007 are one object; a file goes by its path.
    return list(dict.fromkeys(catalogue.task_name(name) for name in names))


def _check_alike(names: Sequence[str], adaptations: int) -> None:
    """UserError where a table of these objects would compare what cannot be compared."""
    from mql_ros.core.errors import UserError
    from mql_sim.objects.catalogue import find_task

    tasks = [find_task(name) for name in names]
    if len({len(task.tested) for task in tasks}) > 1:
        raise UserError("these names are tested on different numbers of objects; measure kinds and objects apart")
    if adaptations > 1 and not all(task.one_object for task in tasks):
        raise UserError("a kind is adapted to once, after all of its objects have been tried; leave --adaptations out")


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


def _warn_of_training_objects(policy: str, names: Sequence[str]) -> int:
    import json

    from mql_sim.objects.catalogue import find_task

    known = set(json.loads((Path(policy) / "manifest.json").read_bytes()).get("training_objects", ()))
    # A file may call its object whatever it likes.
    count = sum(
        not known.isdisjoint(spec.name for spec in find_task(name).members) for name in names if ".urdf" not in name
    )
    if count:
        print(f"warning: {count} of these {len(names)} objects were trained on", file=sys.stderr)
    return count


def _new_trials(text: str) -> tuple[int, ...]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected a number, or several as in 0,5,10,20") from None
    if numbers[0] < 0:
        raise argparse.ArgumentTypeError(f"'{text}': numbers of trials are not negative")
    return tuple(numbers)
