"""Named objects, the procedural training family, and families of objects past its range."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

import numpy as np

from mql_ros.core.errors import UserError
from mql_sim.objects.spec import ObjectSpec, Shape, make_object, slip_force

PROCEDURAL_TRAINING = 400
"""Procedural training objects are `procedural-0000` and up; numbers from 10,000 are never trained on."""
DEVELOPMENT_FIRST, DEVELOPMENT_COUNT = 10_000, 60
"""Procedural objects for choosing between policies and settings: never trained on, but looked at."""


def _mug() -> ObjectSpec:
    return make_object(
        "mug", "handle", body_radius=0.042, body_height=0.095, mass=0.30, friction=0.55, window=3.5, handle_x=0.075,
        handle_z=0.055, handle_length=0.060, center_of_mass_x=0.006, color=(0.80, 0.25, 0.20, 1.0),
    )  # fmt: skip


def _soccer_ball() -> ObjectSpec:
    """A ball scaled to the gripper, standing on a ring so that it does not roll away."""
    radius, mass, friction, window = 0.033, 0.12, 0.75, 4.0
    slip = slip_force(mass, friction) * 1.3
    return ObjectSpec(
        name="soccer-ball",
        category="narrow",
        shapes=(
            Shape("sphere", (radius,), (0.0, 0.0, radius), (0.93, 0.93, 0.93, 1.0)),
            Shape("cylinder", (0.015, 0.003), (0.0, 0.0, 0.0015), (0.2, 0.2, 0.2, 1.0)),
        ),
        mass=mass,
        center_of_mass=(0.0, 0.0, 0.8 * radius),
        friction=friction,
        crush_force=slip * window,
        grasp_x=0.0,
        grasp_z=radius,
        grasp_force=slip * window**0.5,
    )


def _bottle() -> ObjectSpec:
    """A full bottle of water, wet: wider than the gripper, heavier and more slippery than anything in training."""
    return make_object(
        "bottle", "top", body_radius=0.044, body_height=0.200, mass=1.05, friction=0.36, window=1.9, neck_radius=0.014,
        neck_length=0.055, color=(0.35, 0.62, 0.85, 1.0),
    )  # fmt: skip


def _jug() -> ObjectSpec:
    """A handle farther out than any in training."""
    return make_object(
        "jug", "handle", body_radius=0.050, body_height=0.105, mass=0.20, friction=0.85, window=3.2, handle_x=0.110,
        handle_z=0.070, handle_length=0.090, center_of_mass_x=0.025, color=(0.55, 0.65, 0.35, 1.0),
    )  # fmt: skip


def _carafe() -> ObjectSpec:
    """A neck farther off to one side than any in training."""
    return make_object(
        "carafe", "top", body_radius=0.052, body_height=0.150, mass=0.60, friction=0.42, window=2.4, neck_radius=0.016,
        neck_length=0.060, neck_offset=-0.029, color=(0.60, 0.45, 0.70, 1.0),
    )  # fmt: skip


def _thermos() -> ObjectSpec:
    """A smooth steel body, wider, heavier and more slippery than the narrow bodies in training."""
    return make_object(
        "thermos", "narrow", body_radius=0.036, body_height=0.220, mass=0.90, friction=0.33, window=1.8,
        color=(0.62, 0.66, 0.70, 1.0),
    )  # fmt: skip


def _kettle() -> ObjectSpec:
    """A knob on a low, heavy body."""
    return make_object(
        "kettle", "top", body_radius=0.055, body_height=0.075, mass=0.60, friction=0.70, window=3.5, neck_radius=0.015,
        neck_length=0.045, neck_offset=0.010, color=(0.30, 0.32, 0.36, 1.0),
    )  # fmt: skip


def _can() -> ObjectSpec:
    return make_object(
        "can", "narrow", body_radius=0.031, body_height=0.110, mass=0.35, friction=0.45, window=3.0,
        color=(0.75, 0.20, 0.25, 1.0),
    )  # fmt: skip


TRAINING_NAMED: dict[str, Callable[[], ObjectSpec]] = {
    "mug": _mug, "soccer-ball": _soccer_ball, "can": _can, "kettle": _kettle,
}  # fmt: skip
HELD_OUT_NAMED: dict[str, Callable[[], ObjectSpec]] = {
    "bottle": _bottle, "carafe": _carafe, "thermos": _thermos, "jug": _jug,
}  # fmt: skip
"""Never in a training set. The first three are the demo's: chosen so that the context alone does not master them."""


