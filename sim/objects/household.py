"""Everyday objects by name, scaled so that a hand that opens to 80 mm finds somewhere to hold them.

Each is made of convex parts by construction: round bodies of stacked frustums, open walls of flat pieces, handles of
boxes. Lengths in m, masses in kg, forces in N.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import numpy as np

from mql_ros.core.errors import UserError
from mql_sim.objects.solid import Solid, box, circle, combined, convex, frustum, sphere, wall
from mql_sim.objects.thing import Thing, thing_from_solid

FOOT = 0.002
"""Height of a wall above what its floor stands on, m."""


def mug(*, radius: float = 0.041, height: float = 0.095, thickness: float = 0.004, reach: float = 0.036) -> Thing:
    """An empty mug, too wide to be held around: open at the top, its handle towards x."""
    cup = _cup([(0.0, radius), (height, radius)], thickness)
    handle = _handle(radius - thickness / 2, reach, low=0.2 * height, high=0.88 * height)
    return thing_from_solid(
        "mug", combined([*cup, *handle]), mass=0.30, friction=0.55, crush_force=16.9, color=(0.80, 0.25, 0.20, 1.0)
    )


def soccer_ball() -> Thing:
    """A ball, small enough for the hand."""
    return thing_from_solid(
        "soccer-ball", sphere(0.034), mass=0.12, friction=0.75, crush_force=4.9, color=(0.93, 0.93, 0.93, 1.0)
    )


def bottle() -> Thing:
    """A full bottle of water, wet and heavy: its body is wider than the hand, its neck and cap are not."""
    body = frustum([(0.0, 0.040), (0.006, 0.044), (0.140, 0.044), (0.185, 0.016)])
    neck = frustum([(0.184, 0.0135), (0.236, 0.0135)])
    cap = frustum([(0.235, 0.016), (0.252, 0.016)])
    return thing_from_solid(
        "bottle", combined([body, neck, cap]), mass=1.05, friction=0.36, crush_force=37.6,
        color=(0.35, 0.62, 0.85, 1.0),
    )  # fmt: skip


def jug() -> Thing:
    """An open jug with a wide belly, a lip and a large handle towards x."""
    cup = _cup([(0.0, 0.044), (0.045, 0.052), (0.105, 0.047), (0.120, 0.050)], 0.004)
    handle = _handle(0.045, 0.055, low=0.02, high=0.112)
    return thing_from_solid(
        "jug", combined([*cup, *handle]), mass=0.20, friction=0.85, crush_force=6.7, color=(0.55, 0.65, 0.35, 1.0)
    )


def carafe() -> Thing:
    """A carafe filled up to its open neck, which widens to a lip."""
    body = frustum([(0.0, 0.045), (0.050, 0.055), (0.095, 0.042), (0.125, 0.019)])
    neck = wall([(0.123, 0.018), (0.170, 0.019), (0.185, 0.026)], 0.004, pieces=12)
    return thing_from_solid(
        "carafe", combined([body, neck]), mass=0.60, friction=0.42, crush_force=23.3, color=(0.60, 0.45, 0.70, 1.0)
    )


def thermos() -> Thing:
    """A smooth steel flask, full; body and cup fit between the fingers."""
    body = frustum([(0.0, 0.035), (0.004, 0.036), (0.176, 0.036), (0.186, 0.031)])
    cup = frustum([(0.185, 0.031), (0.220, 0.028)])
    return thing_from_solid(
        "thermos", combined([body, cup]), mass=0.90, friction=0.33, crush_force=33.3, color=(0.62, 0.66, 0.70, 1.0)
    )


def kettle() -> Thing:
    """A wide kettle with a knob on its lid, a handle arched over it along x, and a spout towards x."""
    body = frustum([(0.0, 0.060), (0.015, 0.064), (0.060, 0.056), (0.080, 0.036)])
    knob = frustum([(0.079, 0.007), (0.088, 0.012), (0.098, 0.012), (0.103, 0.008)])
    posts = [box([0.010, 0.014, 0.085]).moved([side * 0.045, 0.0, 0.1075]) for side in (-1, 1)]
    bar = box([0.100, 0.014, 0.014]).moved([0.0, 0.0, 0.150])
    low, high = circle(0.013, 0.0) + [0.052, 0.0, 0.035], circle(0.008, 0.0) + [0.088, 0.0, 0.078]
    spout = convex(np.concatenate([low, high]))
    return thing_from_solid(
        "kettle", combined([body, knob, *posts, bar, spout]), mass=0.60, friction=0.70, crush_force=20.4,
        color=(0.30, 0.32, 0.36, 1.0),
    )  # fmt: skip


def can() -> Thing:
    """A full drink can."""
    body = frustum([(0.0, 0.027), (0.006, 0.033), (0.105, 0.033), (0.115, 0.027)])
    return thing_from_solid("can", body, mass=0.35, friction=0.45, crush_force=15.8, color=(0.75, 0.20, 0.25, 1.0))


HOUSEHOLD: dict[str, Callable[[], Thing]] = {
    "mug": mug, "soccer-ball": soccer_ball, "can": can, "kettle": kettle,
    "bottle": bottle, "carafe": carafe, "thermos": thermos, "jug": jug,
}  # fmt: skip
"""Named objects."""


def household(name: str) -> Thing:
    """A named object.

    Raises:
        UserError: there is none of that name.
    """
    if name not in HOUSEHOLD:
        near = difflib.get_close_matches(name, HOUSEHOLD, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(HOUSEHOLD)}"
        raise UserError(f"there is no object '{name}'; {hint}")
    return HOUSEHOLD[name]()


def _cup(rings: Sequence[tuple[float, float]], thickness: float) -> list[Solid]:
    """An open wall of outer radii at heights (z, radius), and a floor on which it stands: many feet cost much time."""
    (bottom, radius), *others = rings
    floor = frustum([(bottom, radius - thickness / 2), (bottom + thickness, radius - thickness / 2)])
    return [wall([(bottom + FOOT, radius), *others], thickness), floor]


def _handle(inner: float, reach: float, *, low: float, high: float, width: float = 0.012) -> list[Solid]:
    """A bar of a width from z = low to high, `reach` outside the radius `inner` on the x axis, on two arms."""
    outer = inner + reach
    bar = box([0.010, width, high - low]).moved([outer - 0.005, 0.0, (low + high) / 2])
    arms = [box([reach, width, 0.010]).moved([inner + reach / 2, 0.0, z]) for z in (low + 0.005, high - 0.005)]
    return [bar, *arms]
