"""Objects that are hard to place a grasp on: rims, handles, wide blocks, thin, slanting and unbalanced things.

Each is a pure function of its number. Lengths in m; a hand that opens to 80 mm finds somewhere to hold most of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mql_ros.grasping.types import Array
from mql_sim.objects.solid import Solid, box, combined, convex, cylinder, frustum, wall
from mql_sim.objects.thing import Thing, thing_from_solid

MASS = 0.3
"""Before hidden properties are drawn, kg."""
WIDE = (0.086, 0.104)
"""Widths that no hand of 80 mm holds, and that leave room for a handle in the height map, m."""


def hard_thing(number: int) -> Thing:
    """The object of a number (0 or more), the same whenever and wherever it is made."""
    rng = np.random.default_rng([number, 11])
    return replace(KINDS[number % len(KINDS)](rng), name=f"hard-{number:04d}")


def cup(rng: np.random.Generator) -> Thing:
    """An open round cup that is wider than the hand, with straight or sloping walls."""
    thickness, height = rng.uniform(0.003, 0.007), rng.uniform(0.045, 0.110)
    top = rng.uniform(*WIDE) / 2 + rng.uniform(0.0, 0.012)
    bottom = top * rng.uniform(0.75, 1.0)
    floor = frustum([(0.0, bottom - thickness / 2), (thickness, bottom - thickness / 2)])
    return _upright(combined([wall([(0.002, bottom), (height, top)], thickness), floor]))


def tray(rng: np.random.Generator) -> Thing:
    """An open box that is wider than the hand either way; two of its walls stand upright, two lean outwards."""
    length, width = rng.uniform(*WIDE) * 1.05, rng.uniform(*WIDE)
    thickness, height = rng.uniform(0.003, 0.008), rng.uniform(0.035, 0.080)
    upright = box([thickness, width, height - 0.002])
    sides = [upright.moved([side * (length - thickness) / 2, 0.0, height / 2 + 0.001]) for side in (-1, 1)]
    lean = np.tan(rng.uniform(0.45, 0.75)) * height
    low, high = np.array([width / 2 - lean, width / 2 - lean - thickness]), np.array([width / 2, width / 2 - thickness])
    corners = np.array(
        [[x, y, z] for x in (-length / 2, length / 2) for ys, z in ((low, 0.002), (high, height)) for y in ys]
    )
    ends = [convex(corners * [1.0, side, 1.0]) for side in (-1, 1)]
    floor = box([length, 2 * max(width / 2 - lean, 0.012), thickness]).moved([0.0, 0.0, thickness / 2])
    return _upright(combined([*sides, *ends, floor]))


def side_handle(rng: np.random.Generator) -> Thing:
    """A body wider than the hand with an upright handle beside it, and a cone on top that no pad holds."""
    wide, height = rng.uniform(*WIDE), rng.uniform(0.060, 0.120)
    body = cylinder(wide / 2, height) if rng.random() < 0.6 else box([wide, wide * rng.uniform(0.95, 1.1), height])
    reach, thick, width = rng.uniform(0.032, 0.040), rng.uniform(0.008, 0.013), rng.uniform(0.010, 0.018)
    long = height * rng.uniform(0.6, 0.9)
    high = (height - long) / 2  # the handle ends where the body does: no palm would pass above the body otherwise
    bar = box([thick, width, long]).moved([wide / 2 + reach - thick / 2, 0.0, high])
    arms = [
        box([reach + 0.004, width, 0.010]).moved([wide / 2 + reach / 2 - 0.002, 0.0, high + side * (long / 2 - 0.005)])
        for side in (-1, 1)
    ]
    solid = combined([body, bar, *arms, _cone(rng).moved([0.0, 0.0, height / 2])])
    return _upright(solid, center_of_mass=np.array([0.25 * wide, 0.0, 0.0]))


def top_handle(rng: np.random.Generator) -> Thing:
    """A body wider than the hand with a knob off its middle beside a cone, or with an arched handle over it."""
    wide, height = rng.uniform(*WIDE) * rng.uniform(1.0, 1.2), rng.uniform(0.030, 0.080)
    body = cylinder(wide / 2, height) if rng.random() < 0.5 else box([wide, wide * rng.uniform(0.9, 1.1), height])
    if rng.random() < 0.5:
        neck, head, rise = rng.uniform(0.006, 0.010), rng.uniform(0.010, 0.018), rng.uniform(0.022, 0.040)
        shape = frustum([(-0.001, neck), (rise * 0.4, neck), (rise * 0.6, head), (rise, head)])
        angle, away = rng.uniform(-np.pi, np.pi), 0.36 * wide
        place = away * np.array([np.cos(angle), np.sin(angle), 0.0])
        grip = [shape.moved(place + [0.0, 0.0, height / 2]), _cone(rng).moved(-0.3 * place + [0.0, 0.0, height / 2])]
    else:
        span, rise, thick = wide * rng.uniform(0.5, 0.85), rng.uniform(0.035, 0.060), rng.uniform(0.009, 0.015)
        grip = [
            box([thick, thick, rise]).moved([side * (span - thick) / 2, 0.0, (height + rise) / 2 - 0.001])
            for side in (-1, 1)
        ]
        grip.append(box([span, thick, thick]).moved([0.0, 0.0, height / 2 + rise - thick / 2]))
    return _upright(combined([body, *grip]))


def wide_block(rng: np.random.Generator) -> Thing:
    """A block or cylinder that just fits between the fingers, one way only."""
    width = rng.uniform(0.060, 0.074)
    if rng.random() < 0.5:
        solid = box([width, rng.uniform(0.085, 0.130), rng.uniform(0.030, 0.070)])
    else:
        solid = cylinder(width / 2, rng.uniform(0.085, 0.130))
    return thing_from_solid("hard", solid, mass=MASS)


def thin(rng: np.random.Generator) -> Thing:
    """A plate or a six-sided rod that lies close to the table."""
    if rng.random() < 0.5:
        solid = box([rng.uniform(0.028, 0.062), rng.uniform(0.075, 0.140), rng.uniform(0.009, 0.016)])
    else:
        angles, radius, half = np.arange(6) * np.pi / 3, rng.uniform(0.0055, 0.010), rng.uniform(0.035, 0.070)
        ring = np.column_stack([radius * np.cos(angles), radius * np.sin(angles), np.full(6, half)])
        solid = convex(np.concatenate([ring, ring * [1.0, 1.0, -1.0]]))
    return thing_from_solid("hard", solid, mass=MASS)


def slanting(rng: np.random.Generator) -> Thing:
    """A block that leans both ways and narrows upwards along one."""
    width, length, height = rng.uniform(0.030, 0.055), rng.uniform(0.050, 0.090), rng.uniform(0.045, 0.080)
    lean, taper = rng.uniform(-0.4, 0.4, size=2) * height, rng.uniform(0.35, 0.9)
    low = np.array([[x * length / 2, y * width / 2, 0.0] for x in (-1, 1) for y in (-1, 1)])
    return thing_from_solid("hard", convex(np.concatenate([low, low * [taper, 1.0, 1.0] + [*lean, height]])), mass=MASS)


def unbalanced(rng: np.random.Generator) -> Thing:
    """A long bar, a hammer or an angle whose weight lies far from its middle."""
    long, thick = rng.uniform(0.100, 0.145), rng.uniform(0.016, 0.030)
    shaft, shape = box([long, thick, thick]), rng.integers(3)
    parts: list[Solid] = [shaft]
    if shape > 0:
        head = rng.uniform(0.045, 0.080)
        across = 0.0 if shape == 1 else (head - thick) / 2
        wide = rng.uniform(0.020, 0.034)
        parts.append(box([wide, head, max(thick, wide)]).moved([(long - wide) / 2, across, 0.0]))
    solid = combined(parts)
    center = np.array([rng.uniform(0.18, 0.36) * long, 0.0, 0.0])
    return thing_from_solid("hard", solid, mass=MASS, center_of_mass=center)


KINDS: tuple[Callable[[np.random.Generator], Thing], ...] = (
    cup, tray, side_handle, top_handle, wide_block, thin, slanting, unbalanced,
)  # fmt: skip
"""Makers; object number n is of kind n modulo their count."""


def _cone(rng: np.random.Generator) -> Solid:
    """A blunt cone on the plane z = 0: it looks narrow enough to hold, but pads slip off its sides."""
    wide, high = rng.uniform(0.014, 0.022), rng.uniform(0.020, 0.030)
    return frustum([(-0.001, wide), (high, 0.003)])


def _upright(solid: Solid, center_of_mass: Array | None = None) -> Thing:
    return replace(thing_from_solid("hard", solid, mass=MASS, center_of_mass=center_of_mass), upright=True)
