"""Tables of `mql results` about success on objects, and about speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from mql_ros.evaluation.intervals import bootstrap_mean
from mql_ros.reporting.evaluation import ADAPTATION_FIGURES, WINDOWS
from mql_ros.reporting.results.page import (
    Page,
    by_trial,
    command_text,
    file_label,
    form_of,
    hardware_text,
    interval,
    markdown_table,
    paragraphs,
    short,
)  # fmt: skip

EVALUATION = "`mql evaluate`"
MANY_OBJECTS = 20
"""Longer tables of objects are folded."""


def evaluation(page: Page, words: Sequence[str]) -> str:
    """Success of each method, by number of new trials where there are several, and where the numbers are from."""
    files, missing = page.read(words)
    if not files:
        return missing
    rows = [["file", "new trials", "method", "success rate", "95 % interval", "interval kind", "all test trials",
             "by test trial"]]  # fmt: skip
    notes = []
    for name, report in files:
        with form_of(name, EVALUATION):
            steps = _steps(report, "by_new_trials", "methods")
            for step, methods in steps.items():
                for method, row in methods.items():
                    every = f"{row['all_trials']:.3f}" if "all_trials" in row else ""
                    trials = by_trial(row.get("by_trial", ()))
                    number = step if len(steps) > 1 else ""
                    rows.append(
                        [file_label(name, files), number, method, f"{row['success_rate']:.3f}",
                         interval(row["interval"]), row.get("interval_kind", ""), every, trials]
                    )  # fmt: skip
            notes += _notes(report)
    return paragraphs(markdown_table(rows), "\n".join(dict.fromkeys(notes)), missing)


def _steps(report: Mapping[str, Any], several: str, one: str) -> dict[str, Any]:
    """The report's entries by number of new trials; a single one if it does not divide them."""
    return dict(report[several]) if several in report else {"": report[one]}


def _notes(report: Mapping[str, Any]) -> list[str]:
    notes = []
    tests = report.get("settings", {}).get("test_trials")
    if tests and "by_new_trials" in report:
        last = f"the last {tests // 3}" if tests >= 6 else "the last"
        notes.append(f"Success rate: {last} of {tests} test trials.")
    for method, row in report["methods"].items():
        found = [f"{key.replace('_', ' ')} {row[key]:.3g}" for key in ADAPTATION_FIGURES if row.get(key) is not None]
        if found:
            notes.append(f"Adaptations of {method}, mean: {', '.join(found)}.")
    return notes


def trials(page: Page, words: Sequence[str]) -> str:
    """Success of each method in each test trial of a file, with its interval."""
    files, missing = page.read(words)
    rows: list[list[str]] = []
    for name, report in files:
        with form_of(name, EVALUATION):
            for method, row in report["methods"].items():
                pairs = zip(row["by_trial"], row["by_trial_interval"], strict=True)
                rows.append([method, *(f"{short(rate)} [{short(low)}, {short(high)}]" for rate, (low, high) in pairs)])
    head = ["method", *(f"trial {number}" for number in range(1, max(map(len, rows), default=1)))]
    return paragraphs(markdown_table([head, *rows]), missing) if rows else missing


def conditions(page: Page, words: Sequence[str]) -> str:
    """One method, named first, on the same objects in files that differ in bench, robot or policy.

    Differences are to the first file, object by object, in trials 5 to 8; missing objects are left out.
    """
    method, names = words[0], words[1:]
    files, missing = page.read(names)
    rows = [["bench", "robot", "policy", "objects", *WINDOWS, "difference to the first row, trials 5 to 8",
             "95 % interval"]]  # fmt: skip
    first: dict[str, float] = {}
    for name, report in files:
        with form_of(name, EVALUATION):
            late = _late_rates(report, method)
            first = first or late
            both = [thing for thing in first if thing in late]
            found = report["methods"][method]["windows"]
            settings = report["settings"]
            cells = ["", ""]
            if late is not first and both:
                estimate = bootstrap_mean([late[thing] - first[thing] for thing in both], seed=0)
                cells = _marked(estimate.mean, estimate.low, estimate.high)
            rates = [f"{found[key]['success_rate']:.3f} {interval(found[key]['interval'])}" for key in WINDOWS]
            policy = f"{settings['policy']} `{settings['bundle_hash'][:8]}`"
            rows.append([settings["bench"], settings["robot"], policy, str(len(late)), *rates, *cells])
    for column in range(3):  # what all files share is said in their provenance
        if len({row[column] for row in rows[1:]}) == 1:
            rows = [[*row[:column], "", *row[column + 1 :]] for row in rows]
    return paragraphs(markdown_table(rows), missing) if files else missing


