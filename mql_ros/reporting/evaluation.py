"""The output of `mql evaluate`: success rates and paired differences with intervals, by method and new trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mql_ros.evaluation.intervals import paired_difference, rate_interval
from mql_ros.reporting.text_table import table

ADAPTATION_FIGURES = ("effective_sample_size", "proximal_coefficient", "classifier_accuracy", "seconds")
"""Means over a method's adaptations that stand beside its success."""
WINDOWS = {"trial 3": (2, 3), "trial 5": (4, 5), "trials 5 to 8": (4, 8)}
"""First and behind the last of the test trials that are told apart, where there are so many."""


def summarize(cases: Sequence[Any], results: Sequence[dict[str, Any]], methods: Sequence[str]) -> dict[str, Any]:
    """The JSON report of `run_case`'s results [len(cases)]; every object and number of new trials has all the seeds.

    `methods`, `paired` and `objects` are about the largest number of new trials. `by_new_trials`, which an object has
    too, and `paired_by_new_trials` are about each number. `success_rate` is that of the last third of the test trials,
    `windows` those that WINDOWS names. `by_trial` has every trial, of an object the successes over its seeds. `judged`
    compares the reward with the simulator over the trials of all methods. Nothing depends on the order in which
    sessions were finished.
    """
    names = list(dict.fromkeys(case.object_name for case in cases))
    steps = sorted({case.new_trials for case in cases})
    found: dict[tuple[int, str], list[tuple[int, dict[str, Any]]]] = {}
    for case, result in zip(cases, results, strict=True):
        found.setdefault((case.new_trials, case.object_name), []).append((case.seed, result))
    ordered = {key: [row for _, row in sorted(rows, key=lambda pair: pair[0])] for key, rows in found.items()}

    by_step: dict[str, dict[str, Any]] = {}
    paired: dict[str, dict[str, Any]] = {}
    objects: dict[str, Any] = {name: {method: {"by_new_trials": {}} for method in methods} for name in names}
    for step in steps:
        won = {
            method: np.array(
                [[o for row in ordered[step, name] for o in row[method]["successes"]] for name in names], float
            )
            for method in methods
        }
        by_step[str(step)] = {
            method: _of_method(won[method])
            | _of_adaptations([row[method] for name in names for row in ordered[step, name]])
            for method in methods
        }
        paired[str(step)] = _differences(won)
        for method in methods:
            for name, outcomes in zip(names, won[method], strict=True):
                objects[name][method]["by_new_trials"][str(step)] = {
                    "successes": int(outcomes.sum()), "trials": int(outcomes.size),
                    "success_rate": float(_last_third(outcomes).mean()),
                    "by_trial": [int(count) for count in outcomes.sum(axis=0)],
                }  # fmt: skip
    largest = str(steps[-1])
    explored = {name: [int(sum(row["new"])) for row in ordered[steps[-1], name]] for name in names}
    for by_method in objects.values():
        for method, entry in by_method.items():
            by_method[method] = entry["by_new_trials"][largest] | entry
    return {
        "schema": 1, "methods": by_step[largest], "paired": paired[largest], "objects": objects,
        "by_new_trials": by_step, "paired_by_new_trials": paired,
        "exploration": {
            "successes_by_object": explored, "sessions": sum(len(counts) for counts in explored.values()),
            "sessions_without_success": sum(count == 0 for counts in explored.values() for count in counts),
        },
        "sessions_unseen": sum(bool(result.get("unseen")) for result in results),
        "judged": {
            key: sum(result["judged"][key] for result in results) for key in ("trials", "false_lifts", "missed_lifts")
        },
    }  # fmt: skip


