"""Which old objects' data an adaptation draws on: mean importance ratios by training object, and their figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 6
"""New objects in a figure."""
NAMED = ("mug", "soccer-ball", "can", "kettle")
MARKERS = {"top": "o", "handle": "s", "narrow": "^"}


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
    """For each new object: mean ratio by class of old object, of the named ones, and near or far from its grasp."""
    from mql_ros.evaluation.suites import find_task
    from mql_sim.objects.catalogue import find_object

    summary: dict[str, Any] = {}
    for name, by_old in ratios.items():
        spec = find_task(name).tested[0]
        specs = {other: find_object(other) for other in by_old}
        distance = {o: float(np.hypot(s.grasp_x - spec.grasp_x, s.grasp_z - spec.grasp_z)) for o, s in specs.items()}
        middle = float(np.median(list(distance.values())))
        groups = {
            **{kind: [o for o in by_old if specs[o].category == kind] for kind in MARKERS},
            "grasped near": [o for o in by_old if distance[o] <= middle],
            "grasped far": [o for o in by_old if distance[o] > middle],
            **{o: [o] for o in NAMED if o in by_old},
        }
        means = {group: round(float(np.mean([by_old[o] for o in old])), 4) for group, old in groups.items() if old}
        summary[name] = {"category": spec.category} | means
    return summary


def propensity_figure(ratios: dict[str, dict[str, float]]) -> Figure:
    """Where each training object is grasped, larger and darker the more of its data is used; a star is the new one."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    from mql_ros.evaluation.suites import find_task
    from mql_sim.objects.catalogue import find_object

    names = list(ratios)[:SHOWN]
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.1 * rows + 0.6), layout="constrained")
    for place, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, place + 1)
        spec = find_task(name).tested[0]
        old = {other: find_object(other) for other in ratios[name]}
        largest = max(ratios[name].values()) or 1.0
        for kind, marker in MARKERS.items():
            members = [o for o in old if old[o].category == kind]
            share = np.array([ratios[name][o] / largest for o in members])
            axes.scatter(
                [100 * old[o].grasp_x for o in members], [100 * old[o].grasp_z for o in members],
                s=6 + 90 * share, c=share, cmap="Blues", vmin=-0.35, vmax=1.0, marker=marker, linewidths=0,
            )  # fmt: skip
        axes.plot(100 * spec.grasp_x, 100 * spec.grasp_z, "*", color="#d55e00", markersize=15, markeredgecolor="white")
        axes.set_title(f"{name} ({spec.category}), largest {largest:.2g}", fontsize=9)
        axes.set_xlabel("grasped at x, cm", fontsize=8)
        axes.set_ylabel("and height, cm", fontsize=8)
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    handles = [
        Line2D([], [], linestyle="", marker=marker, color="#2f6fab", label=f"training: {kind}")
        for kind, marker in MARKERS.items()
    ]
    handles.append(Line2D([], [], linestyle="", marker="*", color="#d55e00", markersize=12, label="the new object"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle("Mean importance ratio of each training object's data", fontsize=10)
    return figure