def _late_rates(report: Mapping[str, Any], method: str) -> dict[str, float]:
    """Success of a method in the last window's trials, by object."""
    first, last = list(WINDOWS.values())[-1]
    seeds = int(report["settings"]["seeds"])
    return {
        name: sum(entry[method]["by_trial"][first:last]) / (seeds * (last - first))
        for name, entry in report["objects"].items()
    }


def cases(page: Page, words: Sequence[str]) -> str:
    """Successes of each method with each object in trials 4 to 8."""
    files, missing = page.read(words)
    parts = []
    for name, report in files:
        with form_of(name, EVALUATION):
            methods = list(report["methods"])
            rows = [["object", *(f"{method}, of {5 * int(report['settings']['seeds'])}" for method in methods)]]
            for thing, entry in report["objects"].items():
                rows.append([PurePath(thing).name, *(str(sum(entry[m]["by_trial"][3:8])) for m in methods)])
        parts.append(markdown_table(rows))
    return paragraphs(*parts, missing)


def paired(page: Page, words: Sequence[str]) -> str:
    """Differences between methods on the same objects; bold where the interval excludes zero."""
    files, missing = page.read(words)
    late = list(WINDOWS)[-1]
    rows = [["file", "new trials", "difference", "all test trials", "95 % interval", late, "95 % interval"]]
    for name, report in files:
        with form_of(name, EVALUATION):
            steps = _steps(report, "paired_by_new_trials", "paired")
            for step, differences in steps.items():
                for pair, row in differences.items():
                    number = step if len(steps) > 1 else ""
                    window = row.get("windows", {}).get(late)
                    cells = [
                        _marked(part["difference"], *part["interval"]) if part else ["", ""] for part in (row, window)
                    ]
                    rows.append([file_label(name, files), number, pair, *cells[0], *cells[1]])
    rows += _mean_of_runs(files)
    if files and len(rows) == 1:
        return paragraphs("No paired differences: they take two methods and two objects.", missing)
    note = "Bold: the interval excludes zero."
    return paragraphs(markdown_table(rows), note, missing) if files else missing


def _mean_of_runs(files: Sequence[tuple[str, Mapping[str, Any]]]) -> list[list[Any]]:
    """Rows for the mean over several runs that tried the same objects; an object's runs depend on each other."""
    reports = [report for _, report in files]
    if len(reports) < 2 or any(len(_steps(r, "paired_by_new_trials", "paired")) != 1 for r in reports):
        return []
    things = list(reports[0].get("objects", {}))
    if len(things) < 2 or any(set(report.get("objects", {})) != set(things) for report in reports):
        return []
    rows: list[list[Any]] = []
    for pair in reports[0]["paired"]:
        if all(pair in report["paired"] for report in reports):
            method, other = pair.split(" - ")
            rates = [[_rate(r, thing, method) - _rate(r, thing, other) for thing in things] for r in reports]
            found = bootstrap_mean(np.mean(rates, axis=0), seed=0)
            rows.append(
                [f"mean of the {len(reports)} runs", "", pair, *_marked(found.mean, found.low, found.high), "", ""]
            )
    return rows


def _marked(difference: float, low: float, high: float) -> list[str]:
    """A difference and its interval, bold where that excludes zero."""
    mark = "**" if low > 0.0 or high < 0.0 else ""
    return [f"{mark}{cell}{mark}" for cell in (f"{difference:+.3f}", interval([low, high], "+"))]


def _rate(report: Mapping[str, Any], thing: str, method: str) -> float:
    counts = report["objects"][thing][method]
    return float(counts["successes"] / counts["trials"])


