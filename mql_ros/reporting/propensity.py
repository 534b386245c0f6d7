"""Which old objects' data an adaptation draws on: mean importance ratios by training object, and their figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""New objects in a figure."""
MOST = 5
"""Old objects that a summary names."""


def mean_ratios(cases: Sequence[Any], results: Sequence[dict[str, Any]], method: str = "mql") -> dict[str, Any]:
    """{new object: {training object: mean importance ratio}} over the sessions with the most new trials."""
    most = max(case.new_trials for case in cases)
    found: dict[str, list[dict[str, float]]] = {}
    for case, result in zip(cases, results, strict=True):
        ratios = ((result.get(method) or {}).get("adaptation") or {}).get("mean_importance_ratio")
        if case.new_trials == most and ratios:
            found.setdefault(case.object_name, []).append(ratios)
    # Not every session recycles from every training object.
    return {
        name: {old: float(np.mean([row[old] for row in rows if old in row])) for old in sorted(set().union(*rows))}
        for name, rows in found.items()
    }


def propensity_summary(ratios: dict[str, dict[str, float]]) -> dict[str, Any]:
    """For each new object: the old ones that are drawn on most, and the mean ratio of those of like and unlike size."""
    from mql_sim.objects.catalogue import find_thing

    summary: dict[str, Any] = {}
    for name, by_old in ratios.items():
        size = np.log(find_thing(name).size)
        distance = {old: float(np.linalg.norm(np.log(find_thing(old).size) - size)) for old in by_old}
        middle = float(np.median(list(distance.values())))
        groups = {
            "like size": [old for old in by_old if distance[old] <= middle],
            "unlike size": [old for old in by_old if distance[old] > middle],
        }
        means = {group: round(float(np.mean([by_old[o] for o in old])), 4) for group, old in groups.items() if old}
        most = sorted(by_old, key=lambda old: -by_old[old])[:MOST]
        summary[name] = means | {"most": {old: round(by_old[old], 4) for old in most}}
    return summary


def propensity_figure(ratios: dict[str, dict[str, float]]) -> Figure:
    """Size of each training object, larger and darker the more of its data is used; a star is the new one."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from mql_sim.objects.catalogue import find_thing

    names = list(ratios)[:SHOWN]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.1 * rows + 0.6), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1)
        largest = max(ratios[name].values()) or 1.0
        share = np.array([ratio / largest for ratio in ratios[name].values()])
        sizes = 100.0 * np.array([find_thing(old).size for old in ratios[name]])
        axes.scatter(
            sizes[:, :2].max(axis=1), sizes[:, 2],
            s=6 + 90 * share, c=share, cmap="Blues", vmin=-0.35, vmax=1.0, linewidths=0,
        )  # fmt: skip
        new = 100.0 * find_thing(name).size
        axes.plot(new[:2].max(), new[2], "*", color="#d55e00", markersize=15, markeredgecolor="white")
        axes.set_title(f"{Path(name).name}, largest {largest:.2g}", fontsize=9)
        axes.set_xlabel("wider side as modelled, cm", fontsize=8)
        axes.set_ylabel("height as modelled, cm", fontsize=8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    handles = [
        Line2D([], [], linestyle="", marker="o", color="#2f6fab", label="training object"),
        Line2D([], [], linestyle="", marker="*", color="#d55e00", markersize=12, label="the new object"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    figure.suptitle("Mean importance ratio of each training object's data", fontsize=10)
    return figure
