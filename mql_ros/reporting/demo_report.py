"""The demo's report: one self-contained HTML page with curves, propensities and pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from mql_ros.grasping.learning.candidates import OPENING
from mql_ros.grasping.task.spaces import CELL, VIEW_CELLS

PHASE_COLORS = {"zero-shot": "#8a8f98", "context": "#3b74b8", "adapted": "#d9662b", "exploration": "#b9a44c"}
PHASE_TITLES = {
    "zero-shot": "before: never seen, empty context",
    "exploration": "new trials, explored",
    "context": "control: context alone, not adapted",
    "adapted": "after adaptation",
}
MOST, LEAST = 12, 4
"""Training objects that are shown, of those drawn on most and of those drawn on least."""
RIVAL = 0.014
"""Length of the line of a grasp that was not executed, m."""


@dataclass
class PhaseRun:
    """Trials of one phase of the demo, in order."""

    name: str
    successes: list[bool] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)


@dataclass
class Look:
    """What a policy saw as a trial began, and what it chose between."""

    when: str
    heights: NDArray[np.float32]
    """The height map [32, 32], m above the table."""
    grasps: NDArray[np.float64]
    """Grasps [K, 4]: x, y, z (m, about the map's centre) and heading (rad). The last one was executed."""
    values: NDArray[np.float32]
    """Their values [K]."""


@dataclass
class ObjectRun:
    """What happened with one object."""

    name: str
    held_out: bool
    description: str
    phases: dict[str, PhaseRun] = field(default_factory=dict)
    adaptation: dict[str, Any] = field(default_factory=dict)
    pictures: list[tuple[str, bytes]] = field(default_factory=list)
    """Caption and PNG."""
    looks: list[Look] = field(default_factory=list)


def build_report(runs: list[ObjectRun], facts: dict[str, str]) -> str:
    """Return the page. `facts` stand in the heading."""
    environment = Environment(
        loader=PackageLoader("mql_ros.reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = lambda value: "–" if value is None else f"{float(value):.2f}"
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode()
    return environment.get_template("demo.html.j2").render(
        runs=runs,
        facts=facts,
        curves=lambda run: _svg(_curves(run)),
        bars=lambda ratios: _svg(_bars(ratios)),
        looks=lambda run: _svg(_looks(run.looks)),
    )


def _curves(run: ObjectRun) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 3.0), layout="constrained")
    axes = figure.add_subplot()
    longest = 1
    drawn = [run.phases[name] for name in ("zero-shot", "context", "adapted") if name in run.phases]
    for row, phase in enumerate(drawn):
        count = len(phase.successes)
        longest = max(longest, count)
        number = np.arange(1, count + 1)
        won = np.array(phase.successes, dtype=float)
        color = PHASE_COLORS[phase.name]
        label = f"{PHASE_TITLES[phase.name]} ({int(won.sum())}/{count})"
        axes.plot(number, np.cumsum(won) / number, color=color, linewidth=2.2, label=label)
        level = -0.10 - 0.09 * row
        axes.scatter(number[won > 0], np.full(int(won.sum()), level), color=color, marker="o", s=26, clip_on=False)
        missed = number[won == 0]
        axes.scatter(missed, np.full(len(missed), level), color=color, marker="x", s=22, linewidths=1.2, clip_on=False)
    axes.set_ylim(-0.10 - 0.09 * len(drawn), 1.05)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xticks(range(1, longest + 1))
    axes.set_xlabel("trial (matched placements; o lifted, x not lifted)")
    axes.set_ylabel("success so far")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _looks(looks: list[Look]) -> Any:
    """Height maps with grasps as lines along which fingers close: rivals by value, the executed one in red."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(looks), 3.5), layout="constrained")
    half = 100.0 * 0.5 * CELL * VIEW_CELLS
    for place, look in enumerate(looks):
        axes = figure.add_subplot(1, len(looks), place + 1)
        # Rows of the map run along x, which points up in the picture; y points left.
        axes.imshow(100.0 * look.heights, cmap="Greys", origin="lower", extent=(-half, half, -half, half))
        order = np.argsort(look.values[:-1], kind="stable")
        lines = LineCollection(_finger_lines(look.grasps[order], RIVAL), cmap="viridis", linewidths=1.2, alpha=0.8)
        lines.set_array(look.values[order])
        axes.add_collection(lines)
        axes.add_collection(LineCollection(_finger_lines(look.grasps[-1:], OPENING), colors="#d62728", linewidths=3.0))
        x, y = 100.0 * look.grasps[-1, :2]
        axes.plot(y, x, "o", color="#d62728", markersize=5)
        axes.set_xlim(half, -half)
        axes.set_ylim(-half, half)
        axes.set_title(
            f"{look.when}: value {look.values[-1]:.2f}, rivals' best {look.values[:-1].max():.2f}", fontsize=9
        )
        axes.set_xlabel("y, cm")
        axes.set_ylabel("x, cm")
        figure.colorbar(lines, ax=axes, label="value of a rival", shrink=0.85)
    return figure


def _finger_lines(grasps: NDArray[np.float64], length: float) -> list[NDArray[np.float64]]:
    """Ends [K, 2, 2] (y, x in cm) of lines of a length (m) along which the fingers close."""
    across = np.stack([-np.cos(grasps[:, 3]), np.sin(grasps[:, 3])], axis=1)  # (y, x) of the closing direction
    middle = grasps[:, [1, 0]]
    reach = 0.5 * length * across
    return list(100.0 * np.stack([middle - reach, middle + reach], axis=1))


def _bars(ratios: dict[str, float]) -> Any:
    """The training objects that are drawn on most and least."""
    from matplotlib.figure import Figure

    order = sorted(ratios, key=lambda name: -ratios[name])
    shown = order if len(order) <= MOST + LEAST else order[:MOST] + order[-LEAST:]
    figure = Figure(figsize=(8.2, 0.24 * len(shown) + 0.7), layout="constrained")
    axes = figure.add_subplot()
    position = np.arange(len(shown))[::-1]
    axes.barh(position, [ratios[name] for name in shown], color="#3b74b8", height=0.72)
    for place, name in zip(position, shown, strict=True):
        axes.text(ratios[name], place, f" {ratios[name]:.2f}", va="center", fontsize=7)
    axes.set_yticks(position, shown, fontsize=8)
    axes.axvline(1.0, color="#444", linewidth=0.8, linestyle="--")
    axes.set_xlabel(f"mean importance ratio, {len(shown)} of {len(order)} training objects")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
