"""Tables of `mql results` about learning: success over decisions, and return over steps of the benchmarks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mql_ros.evaluation.runner import duration
from mql_ros.reporting.results.page import (
    Files,
    Page,
    by_trial,
    command_text,
    form_of,
    hardware_text,
    interval,
    markdown_table,
    paragraphs,
    plural,
    read_json,
)  # fmt: skip

TRAINING = "`mql train`"
BENCHMARKS = "benchmarks/*seed*.json"
REFERENCE = "benchmarks/reference_returns.json"
"""Returns of the published code, with which the benchmarks are compared."""
STEPS = (20_000, 50_000, 100_000, 150_000, 200_000)
"""Environment steps at which the benchmarks are compared."""
MEASURED = {
    "development_objects": "policy", "development_objects_context_zeroed": "policy, context zeroed",
}  # fmt: skip


def run_labels(files: Files, seed_of: Mapping[str, int]) -> dict[str, str]:
    """`seed 1` for each file, with the file's name where two have the same seed."""
    seeds = list(seed_of.values())
    return {
        name: f"seed {seed_of[name]}" + (f" ({Path(name).stem})" if seeds.count(seed_of[name]) > 1 else "")
        for name, _ in files
    }


def training_labels(files: Files) -> dict[str, str]:
    """Those of files of `mql train` on grasping."""
    seeds = {}
    for name, run in files:
        with form_of(name, TRAINING):
            seeds[name] = int(run["config"]["seed"])
    return run_labels(files, seeds)


def training(page: Page, words: Sequence[str]) -> str:
    """Validations of training runs by round, what was measured at their end, and where the numbers are from."""
    files, missing = page.read(words)
    if not files:
        return missing
    labels = training_labels(files)
    cells: dict[tuple[int, int], dict[str, str]] = {}
    notes: list[str] = []
    for name, run in files:
        with form_of(name, TRAINING):
            for row in run["validations"]:
                cells.setdefault((int(row["round"]), int(row["trials"])), {})[name] = by_trial(row["by_trial"])
            notes.append(
                f"Success by trial on {run['config']['validation_objects']} development objects without exploration, "
                "after so many trials of data. The first training knows the scripted explorer's trials only."
            )
    rows = [["training", "trials", *labels.values()]]
    for (number, trials), found in sorted(cells.items()):
        rows.append([str(number), f"{trials:,}", *(found.get(name, "–") for name in labels)])
    return paragraphs(
        markdown_table(rows), "\n".join(dict.fromkeys(notes)), _measured(files, labels), _runs(files, labels), missing
    )


def _measured(files: Files, labels: Mapping[str, str]) -> str:
    rows = [["run", "on development objects", "success by trial", "sessions", "trial 5, 95 % interval (Wilson)"]]
    for name, run in files:
        with form_of(name, TRAINING):
            for key, what in MEASURED.items():
                if row := run["measured"].get(key):
                    rates = by_trial(row["success_by_trial"])
                    span = interval(row["fifth_trial_interval"])
                    rows.append([labels[name], what, rates, str(row["sessions"]), span])
    return markdown_table(rows) if len(rows) > 1 else ""


def _runs(files: Files, labels: Mapping[str, str]) -> str:
    lines = []
    configs = [run["config"] for _, run in files]
    for name, run in files:
        with form_of(name, TRAINING):
            facts = [command_text(run), labels[name], duration(run["seconds"]), hardware_text(run.get("hardware"))]
            lines.append(f"- `{name}`: " + "; ".join(facts))
    keys = sorted({key for config in configs for key in config})
    differing = [key for key in keys if len({json.dumps(c.get(key), sort_keys=True) for c in configs}) > 1]
    if differing:
        lines.append(f"- The settings of these runs differ in: {', '.join(differing)}.")
    return "\n".join(lines)


