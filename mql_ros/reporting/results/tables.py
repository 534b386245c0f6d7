"""Tables of `mql results` about success on objects, speed, and anything else that is a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.evaluation.intervals import bootstrap_mean
from mql_ros.reporting.evaluation import ADAPTATION_FIGURES, WINDOWS
from mql_ros.reporting.results.page import (
    Files,
    Page,
    by_trial,
    command_text,
    file_label,
    form_of,
    hardware_text,
    interval,
    markdown_table,
    paragraphs,
    provenance,
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


def brief(page: Page, words: Sequence[str]) -> str:
    """Success of some methods of one file, given after its name, each beside its difference to the first."""
    files, missing = page.read(words[:1])
    rows = [["method", "all test trials", "difference to {}", "95 % interval"]]
    for name, report in files:
        with form_of(name, EVALUATION):
            methods = words[1:] or list(report["methods"])
            rows[0][2] = rows[0][2].format(methods[0])
            for method in methods:
                pair = report["paired"].get(f"{method} - {methods[0]}")
                cells = _marked(pair["difference"], *pair["interval"]) if pair else ["", ""]
                rows.append([method, f"{report['methods'][method]['all_trials']:.3f}", *cells])
    return paragraphs(markdown_table(rows), missing) if files else missing


def _steps(report: Mapping[str, Any], several: str, one: str) -> dict[str, Any]:
    """What the report says by number of new trials; one entry where it says nothing about that."""
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


def paired(page: Page, words: Sequence[str]) -> str:
    """Differences between methods on the same objects; bold where the interval excludes zero."""
    files, missing = page.read(words)
    rows = [["file", "new trials", "difference over all test trials", "mean", "95 % interval"]]
    for name, report in files:
        with form_of(name, EVALUATION):
            steps = _steps(report, "paired_by_new_trials", "paired")
            for step, differences in steps.items():
                for pair, row in differences.items():
                    number = step if len(steps) > 1 else ""
                    rows.append([file_label(name, files), number, pair, *_marked(row["difference"], *row["interval"])])
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
            rows.append([f"mean of the {len(reports)} runs", "", pair, *_marked(found.mean, found.low, found.high)])
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


def anything(page: Page, words: Sequence[str]) -> str:
    """Any JSON: its plain entries as one table, and a table for each entry that is a list or an object of rows."""
    files, missing = page.read(words)
    return paragraphs(*(_anything(name, data) for name, data in files), provenance(_with_settings(files)), missing)


def _with_settings(files: Files) -> Files:
    return [(name, data) for name, data in files if "settings" in data]


def _anything(name: str, data: Mapping[str, Any]) -> str:
    plain, tables = [["entry", "value"]], []
    for key, value in data.items():
        if key in ("schema", "settings"):
            continue
        rows: list[tuple[str, Any]] = []
        if isinstance(value, dict) and value:
            rows = [(str(row), cells) for row, cells in value.items()]
        elif isinstance(value, list):
            rows = [("", cells) for cells in value]
        if rows and all(isinstance(cells, dict) for _, cells in rows):
            columns = list(dict.fromkeys(column for _, cells in rows for column in cells))
            head = [key.replace("_", " "), *(column.replace("_", " ") for column in columns)]
            body = [[row, *(_cell(cells.get(column, "")) for column in columns)] for row, cells in rows]
            tables.append(markdown_table([head, *body]))
        elif isinstance(value, dict):
            plain += [[f"{key}: {part}".replace("_", " "), _cell(inner)] for part, inner in value.items()]
        else:
            plain.append([key.replace("_", " "), _cell(value)])
    if len(plain) == 1 and not tables:
        raise UserError(f"{name} holds nothing to show")
    return paragraphs(markdown_table(plain) if len(plain) > 1 else "", *tables)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_cell(part) for part in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(part)}" for key, part in value.items())
    return "" if value is None else str(value)