def objects(page: Page, words: Sequence[str]) -> str:
    """Successes of each method with each object, after the largest number of new trials."""
    files, missing = page.read(words)
    return paragraphs(*(_objects(name, report) for name, report in files), missing)


def _objects(name: str, report: Mapping[str, Any]) -> str:
    with form_of(name, EVALUATION):
        entries = report["objects"]
        methods = list(report["methods"])
        trials = {entry[method]["trials"] for entry in entries.values() for method in methods}
        same = f" of {min(trials)}" if len(trials) == 1 else ""
        rows = [["object", *(method + same for method in methods)]]
        for thing, entry in entries.items():
            counts = [entry[method] for method in methods]
            cells = [f"{c['successes']}" if same else f"{c['successes']} of {c['trials']}" for c in counts]
            rows.append([thing, *cells])
        text = f"Successes, `{name}`:" if "" in _steps(report, "by_new_trials", "methods") else (
            f"Successes after {max(map(int, report['by_new_trials']))} new trials, `{name}`:"
        )  # fmt: skip
    if len(entries) > MANY_OBJECTS:
        return f"<details><summary>{text.rstrip(':')}</summary>\n\n{markdown_table(rows)}\n\n</details>"
    return paragraphs(text, markdown_table(rows))


def windows(page: Page, words: Sequence[str]) -> str:
    """Success in the third and fifth trial and in the fifth to eighth, and how far each method is from the first named.

    The words are a file and methods of it, none for all of them.
    """
    files, missing = page.read(words[:1])
    rows: list[list[str]] = [["method", *WINDOWS, "difference to {}, trials 5 to 8", "95 % interval"]]
    for name, report in files:
        with form_of(name, EVALUATION):
            methods = list(words[1:] or report["methods"])
            rows[0][-2] = rows[0][-2].format(methods[0])
            for method in methods:
                found = report["methods"][method]["windows"]
                cells = [
                    f"{found[key]['success_rate']:.3f} {interval(found[key]['interval'])}" if key in found else ""
                    for key in WINDOWS
                ]
                rows.append([method, *cells, *_late_difference(report["paired"], method, methods[0])])
    return paragraphs(markdown_table(rows), missing) if files else missing


def _late_difference(pairs: Mapping[str, Any], method: str, first: str) -> list[str]:
    """A method minus the first one in trials 5 to 8, whichever way the report has it."""
    for pair, sign in ((f"{method} - {first}", 1.0), (f"{first} - {method}", -1.0)):
        if found := pairs.get(pair, {}).get("windows", {}).get("trials 5 to 8"):
            low, high = sorted(sign * end for end in found["interval"])
            return _marked(sign * found["difference"], low, high)
    return ["", ""]


def bench(page: Page, words: Sequence[str]) -> str:
    """The numbers of `mql bench` beside their baselines."""
    files, missing = page.read(words)
    parts = []
    for name, report in files:
        rows = [["benchmark", "value", "unit", "baseline", "ratio", "the baseline is"]]
        with form_of(name, "`mql bench`"):
            for key, row in report.items():
                values = [f"{row['value']:.4g}", row["unit"], f"{row['baseline']:.4g}", f"{row['ratio']:.2f}"]
                rows.append([key, *values, row["baseline_name"]])
            known = dict.fromkeys(
                f"{command_text(row)}; {hardware_text(row.get('hardware'))}" for row in report.values()
            )
        parts.append(paragraphs(markdown_table(rows), f"Ratio: how many times better. `{name}`: {'. '.join(known)}."))
    return paragraphs(*parts, missing)


def goals(page: Page, words: Sequence[str]) -> str:
    """Some numbers of one file of `mql bench`, named after it, beside their baselines."""
    files, missing = page.read(words[:1])
    rows = [["benchmark", "value", "unit", "baseline", "the baseline is"]]
    for name, report in files:
        with form_of(name, "`mql bench`"):
            for key in words[1:]:
                row = report[key]
                rows.append([key, f"{row['value']:.4g}", row["unit"], f"{row['baseline']:.4g}", row["baseline_name"]])
    return paragraphs(markdown_table(rows), missing) if files else missing