def benchmarks(page: Page, words: Sequence[str]) -> str:
    """Mean return of each family's runs at fixed numbers of steps beside what the published code reaches."""
    files, missing = page.read(words or [BENCHMARKS])
    parts = []
    for family, runs in by_family(files).items():
        reference = reference_points(page.folder).get(family, {})
        labels = benchmark_labels(runs)
        points = {name: _at_steps(name, run) for name, run in runs}
        rows = [["", *(f"{step // 1000}k" for step in STEPS)]]
        rows += [[labels[name], *(_return(points[name].get(step)) for step in STEPS)] for name, _ in runs]
        if len(runs) > 1:
            reached = [[points[name][step] for name, _ in runs if step in points[name]] for step in STEPS]
            rows.append(["mean over seeds", *(_mean(values, len(runs)) for values in reached)])
        if reference:
            rows.append(["published code, one seed", *(_return(reference.get(step)) for step in STEPS)])
        parts += [f"{family}:", markdown_table(rows), _benchmark_runs(runs, labels)]
    if parts:
        note = (
            "Mean return on the test tasks after so many environment steps: the last evaluation by then. "
            "No prior data; the networks start at random."
        )
        parts.insert(0, note)
    return paragraphs(*parts, missing)


def returns(page: Page, words: Sequence[str]) -> str:
    """Mean return of each family's runs at the last step that all of them reached, beside the published code's."""
    files, missing = page.read(words or [BENCHMARKS])
    rows = [["family", "seeds", "environment steps", "mean return", "published code, one seed"]]
    for family, runs in by_family(files).items():
        reached = [_at_steps(name, run) for name, run in runs]
        if steps := set(STEPS).intersection(*reached):
            step = max(steps)
            published = _return(reference_points(page.folder).get(family, {}).get(step))
            rows.append([family, str(len(runs)), f"{step:,}", _return(fmean(r[step] for r in reached)), published])
    return paragraphs(markdown_table(rows), missing) if files else missing


def by_family(files: Files) -> dict[str, Files]:
    """The runs of each family."""
    families: dict[str, Files] = {}
    for name, run in files:
        with form_of(name, "`mql train --family`"):
            families.setdefault(run["family"], []).append((name, run))
    return dict(sorted(families.items()))


def benchmark_labels(runs: Files) -> dict[str, str]:
    """Those of a family's runs."""
    seeds = {}
    for name, run in runs:
        with form_of(name, "`mql train --family`"):
            seeds[name] = int(run["seed"])
    return run_labels(runs, seeds)


def reference_points(folder: Path) -> dict[str, dict[int, float]]:
    """Return by steps of each family that the published code reaches; {} without the file."""
    path = folder / REFERENCE
    if not path.is_file():
        return {}
    with form_of(REFERENCE, "the page of results"):
        families = {family: points for family, points in read_json(path).items() if family != "source"}
        return {
            family: {int(steps): float(value) for steps, value in points.items()} for family, points in families.items()
        }


def _at_steps(name: str, run: Mapping[str, Any]) -> dict[int, float]:
    """The last evaluation at or before each number of steps that the run has reached."""
    found = {}
    with form_of(name, "`mql train --family`"):
        last = max(point["steps"] for point in run["curve"])
        for step in STEPS:
            before = [point for point in run["curve"] if point["steps"] <= step]
            if before and last >= step:
                found[step] = float(max(before, key=lambda point: point["steps"])["mean_return"])
    return found


def _return(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}"


def _mean(values: Sequence[float], runs: int) -> str:
    if not values:
        return "–"
    return _return(fmean(values)) + (f" (of {len(values)})" if len(values) < runs else "")


def _benchmark_runs(runs: Files, labels: Mapping[str, str]) -> str:
    lines = []
    for name, run in runs:
        with form_of(name, "`mql train --family`"):
            time = f"{duration(run['seconds'])} on a shared machine, {duration(run['cpu_seconds'])} of CPU time"
            facts = [command_text(run), labels[name], plural(run["steps"], "step"), plural(run["updates"], "update")]
            versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
            lines.append(f"- `{name}`: " + "; ".join([*facts, time, hardware_text(run["hardware"]), versions]))
    return "\n".join(lines)