def procedural(number: int) -> ObjectSpec:
    """Member `number` of the procedural family (continuous shape, size, mass, friction and force window)."""
    rng = np.random.default_rng([20_250_301, number])
    category = ("top", "handle", "narrow")[int(rng.integers(3))]
    friction = float(rng.uniform(0.35, 0.95))
    window = float(rng.uniform(2.6, 4.5))
    hue = rng.uniform(0.3, 0.9, size=3)
    color = (float(hue[0]), float(hue[1]), float(hue[2]), 1.0)
    name = f"procedural-{number:04d}"
    if category == "top":
        return make_object(
            name, category, body_radius=float(rng.uniform(0.043, 0.058)), body_height=float(rng.uniform(0.05, 0.16)),
            mass=float(rng.uniform(0.1, 0.7)), friction=friction, window=window,
            neck_radius=float(rng.uniform(0.010, 0.019)), neck_length=float(rng.uniform(0.04, 0.06)),
            neck_offset=float(rng.uniform(-0.02, 0.03)), color=color,
        )  # fmt: skip
    if category == "handle":
        handle_z = float(rng.uniform(0.045, 0.105))
        length = float(rng.uniform(0.05, 0.08))
        low = max(handle_z + length / 2, 0.07)
        return make_object(
            name, category, body_radius=float(rng.uniform(0.041, 0.050)),
            # A body much taller than its handle keeps the palm from getting there.
            body_height=float(rng.uniform(low, max(low + 0.005, handle_z + 0.04))), mass=float(rng.uniform(0.1, 0.4)),
            friction=max(friction, 0.45), window=window, handle_x=float(rng.uniform(0.068, 0.100)), handle_z=handle_z,
            handle_length=min(length, 2 * handle_z - 0.012), center_of_mass_x=float(rng.uniform(0.0, 0.015)),
            color=color,
        )  # fmt: skip
    return make_object(
        name, category, body_radius=float(rng.uniform(0.016, 0.034)), body_height=float(rng.uniform(0.05, 0.20)),
        mass=float(rng.uniform(0.1, 0.7)), friction=friction, window=window, color=color,
    )  # fmt: skip


def beyond(number: int) -> ObjectSpec:
    """Member `number` of a family just past the training range, where the context alone does not reach.

    By turns: taller necks farther off to either side, necks farther off on the side where training has few, higher
    and farther handles, heavy and slippery ones of the first kind, and heavy, slippery, narrow bodies.
    """
    rng = np.random.default_rng([20_250_303, number])
    name, kind = f"beyond-{number:04d}", number % 5

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    if kind == 2:
        handle_z = between(0.12, 0.16)
        return make_object(
            name, "handle", body_radius=between(0.044, 0.052), body_height=handle_z + 0.04, mass=between(0.2, 0.4),
            friction=between(0.5, 0.9), window=between(2.0, 3.0), handle_x=between(0.100, 0.115), handle_z=handle_z,
            handle_length=between(0.05, 0.08), center_of_mass_x=0.015,
        )  # fmt: skip
    heavy = kind >= 3
    mass = between(0.8, 1.1) if heavy else between(0.2, 0.7)
    friction = between(0.33, 0.42) if heavy else between(0.35, 0.8)
    window = between(1.7, 2.2) if heavy else between(2.0, 3.0)
    if kind == 4:
        return make_object(
            name, "narrow", body_radius=between(0.028, 0.036), body_height=between(0.03, 0.22),
            mass=mass, friction=friction, window=window,
        )  # fmt: skip
    offset = -between(0.028, 0.040) if kind == 1 else float(rng.choice([-1, 1])) * between(0.028, 0.036)
    return make_object(
        name, "top", body_radius=between(0.046, 0.056),
        body_height=between(0.06, 0.16) if kind == 1 else between(0.18, 0.215), mass=mass, friction=friction,
        window=window, neck_radius=between(0.011, 0.018), neck_length=between(0.045, 0.06), neck_offset=offset,
    )  # fmt: skip


