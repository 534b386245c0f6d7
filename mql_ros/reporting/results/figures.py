"""The pictures of `mql results`: drawn from the JSON files that `{{ figure("NAME.png", "FILE", ...) }}` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mql_ros.core.errors import UserError
from mql_ros.reporting.figures import evaluation_figure, scaling_figure
from mql_ros.reporting.results.curves import (
    TRAINING,
    benchmark_labels,
    by_family,
    reference_points,
    training_labels,
)  # fmt: skip
from mql_ros.reporting.results.page import Files, Page, form_of, not_measured, paragraphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNS = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "P"), ("#e69f00", "D"), ("#56b4e9", "v"))
"""Colour and marker of each run; colours that colour-blind people can distinguish (Okabe and Ito 2008)."""


def figure(page: Page, words: Sequence[str]) -> str:
    """A picture of JSON files, or with none named, one that is there already; what is drawn follows from the files."""
    name, sources = (words[0], words[1:]) if words else ("", ())
    if not name.endswith(".png") or "/" in name:
        raise UserError(f"'{name}': expected the name of a picture, NAME.png, and the JSON files that it shows")
    if not sources:
        return _there_already(page, name)
    if name in page.drawn:
        raise UserError(f"{name} is drawn twice")
    files, missing = page.read(sources)
    if not files:
        return missing
    first = files[0][1]
    if "validations" in first:
        page.figures[name], caption = training_figure(files), "Success over trials of data"
    elif "curve" in first:
        page.figures[name], caption = benchmark_figure(page, files), "Return over environment steps"
    elif "by_new_trials" in first:
        several = len(first["by_new_trials"]) > 1
        page.figures[name], caption = _evaluation(files), f"Success over {'new' if several else 'test'} trials"
    elif any(key.startswith("update_tasks_") for key in first):
        page.figures[name], caption = _scaling(files), "Cost of an update"
    else:
        raise UserError(f"{files[0][0]}: there is no figure of such a file; name one of a training or an evaluation")
    page.drawn.add(name)
    return paragraphs(f"![{caption}]({_link(page, page.images / name)})", missing)


def _there_already(page: Page, name: str) -> str:
    for folder in (page.images, page.folder):
        if name in page.drawn or (folder / name).is_file():
            return f"![{name.removesuffix('.png').replace('_', ' ')}]({_link(page, folder / name)})"
    return not_measured(name)


def _link(page: Page, path: Path) -> str:
    return os.path.relpath(path, page.out.parent).replace(os.sep, "/")


def _only(files: Files) -> tuple[str, dict[str, Any]]:
    if len(files) > 1:
        raise UserError(f"a figure of {files[0][0]} shows one file; give each a figure of its own")
    return files[0]


def _evaluation(files: Files) -> Figure:
    name, report = _only(files)
    with form_of(name, "`mql evaluate`"):
        return evaluation_figure(report)


def _scaling(files: Files) -> Figure:
    name, report = _only(files)
    with form_of(name, "`mql bench`"):
        return scaling_figure({key: row["value"] for key, row in report.items() if "value" in row})


def training_figure(files: Files) -> Figure:
    """Success on the development objects over the trials of data: in the first trial dashed, in the last solid."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    labels = training_labels(files)
    picture = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = picture.add_subplot()
    objects, trials = set(), set()
    for (name, run), (color, marker) in zip(files, _styles(len(files)), strict=True):
        with form_of(name, TRAINING):
            rows = sorted(run["validations"], key=lambda row: int(row["trials"]))
            places = [int(row["trials"]) for row in rows]
            first, last = ([float(row["by_trial"][place]) for row in rows] for place in (0, -1))
            objects.add(int(run["config"]["validation_objects"]))
            trials |= {len(row["by_trial"]) for row in rows}
        axes.plot(places, last, color=color, marker=marker, linewidth=1.8, label=labels[name])
        axes.plot(places, first, color=color, marker=marker, linewidth=1.2, linestyle="--", markerfacecolor="white")
    axes.plot([], [], color="#444444", linewidth=1.2, linestyle="--", label="first trial")
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.set_xlabel("trials of data: the scripted explorer's, then the policy's own")
    axes.set_ylabel(f"success rate, trial {' or '.join(map(str, sorted(trials)))}")
    count = " or ".join(str(number) for number in sorted(objects))
    axes.set_title(f"Meta-training: {count} development objects, no exploration", fontsize=10, loc="left")
    _finish(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return picture


def benchmark_figure(page: Page, files: Files) -> Figure:
    """Return over environment steps, a panel for each family, with the reference points."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    families = by_family(files)
    reference = reference_points(page.folder)
    columns = min(2, len(families))
    lines = -(-len(families) // columns)
    picture = Figure(figsize=(8.4, 4.6 if lines == 1 else 3.4 * lines), layout="constrained")
    panels = list(picture.subplots(lines, columns, squeeze=False).flat)
    for axes, (family, runs) in zip(panels, families.items(), strict=False):
        labels = benchmark_labels(runs)
        by_step: dict[int, list[float]] = {}
        for (name, run), (color, _) in zip(runs, _styles(len(runs)), strict=True):
            with form_of(name, "`mql train --family`"):
                points = [(int(point["steps"]), float(point["mean_return"])) for point in run["curve"]]
            axes.plot(*zip(*points, strict=True), color=color, linewidth=1.3, alpha=0.8, label=labels[name])
            for step, value in points:
                by_step.setdefault(step, []).append(value)
        means = [(step, fmean(found)) for step, found in sorted(by_step.items()) if len(found) == len(runs)]
        if len(runs) > 1 and means:
            axes.plot(*zip(*means, strict=True), color="#000000", linewidth=2.4, label="mean over seeds")
        if points := sorted(reference.get(family, {}).items()):
            style = {"color": "#000000", "marker": "X", "markersize": 8, "linestyle": ":"}
            axes.plot(*zip(*points, strict=True), label="published code, one seed", **style)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xlabel("environment steps")
        axes.set_title(family, fontsize=10, loc="left")
        _finish(axes)
        axes.legend(frameon=False, fontsize=8)
    for axes in panels[len(families) :]:
        axes.remove()
    panels[0].set_ylabel("mean return on the test tasks")
    picture.suptitle("Initialised at random, no prior data; return is that of episodes of 200 steps", fontsize=10)
    return picture


def _styles(number: int) -> list[tuple[str, str]]:
    return [RUNS[place % len(RUNS)] for place in range(number)]


def _finish(axes: Axes) -> None:
    axes.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
