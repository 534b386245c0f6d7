"""The figure of `mql bench`: what an update and drawing its batch cost, over tasks and over history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (("tasks", "training tasks"), ("history", "items of history"))
CURVES = (("update", "update, with drawing its batch", "#0072b2", "o"), ("sample", "drawing alone", "#d55e00", "s"))
"""Colours that colour-blind people can tell apart (Okabe and Ito 2008)."""


def scaling_figure(values: Mapping[str, float]) -> Figure:
    """Draw the milliseconds named `update_tasks_10`, `sample_history_8` and so on, as `mql bench` measured them."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    for axes, (panel, label) in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
        ticks: list[int] = []
        for curve, name, color, marker in CURVES:
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
