"""The demo's report: one self-contained HTML page with filmstrips, what was seen and chosen, and what was recalled."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from mql_ros.grasping.learning.candidates import ABOVE_TABLE, OPENING
from mql_ros.grasping.perception.height_map import sample
from mql_ros.grasping.task.spaces import CELL, VIEW_CELLS
from mql_ros.reporting.recall import Recall

CHOSEN = "#d62728"
PHASE_TITLES = {
    "before": "before: first trials ever, empty context",
    "exploration": "new trials: the context fills",
    "context": "context alone: goes on, not adapted",
    "adapted": "after adaptation: goes on, adapted",
}
RIVAL = 0.014
"""Length of the line of a grasp that was not executed, m."""
PAD = 0.022
"""Width of a finger pad in a picture, m."""


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
    picture: bytes
    """PNG of the object as modelled."""
    phases: dict[str, PhaseRun] = field(default_factory=dict)
    adaptation: dict[str, Any] = field(default_factory=dict)
    films: list[tuple[str, list[tuple[str, bytes]]]] = field(default_factory=list)
    """Title, and caption and PNG of each moment."""
    looks: list[Look] = field(default_factory=list)
    recall: Recall | None = None
    """None if no propensity was fitted."""


def build_report(runs: list[ObjectRun], facts: dict[str, str]) -> str:
    """Return the page. `facts` stand in the heading."""
    environment = Environment(
        loader=PackageLoader("mql_ros.reporting"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = lambda value: "–" if value is None else f"{float(value):.2f}"
    environment.filters["tenths"] = lambda value: "–" if value is None else f"{float(value):.1f}"
    environment.filters["base64"] = lambda png: base64.b64encode(png).decode()
    return environment.get_template("demo.html.j2").render(
        runs=runs,
        facts=facts,
        titles=PHASE_TITLES,
        look=lambda look: _svg(_look(look)),
    )


def _look(look: Look) -> Any:
    """The height map with the grasps, and the section in which the fingers of the executed one close."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.5), layout="constrained")
    seen, section = figure.subplots(1, 2, width_ratios=[1.25, 1.0])
    _draw_map(figure, seen, look)
    _draw_section(section, look)
    return figure


def _draw_map(figure: Any, axes: Any, look: Look) -> None:
    from matplotlib.collections import LineCollection

    half = 100.0 * 0.5 * CELL * VIEW_CELLS
    # Rows of the map run along x, which points up in the picture; y points left.
    shown = np.ma.masked_less(100.0 * look.heights, 100.0 * ABOVE_TABLE)
    image = axes.imshow(shown, cmap="Greys", vmin=0.0, origin="lower", extent=(-half, half, -half, half))
    figure.colorbar(image, ax=axes, label="height seen, cm", shrink=0.85)
    order = np.argsort(look.values[:-1], kind="stable")
    rivals = LineCollection(_across(look.grasps[order], RIVAL), cmap="viridis", linewidths=1.4)
    rivals.set_array(look.values[order])
    axes.add_collection(rivals)
    figure.colorbar(rivals, ax=axes, label="value of a rival", shrink=0.85)
    for (y, x), (dy, dx) in zip(_across(look.grasps[-1:], OPENING)[0], _pads(look.grasps[-1]), strict=True):
        axes.plot([y - dy, y + dy], [x - dx, x + dx], color=CHOSEN, linewidth=4.0, solid_capstyle="butt")
    axes.plot(*_across(look.grasps[-1:], OPENING)[0].T, color=CHOSEN, linewidth=1.0)
    axes.set_xlim(half, -half)
    axes.set_ylim(-half, half)
    axes.set_title(f"value {look.values[-1]:.2f}, best rival {look.values[:-1].max():.2f}", fontsize=9)
    axes.set_xlabel("y, cm")
    axes.set_ylabel("x, cm")


def _draw_section(axes: Any, look: Look) -> None:
    grasp = look.grasps[-1]
    across = np.linspace(-0.06, 0.06, 121)
    x, y = grasp[0] + np.sin(grasp[3]) * across, grasp[1] - np.cos(grasp[3]) * across
    axes.fill_between(100.0 * across, 100.0 * sample(look.heights, x, y), color="#b8bcc4", linewidth=0.0)
    for side in (-1, 1):
        inner = 50.0 * side * OPENING
        axes.fill_between([inner, inner + side], 100.0 * grasp[2], 100.0 * grasp[2] + 5.0, color=CHOSEN, linewidth=0.0)
    axes.axhline(0.0, color="#444", linewidth=1.0)
    axes.set_aspect("equal")
    axes.set_ylim(-0.5, max(8.0, 100.0 * grasp[2] + 5.5, 105.0 * float(look.heights.max())))
    axes.set_title("section between the fingers", fontsize=9)
    axes.set_xlabel("along the closing direction, cm")
    axes.set_ylabel("above the table, cm")


def _across(grasps: NDArray[np.float64], length: float) -> list[NDArray[np.float64]]:
    """Ends [K, 2, 2] (y, x in cm) of lines of a length (m) along which the fingers close."""
    across = np.stack([-np.cos(grasps[:, 3]), np.sin(grasps[:, 3])], axis=1)  # (y, x) of the closing direction
    middle = grasps[:, [1, 0]]
    reach = 0.5 * length * across
    return list(100.0 * np.stack([middle - reach, middle + reach], axis=1))


def _pads(grasp: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half of each pad's width [2, 2] (y, x in cm): pads stand across the closing direction."""
    return np.tile(50.0 * PAD * np.array([np.sin(grasp[3]), np.cos(grasp[3])]), (2, 1))


def _svg(figure: Any) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    text = buffer.getvalue()
    return text[text.index("<svg") :]