def kind_member(number: int, member: int) -> ObjectSpec:
    """One object of kind `number`: alike in shape and material, but of different sizes and weights.

    The middles of kinds lie past the training range by the same turns as `beyond`; single members may lie within it.
    They differ by so much that no one grasp does for all of them: necks and bodies by up to 7 to 12 cm in height,
    handles by up to 7 cm, masses by up to a factor of 2.5.
    """
    of_kind = np.random.default_rng([20_250_304, number])
    of_member = np.random.default_rng([20_250_305, number, member])
    name, turn = f"kind-{number:04d}-{member}", number % 5

    def between(low: float, high: float) -> float:
        return float(of_kind.uniform(low, high))

    def differing(middle: float, most: float) -> float:
        return middle + float(of_member.uniform(-most, most))

    def weighing(low: float, high: float) -> float:
        return between(low, high) * float(np.exp(differing(0.0, 0.45)))

    if turn == 2:
        handle_z = min(0.165, differing(between(0.115, 0.140), 0.0375))
        return make_object(
            name, "handle", body_radius=between(0.044, 0.052), body_height=handle_z + 0.04, mass=weighing(0.25, 0.35),
            friction=between(0.5, 0.9), window=between(2.2, 3.0), handle_x=differing(between(0.100, 0.112), 0.009),
            handle_z=handle_z, handle_length=between(0.05, 0.08), center_of_mass_x=0.015,
        )  # fmt: skip
    heavy = turn >= 3
    mass = weighing(0.75, 0.95) if heavy else weighing(0.3, 0.6)
    friction = between(0.34, 0.42) if heavy else between(0.35, 0.8)
    window = between(1.9, 2.3) if heavy else between(2.2, 3.0)
    if turn == 4:
        return make_object(
            name, "narrow", body_radius=between(0.028, 0.036),
            body_height=float(np.clip(differing(between(0.08, 0.18), 0.06), 0.03, 0.23)), mass=mass, friction=friction,
            window=window,
        )  # fmt: skip
    offset = -between(0.030, 0.038) if turn == 1 else float(of_kind.choice([-1, 1])) * between(0.030, 0.036)
    height = between(0.09, 0.14) if turn == 1 else between(0.165, 0.185)
    return make_object(
        name, "top", body_radius=between(0.046, 0.056), body_height=min(0.215, differing(height, 0.045)), mass=mass,
        friction=friction, window=window, neck_radius=between(0.011, 0.018), neck_length=between(0.045, 0.06),
        neck_offset=differing(offset, 0.006),
    )  # fmt: skip


def training_names() -> list[str]:
    """Every object that meta-training may use."""
    return [*TRAINING_NAMED, *(f"procedural-{n:04d}" for n in range(PROCEDURAL_TRAINING))]


def development_names() -> list[str]:
    """Fresh procedural objects for validation: none is trained on."""
    return [f"procedural-{n:04d}" for n in range(DEVELOPMENT_FIRST, DEVELOPMENT_FIRST + DEVELOPMENT_COUNT)]


_KIND, _MEMBER = re.compile(r"kind-(\d+)"), re.compile(r"kind-(\d+)-(\d+)")


def find_object(name: str) -> ObjectSpec:
    """The object of a name, or of a URDF file; UserError names the nearest known object."""
    named = {**TRAINING_NAMED, **HELD_OUT_NAMED}
    if name in named:
        return named[name]()
    if name.startswith("procedural-") and name.removeprefix("procedural-").isdigit():
        return procedural(int(name.removeprefix("procedural-")))
    if name.startswith("beyond-") and name.removeprefix("beyond-").isdigit():
        return beyond(int(name.removeprefix("beyond-")))
    if member := _MEMBER.fullmatch(name):
        return kind_member(int(member[1]), int(member[2]))
    if name.endswith(".urdf"):
        from mql_sim.objects.urdf import read_object

        return read_object(name)
    if _KIND.fullmatch(name):
        raise UserError(f"'{name}' is a kind of objects, not an object; one of its objects is {name}-0")
    near = difflib.get_close_matches(name, named, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(
        f"unknown object '{name}': {hint}known are {', '.join(named)}, procedural-NNNN, or the path of a .urdf file"
    )
