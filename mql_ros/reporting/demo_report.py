"""The demo's report: one self-contained HTML page with curves, propensities and pictures."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
    """The page. `facts` are shown in the heading; `classes` maps a training object's name to its class."""
    sections = "\n".join(_section(run, classes) for run in runs)
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in facts.items())
    return _PAGE.format(summary=_summary(runs), facts=rows, sections=sections)


def _summary(runs: list[ObjectRun]) -> str:
    head = "<tr><th>object</th><th>before</th><th>control</th><th>after adaptation</th><th>new trials</th>"
    head += "<th>ESS</th><th>&lambda;</th><th>rolled back</th></tr>"
    rows = ""
    for run in runs:
        cells = [html.escape(run.name) + (" <small>held out</small>" if run.held_out else "")]
        for name in ("zero-shot", "context", "adapted"):
            phase = run.phases.get(name)
            cells.append(f"{sum(phase.successes)} of {len(phase.successes)}" if phase else "&ndash;")
        info = run.adaptation
        cells += [str(info.get("new_trials", "&ndash;")), _figure(info.get("effective_sample_size"))]
        cells += [_figure(info.get("proximal_coefficient")), "yes" if info.get("rolled_back") else "no"]
        rows += "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    return f"<table class='summary'>{head}{rows}</table>"


def _figure(value: Any) -> str:
    return "&ndash;" if value is None else f"{float(value):.2f}"


def _section(run: ObjectRun, classes: dict[str, str]) -> str:
    pictures = "".join(
        f"<figure><img src='data:image/png;base64,{base64.b64encode(png).decode()}' alt='{html.escape(caption)}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, png in run.pictures
    )
    info = run.adaptation
    notes = "".join(f"<p class='note'>{html.escape(str(text))}</p>" for text in info.get("messages", []))
    ratios = info.get("mean_importance_ratio") or {}
    moved = (
        f" They are {info['symmetry_sessions']} old sessions, moved beforehand to where this object was lifted."
        if info.get("symmetry_sessions")
        else ""
    )
    bars = _svg(_bars(ratios, classes)) if ratios else "<p>No adaptation took place.</p>"
    return (
        f"<section><h2>{html.escape(run.name)}</h2><p>{html.escape(run.description)}</p>"
        f"<div class='pictures'>{pictures}</div>"
        f"<h3>Success per trial</h3>{_svg(_curves(run))}"
        f"<h3>Which old data resemble it</h3>"
        f"<p>Mean importance ratio &beta; = P(new | x) / P(old | x) of each training object's stored data, from the "
        f"propensity classifier (held-out balanced accuracy {_figure(info.get('classifier_accuracy'))}; effective "
        f"sample size {_figure(info.get('effective_sample_size'))}, so the proximal coefficient is "
        f"{_figure(info.get('proximal_coefficient'))}). "
        f"Old data are drawn in proportion to it.{moved}</p>{bars}{notes}</section>"
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


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Learning to grasp new objects</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #22252a; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.7rem; margin-bottom: .3rem; }} 
h2 {{ margin-top: 2.5rem; border-top: 1px solid #ddd; padding-top: 1rem; }}
table {{ border-collapse: collapse; margin: 1rem 0; }} th, td {{ text-align: left; padding: .25rem .8rem .25rem 0; }}
.summary td, .summary th {{ border-bottom: 1px solid #e3e3e3; }}
.pictures {{ display: flex; flex-wrap: wrap; gap: .6rem; }} figure {{ margin: 0; width: 14.3rem; }}
figure img {{ width: 100%; border-radius: 4px; }} figcaption {{ font-size: .8rem; color: #555; }}
svg {{ max-width: 100%; height: auto; }} .note {{ color: #8a4b12; }} small {{ color: #777; }}
</style></head><body>
<h1>Learning to grasp new objects</h1>
<p>A policy that was meta-trained on other objects meets each object below for the first time. It tries with an empty
context (before), explores in a few new trials, and adapts with Meta-Q-Learning: the propensity of the
old data for the new object decides which of them are used again. The control goes on with the same history and the same
placements, but without adaptation. Everything that arm, reward and adaptation exchanged went over ROS 2 topics.</p>
{summary}
<table>{facts}</table>
{sections}
</body></html>
"""
