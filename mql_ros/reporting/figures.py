"""The figures of `mql evaluate` (success over new trials or test trials) and of `mql bench` (cost of an update)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mql_ros.core.errors import UserError
from mql_ros.core.files import check_writable, write_bytes
from mql_ros.evaluation.methods import METHODS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
COLORS = 128
"""Of a picture of few colours."""


COST_PANELS = (("tasks", "training tasks"), ("history", "items of history"))
COST_CURVES = (
    ("update", "update, with drawing its batch", "#0072b2", "o"),
    ("sample", "drawing alone", "#d55e00", "s"),
)
"""Colours that colour-blind people can distinguish (Okabe and Ito 2008)."""


def check_figure(path: str | None) -> None:
    """Raise UserError before the work is done when a figure cannot be written there."""
    if path is not None and Path(path).suffix.lower() not in SUFFIXES:
        raise UserError(f"--figure {path}: expected a name that ends in {' or '.join(SUFFIXES)}")
    check_writable(path)


def evaluation_figure(report: dict[str, Any]) -> Figure:
    """Draw a report of `mql evaluate`; error bars are its 95 % intervals."""
    from matplotlib.figure import Figure

    settings = report["settings"]
    figure = Figure(figsize=(8.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    steps = [int(step) for step in report["by_new_trials"]]
    methods = list(report["methods"])
    tests = int(settings["test_trials"])
    if len(steps) > 1:
        positions = steps
        spacing = min(after - before for before, after in pairwise(steps))
        rows = {method: [report["by_new_trials"][str(step)][method] for step in steps] for method in methods}
        series = {method: [(row["success_rate"], *row["interval"]) for row in rows[method]] for method in methods}
        axes.set_xlabel("new trials before the test")
        last = f"last {tests // 3}" if tests >= 6 else "last"
        axes.set_ylabel(f"success rate, {last} of {tests} test trials" if tests > 1 else "success rate, one test trial")
    else:
        positions, spacing = list(range(1, tests + 1)), 1
        by_trial = {method: report["methods"][method] for method in methods}
        series = {
            method: [(rate, *span) for rate, span in zip(row["by_trial"], row["by_trial_interval"], strict=True)]
            for method, row in by_trial.items()
        }
        axes.set_xlabel(f"test trial (after {steps[0]} new trials)")
        axes.set_ylabel("success rate")
    for place, method in enumerate(methods):
        style = METHODS.get(method)
        color, marker = (style.color, style.marker) if style else ("#444444", ".")
        # Side by side, so that no error bar hides another.
        shift = (place - (len(methods) - 1) / 2) * 0.035 * spacing
        rates = [rate for rate, _, _ in series[method]]
        errors = [
            [max(0.0, rate - low) for rate, low, _ in series[method]],
            [max(0.0, high - rate) for rate, _, high in series[method]],
        ]
        _, caps, bars = axes.errorbar(
            [position + shift for position in positions], rates, yerr=errors, color=color, marker=marker, markersize=6,
            linewidth=1.8, elinewidth=1.2, capsize=2.5, label=method, clip_on=False,
        )  # fmt: skip
        for part in (*caps, *bars):
            part.set_alpha(0.55)
    axes.set_xticks(positions)
    axes.set_ylim(0.0, 1.02)
    axes.set_yticks([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    axes.grid(axis="y", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), title="method")
    axes.set_title(_title(report), fontsize=10, loc="left")
    return figure


def _title(report: dict[str, Any]) -> str:
    settings = report["settings"]
    words = [Path(word).name or word for word in settings["objects"]]
    shown = ", ".join(words[:4]) + (f" and {len(words) - 4} more" if len(words) > 4 else "")
    count, seeds = len(report["objects"]), int(settings["seeds"])
    kinds = {row["interval_kind"] for methods in report["by_new_trials"].values() for row in methods.values()}
    return (
        f"{shown}: {count} object{'s' * (count != 1)} × {seeds} seed{'s' * (seeds != 1)}\n"
        f"policy {settings['policy']} ({settings['bundle_hash'][:8]}); 95 % intervals: {', '.join(sorted(kinds))}"
    )


def scaling_figure(values: Mapping[str, float]) -> Figure:
    """Draw the milliseconds named `update_tasks_10`, `sample_history_8` and so on, as `mql bench` measured them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    for axes, (panel, label) in zip(figure.subplots(1, 2, sharey=True), COST_PANELS, strict=True):
        ticks: list[int] = []
        for curve, name, color, marker in COST_CURVES:
            prefix = f"{curve}_{panel}_"
            points = sorted((int(key.removeprefix(prefix)), values[key]) for key in values if key.startswith(prefix))
            ticks = [place for place, _ in points]
            heights = [height for _, height in points]
            axes.plot(ticks, heights, color=color, marker=marker, linewidth=1.8, label=name)
            for place, height in points:
                text = f"{height:.2g}" if height < 1.0 else f"{height:.1f}"
                axes.annotate(text, (place, height), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(label)
        axes.margins(x=0.1, y=0.15)
        axes.grid(axis="y", alpha=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.axes[0].set_ylabel("CPU time, ms (logarithmic)")
    figure.axes[0].legend(frameon=False, loc="center left")
    figure.suptitle("Cost of one TD3 update of 256 transitions on one core", fontsize=10)
    return figure


def save_figure(figure: Figure, path: str) -> None:
    """Write it as a whole or not at all, the same bytes for the same figure; raise UserError if that is impossible."""
    from matplotlib import rc_context

    kind = Path(path).suffix.lower().removeprefix(".")
    content = io.BytesIO()
    with rc_context({"svg.hashsalt": "mql"}):
        figure.savefig(content, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
    write_bytes(path, content.getvalue())


def save_small_figure(picture: Figure, path: Path) -> None:
    """Write a PNG of few colours: lines and text need no more, and the file is a third as large."""
    from PIL import Image

    save_figure(picture, str(path))
    content = io.BytesIO()
    with Image.open(path) as whole:
        whole.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(content, format="PNG", optimize=True)
    write_bytes(path, content.getvalue())