def _last_third(won: NDArray) -> NDArray:
    return won[..., -max(1, won.shape[-1] // 3) :]


def _of_method(won: NDArray) -> dict[str, Any]:
    """Of outcomes [objects, sessions, test trials]."""
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
        "windows": {name: _of_window(won[..., first:last]) for name, first, last in _windows(won)},
    }


def _windows(won: NDArray) -> list[tuple[str, int, int]]:
    return [(name, first, last) for name, (first, last) in WINDOWS.items() if last <= won.shape[-1]]


def _of_window(won: NDArray) -> dict[str, Any]:
    interval = rate_interval(won.reshape(len(won), -1))
    return {"success_rate": float(won.mean()), "interval": [interval.low, interval.high]}


def _of_adaptations(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    adaptations = [row["adaptation"] for row in rows if row.get("adaptation")]
    figures: dict[str, float | None] = {}
    for key in ADAPTATION_FIGURES if adaptations else ():
        values = [row[key] for row in adaptations if row.get(key) is not None]
        figures[key] = float(np.mean(values)) if values else None
    return figures


def _differences(won: dict[str, NDArray]) -> dict[str, Any]:
    """Of each method to those before it, over all test trials and over each window.

    The object is the unit, because its seeds are dependent.
    """
    paired: dict[str, Any] = {}
    methods = list(won)
    for place, method in enumerate(methods):
        for other in methods[:place]:
            if len(won[method]) > 1:
                windows = {
                    name: _difference(won[method][..., first:last], won[other][..., first:last])
                    for name, first, last in _windows(won[method])
                }
                paired[f"{method} - {other}"] = _difference(won[method], won[other]) | {"windows": windows}
    return paired


def _difference(won: NDArray, other: NDArray) -> dict[str, Any]:
    estimate = paired_difference(won.mean(axis=(1, 2)), other.mean(axis=(1, 2)), seed=0)
    return {"difference": estimate.mean, "interval": [estimate.low, estimate.high]}


def print_report(report: dict[str, Any]) -> None:
    """The report as tables."""
    rows = [["new trials", "method", "last third", "95 % interval", "interval kind", "all", "by test trial"]]
    for step, methods in report["by_new_trials"].items():
        for method, row in methods.items():
            by_trial = " ".join(f"{value:.2f}" for value in row["by_trial"])
            rows.append(
                [step, method, f"{row['success_rate']:.3f}", _interval(row, ""), row["interval_kind"],
                 f"{row['all_trials']:.3f}", by_trial]
            )  # fmt: skip
    print(table(rows))
    windows = list(next(iter(report["methods"].values()))["windows"])
    if windows:
        rows = [["method", *windows]]
        for method, row in report["methods"].items():
            found = [row["windows"][name] for name in windows]
            rows.append([method, *(f"{one['success_rate']:.3f} {_interval(one, '')}" for one in found)])
        print("\n" + table(rows))
    found = report["exploration"]
    if steps := max(map(int, report["by_new_trials"])):
        mean = np.mean([count for counts in found["successes_by_object"].values() for count in counts])
        print(
            f"exploration: {mean:.1f} successes in {steps} new trials; none at all in "
            f"{found['sessions_without_success']} of {found['sessions']} sessions"
        )
    if report["sessions_unseen"]:
        print(f"{report['sessions_unseen']} sessions count as failures: the object did not come to rest in view")
    judged = report["judged"]
    print(
        f"the reward saw {judged['false_lifts']} lifts that were none and missed {judged['missed_lifts']}, "
        f"of {judged['trials']} trials"
    )
    rows = [["new trials", "difference", "all test trials", "95 % interval (bootstrap over objects)", *windows]]
    for step, differences in report["paired_by_new_trials"].items():
        for name, row in differences.items():
            within = [f"{one['difference']:+.3f} {_interval(one, '+')}" for one in row["windows"].values()]
            rows.append([step, name, f"{row['difference']:+.3f}", _interval(row, "+"), *within])
    if len(rows) > 1:
        print("\n" + table(rows))
    else:
        print("\nno paired differences: they take two methods and two objects")


def _interval(row: dict[str, Any], sign: str) -> str:
    low, high = row["interval"]
    return f"[{low:{sign}.3f}, {high:{sign}.3f}]"
