"""Hidden properties of objects: what no camera tells, drawn anew for each session."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mql_sim.objects.thing import Thing

GRAVITY = 9.81
LIFT_ACCELERATION = 2.0
"""Of an object that is being lifted, m/s^2."""


@dataclass(frozen=True)
class HiddenRange:
    """Ranges of what is drawn; training's are the defaults."""

    mass: tuple[float, float] = (0.1, 1.0)
    """kg, drawn evenly in the logarithm."""
    friction: tuple[float, float] = (0.25, 1.0)
    window: tuple[float, float] = (2.0, 4.5)
    """Ratio between the force that crushes and the force below which the object slips."""
    offset: float = 0.12
    """Largest offset of the centre of mass along each axis, as part of the extents."""


def slip_force(mass: float, friction: float) -> float:
    """Finger force below which an object held by two pads slips while it is lifted, N (Coulomb friction)."""
    return mass * (GRAVITY + LIFT_ACCELERATION) / (2.0 * friction)


def with_hidden(thing: Thing, rng: np.random.Generator, ranges: HiddenRange | None = None) -> Thing:
    """The same shape with mass, friction, crush force and centre of mass drawn from ranges."""
    ranges = ranges or HiddenRange()
    mass = float(np.exp(rng.uniform(*np.log(ranges.mass))))
    friction, window = float(rng.uniform(*ranges.friction)), float(rng.uniform(*ranges.window))
    offset = rng.uniform(-ranges.offset, ranges.offset, 3) * thing.size
    return thing.with_properties(
        mass=mass,
        friction=friction,
        crush_force=1.15 * slip_force(mass, friction) * window,
        center_of_mass=thing.center_of_mass + offset,
    )
