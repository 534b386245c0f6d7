"""`mql evaluate`: success of a policy on objects, for several arms on matched seeds, with intervals."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

HELP = "measure a policy on objects: without context, with context, and after adaptation, on matched seeds"

SUITES = ("training", "development", "beyond", "held-out")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("--policy", help="policy bundle (default: the shipped one)")
    parser.add_argument(
        "--objects",
        nargs="+",
        default=["training"],
        metavar="NAME",
        help=f"catalogue names, procedural-NNNN, a folder of URDFs, or {', '.join(SUITES)} (default: training)",
    )
    parser.add_argument("--limit", type=int, default=0, help="use only the first so many of the objects (default: all)")
    parser.add_argument("--arms", default="no-context,context", help="comma-separated (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=0, metavar="N", help="new trials to adapt on (default: 0)")
    parser.add_argument("--test-trials", type=int, default=5, help="trials that are counted (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="seeds an object (default: 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="adaptation settings to override")
    parser.add_argument("--json", metavar="FILE", help="write the results there")


def main(arguments: argparse.Namespace) -> int:
    """Run the verb."""
    from mql_ros.cli.adaptation_settings import load_adaptation
    from mql_ros.cli.output import check_writable, write_json
    from mql_ros.errors import UserError
    from mql_ros.nodes.policy_loading import check_bundle
    from mql_ros.resources import share_path
    from mql_sim.evaluation import ARMS, Trial
    from mql_sim.workers import Workers

    arms = tuple(name.strip() for name in arguments.arms.split(","))
    for arm in arms:
        if arm not in ARMS:
            raise UserError(f"unknown arm '{arm}'; known arms are {', '.join(ARMS)}")
    if min(arguments.seeds, arguments.test_trials, arguments.workers) < 1 or arguments.trials < 0:
        raise UserError("--seeds, --test-trials and --workers must be at least 1, and --trials not negative")
    names = _objects(arguments.objects)[: arguments.limit or None]
    policy = arguments.policy or str(share_path("models", "grasp"))
    check_bundle(Path(policy), "panda")
    check_writable(arguments.json)
    settings, noise = load_adaptation(arguments.set)
    trials = [
        Trial(policy, name, seed, arms, arguments.trials, arguments.test_trials, noise, settings)
        for seed in range(arguments.seeds)
        for name in names
    ]
    started, results = time.monotonic(), []
    with Workers("panda", arguments.workers) as workers:
        for result in workers.evaluate(trials):
            results.append(result)
            spent = time.monotonic() - started
            left = spent / len(results) * (len(trials) - len(results))
            print(f"\r{len(results)}/{len(trials)} sessions, {left:.0f} s left   ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    report = summarize(trials, results, arms)
    report["settings"] = {
        "policy": Path(policy).name, "objects": arguments.objects, "limit": arguments.limit,
        "new_trials": arguments.trials,
        "test_trials": arguments.test_trials, "seeds": arguments.seeds, "seconds": round(time.monotonic() - started, 1),
        "noise": noise, "overrides": arguments.set,
    }  # fmt: skip
    _print(report)
    if arguments.json:
        write_json(arguments.json, report)
    return 0


def _objects(words: list[str]) -> list[str]:
    from mql_ros.errors import UserError
    from mql_sim.catalogue import HELD_OUT_NAMED, beyond_names, development_names, find_object, training_names

    suites = {
        "training": training_names,
        "development": development_names,
        "beyond": beyond_names,
        "held-out": lambda: list(HELD_OUT_NAMED),
    }
    names: list[str] = []
    for word in words:
        if word in suites:
            names += suites[word]()
        elif Path(word).is_dir():
            found = sorted(str(path) for path in Path(word).glob("*.urdf"))
            if not found:
                raise UserError(f"the folder {word} holds no .urdf file; give objects by name, or a folder of URDFs")
            names += found
        else:
            names.append(word)
    for name in names:
        find_object(name)
    return names


def summarize(trials: list[Any], results: list[dict[str, Any]], arms: tuple[str, ...]) -> dict[str, Any]:
    """The JSON report: success rates with Wilson intervals, and differences to `context` with bootstrap intervals.

    `success_rate` is that of the last third of the test trials; `by_trial` has every one of them.
    """
    import numpy as np

    from mql_ros.statistics import paired_difference, wilson_interval

    report: dict[str, Any] = {"schema": 1, "arms": {}, "paired": {}, "objects": {}}
    by_object: dict[str, np.ndarray] = {}
    for arm in arms:
        won = np.array([result[arm]["successes"] for result in results], dtype=float)
        tail = won[:, -max(1, won.shape[1] // 3) :]
        # Seeds of one object depend on each other: the object is the unit that intervals are drawn over.
        names = [trial.object_name for trial in trials]
        by_object[arm] = np.array([won[[n == name for n in names]].mean() for name in dict.fromkeys(names)])
        report["arms"][arm] = {
            "success_rate": float(tail.mean()),
            "interval": list(wilson_interval(int(tail.sum()), tail.size)),
            "by_trial": [float(v) for v in won.mean(axis=0)],
            "by_trial_interval": [list(wilson_interval(int(v), len(won))) for v in won.sum(axis=0)],
            "all_trials": float(won.mean()),
        }
        found = [result[arm]["adaptation"] for result in results if result[arm]["adaptation"]]
        if found:
            for key in ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "seconds"):
                values = [row[key] for row in found if row[key] is not None]
                report["arms"][arm][key] = float(np.mean(values)) if values else None
        for trial, result in zip(trials, results, strict=True):
            entry = report["objects"].setdefault(trial.object_name, {}).setdefault(arm, {"successes": 0, "trials": 0})
            entry["successes"] += int(sum(result[arm]["successes"]))
            entry["trials"] += len(result[arm]["successes"])
    for arm in arms:
        for other in arms:
            if arms.index(arm) > arms.index(other) and len(by_object[arm]) > 1:
                estimate = paired_difference(by_object[arm], by_object[other], seed=0)
                report["paired"][f"{arm} - {other}"] = {
                    "difference": estimate.mean, "interval": [estimate.low, estimate.high]
                }  # fmt: skip
    return report


def _print(report: dict[str, Any]) -> None:
    print(f"{'arm':16} {'last third':>10} {'95 % interval':>16} {'all':>6}   by trial")
    for arm, row in report["arms"].items():
        low, high = row["interval"]
        trials = " ".join(f"{v:.2f}" for v in row["by_trial"])
        print(f"{arm:16} {row['success_rate']:10.3f}   [{low:.3f}, {high:.3f}] {row['all_trials']:6.3f}   {trials}")
    for arm, row in report["arms"].items():
        if len(row["by_trial"]) >= 3:
            low, high = row["by_trial_interval"][2]
            print(f"{arm}: third trial {row['by_trial'][2]:.3f}, 95 % Wilson interval [{low:.3f}, {high:.3f}]")
    for name, row in report["paired"].items():
        low, high = row["interval"]
        print(f"{name:34} {row['difference']:+.3f} [{low:+.3f}, {high:+.3f}]  (mean over all test trials, paired)")
