"""What `mql evaluate` says: success rates with intervals and paired differences, by arm and number of new trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mql_ros.core.output import table
from mql_ros.evaluation.statistics import paired_difference, rate_interval

ADAPTATION_FIGURES = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "seconds")
"""Means over an arm's adaptations that stand beside its success."""


def summarize(trials: Sequence[Any], results: Sequence[dict[str, Any]], arms: Sequence[str]) -> dict[str, Any]:
    """The JSON report of `run_trial`'s results [len(trials)]; every object and number of new trials has all the seeds.

    `arms`, `paired` and `objects` are about the largest number of new trials, `by_new_trials` (also within an object)
    and `paired_by_new_trials` about each. `success_rate` is that of the last third of the test trials, `by_trial` has
    every one of them. Nothing depends on the order in which sessions were finished.
    """
    names = list(dict.fromkeys(trial.object_name for trial in trials))
    steps = sorted({trial.new_trials for trial in trials})
    found: dict[tuple[int, str], list[tuple[int, dict[str, Any]]]] = {}
    for trial, result in zip(trials, results, strict=True):
        found.setdefault((trial.new_trials, trial.object_name), []).append((trial.seed, result))
    ordered = {key: [row for _, row in sorted(rows, key=lambda pair: pair[0])] for key, rows in found.items()}

    by_step: dict[str, dict[str, Any]] = {}
    paired: dict[str, dict[str, Any]] = {}
    objects: dict[str, Any] = {name: {arm: {"by_new_trials": {}} for arm in arms} for name in names}
    for step in steps:
        won = {
            # Each object that a session tests is a row, as each seed is.
            arm: np.array([[o for row in ordered[step, name] for o in row[arm]["successes"]] for name in names], float)
            for arm in arms
        }
        by_step[str(step)] = {
            arm: _of_arm(won[arm]) | _of_adaptations([row[arm] for name in names for row in ordered[step, name]])
            for arm in arms
        }
        paired[str(step)] = _differences(won)
        for arm in arms:
            for name, outcomes in zip(names, won[arm], strict=True):
                objects[name][arm]["by_new_trials"][str(step)] = {
                    "successes": int(outcomes.sum()), "trials": int(outcomes.size),
                    "success_rate": float(_last_third(outcomes).mean()),
                }  # fmt: skip
    largest = str(steps[-1])
    explored = {name: [int(sum(row["new"])) for row in ordered[steps[-1], name]] for name in names}
    for arms_of_object in objects.values():
        for arm, entry in arms_of_object.items():
            arms_of_object[arm] = entry["by_new_trials"][largest] | entry
    return {
        "schema": 1, "arms": by_step[largest], "paired": paired[largest], "objects": objects,
        "by_new_trials": by_step, "paired_by_new_trials": paired,
        "exploration": {
            "successes_by_object": explored, "sessions": sum(len(counts) for counts in explored.values()),
            "sessions_without_success": sum(count == 0 for counts in explored.values() for count in counts),
        },
    }  # fmt: skip


def _last_third(won: NDArray) -> NDArray:
    return won[..., -max(1, won.shape[-1] // 3) :]


def _of_arm(won: NDArray) -> dict[str, Any]:
    """Of outcomes [objects or kinds, tested sessions, test trials]."""
    tail = _last_third(won)
    interval = rate_interval(tail.reshape(len(tail), -1))
    each = [rate_interval(won[:, :, number]) for number in range(won.shape[-1])]
    return {
        "success_rate": float(tail.mean()),
        "interval": [interval.low, interval.high],
        "interval_kind": interval.kind,
        "by_trial": [float(value) for value in won.mean(axis=(0, 1))],
        "by_trial_interval": [[one.low, one.high] for one in each],
        "all_trials": float(won.mean()),
    }


def _of_adaptations(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    adaptations = [row["adaptation"] for row in rows if row.get("adaptation")]
    figures: dict[str, float | None] = {}
    for key in ADAPTATION_FIGURES if adaptations else ():
        values = [row[key] for row in adaptations if row.get(key) is not None]
        figures[key] = float(np.mean(values)) if values else None
    return figures


def _differences(won: dict[str, NDArray]) -> dict[str, Any]:
    """Of each arm to those before it, over all test trials; the object is the unit: its seeds depend on each other."""
    paired: dict[str, Any] = {}
    arms = list(won)
    for place, arm in enumerate(arms):
        for other in arms[:place]:
            if len(won[arm]) > 1:
                first, second = won[arm].mean(axis=(1, 2)), won[other].mean(axis=(1, 2))
                estimate = paired_difference(first, second, seed=0)
                paired[f"{arm} - {other}"] = {
                    "difference": estimate.mean, "interval": [estimate.low, estimate.high],
                }  # fmt: skip
    return paired


def print_report(report: dict[str, Any]) -> None:
    """The report as tables."""
    rows = [["new trials", "arm", "last third", "95 % interval", "interval kind", "all", "by test trial"]]
    for step, arms in report["by_new_trials"].items():
        for arm, row in arms.items():
            low, high = row["interval"]
            by_trial = " ".join(f"{value:.2f}" for value in row["by_trial"])
            rows.append(
                [step, arm, f"{row['success_rate']:.3f}", f"[{low:.3f}, {high:.3f}]", row["interval_kind"],
                 f"{row['all_trials']:.3f}", by_trial]
            )  # fmt: skip
    print(table(rows))
    for arm, row in report["arms"].items():
        if len(row["by_trial"]) >= 3:
            low, high = row["by_trial_interval"][2]
            print(f"{arm}: third trial {row['by_trial'][2]:.3f}, 95 % interval [{low:.3f}, {high:.3f}]")
    found = report["exploration"]
    if steps := max(map(int, report["by_new_trials"])):
        mean = np.mean([count for counts in found["successes_by_object"].values() for count in counts])
        print(
            f"exploration: {mean:.1f} successes in {steps} new trials; none at all in "
            f"{found['sessions_without_success']} of {found['sessions']} sessions"
        )
    rows = [["new trials", "difference, all test trials", "mean", "95 % interval (bootstrap over objects)"]]
    for step, differences in report["paired_by_new_trials"].items():
        for name, row in differences.items():
            low, high = row["interval"]
            rows.append([step, name, f"{row['difference']:+.3f}", f"[{low:+.3f}, {high:+.3f}]"])
    if len(rows) > 1:
        print("\n" + table(rows))
    else:
        print("\nno paired differences: they take two arms and two objects")
