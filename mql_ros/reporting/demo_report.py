"""The demo's report: one self-contained HTML page with curves, propensities and pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

PHASE_COLORS = {"zero-shot": "#8a8f98", "context": "#3b74b8", "adapted": "#d9662b", "exploration": "#b9a44c"}
PHASE_TITLES = {
    "zero-shot": "before: never seen, empty context",
    "exploration": "new trials, explored",
    "context": "control: context alone, not adapted",
    "adapted": "after adaptation",
}


@dataclass
class PhaseRun:
    """Trials of one phase of the demo, in order."""

    name: str
    successes: list[bool] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)


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


def build_report(runs: list[ObjectRun], facts: dict[str, str], classes: dict[str, str]) -> str:
    """Return the page. `facts` stand in the heading; `classes` maps a training object's name to its class."""
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
        bars=lambda ratios: _svg(_bars(ratios, classes)),
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


def _bars(ratios: dict[str, float], classes: dict[str, str]) -> Any:
    """Named objects and class means first, then the training objects that are drawn on most and least."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, float, str]] = []
    named = [name for name in ratios if not name.startswith("procedural-")]
    rows += [(name, ratios[name], "#d9662b") for name in sorted(named, key=lambda n: -ratios[n])]
    by_class: dict[str, list[float]] = {}
    for name, value in ratios.items():
        by_class.setdefault(classes.get(name, "other"), []).append(value)
    for kind, values in sorted(by_class.items(), key=lambda item: -float(np.mean(item[1]))):
        rows.append((f"all '{kind}' objects ({len(values)})", float(np.mean(values)), "#3b74b8"))
    rest = sorted((name for name in ratios if name not in named), key=lambda n: -ratios[n])
    shown = rest if len(rest) <= 10 else rest[:6] + rest[-4:]
    rows += [(f"{name} ({classes.get(name, '?')})", ratios[name], "#8a8f98") for name in shown]
    figure = Figure(figsize=(8.2, 0.24 * len(rows) + 0.7), layout="constrained")
    axes = figure.add_subplot()
    position = np.arange(len(rows))[::-1]
    axes.barh(position, [value for _, value, _ in rows], color=[color for _, _, color in rows], height=0.72)
    for place, (_, value, _) in zip(position, rows, strict=True):
        axes.text(value, place, f" {value:.2f}", va="center", fontsize=7)
    axes.set_yticks(position, [label for label, _, _ in rows], fontsize=8)
    axes.axvline(1.0, color="#444", linewidth=0.8, linestyle="--")
    axes.set_xlabel("mean importance ratio")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
