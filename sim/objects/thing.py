"""An object as the world needs it: its shape, how heavy and how slippery it is, and what crushes it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.grasping.motion.kinematics import quaternion_to_matrix
from mql_ros.grasping.types import Array
from mql_sim.objects.solid import Solid

DEFAULT_DENSITY = 300.0
"""Mass per volume of an object of unknown mass, kg/m^3: between a hollow and a filled container."""
DEFAULT_FRICTION = 0.6
UNCRUSHABLE = 1000.0
"""Force that crushes an object which does not give way, N: far beyond any gripper."""
LARGEST, SMALLEST = 0.5, 0.005
"""Largest extent of an object that an arm on a table can handle, m."""

GREY = (0.7, 0.7, 0.7, 1.0)


@dataclass(frozen=True, eq=False)
class Thing:
    """A rigid object. Its frame has z up as modelled and its origin in the middle of the bottom of its bounding box."""

    name: str
    solid: Solid
    """Shape in the object frame."""
    mass: float
    """kg."""
    friction: float
    """Lateral friction coefficient against finger pads, which have 1."""
    crush_force: float
    """Finger force at which the object gives way, N."""
    center_of_mass: Array
    """In the object frame [3], m."""
    inertia: Array
    """About the centre of mass, along the axes of the object frame [3, 3], kg m^2."""
    color: tuple[float, float, float, float] = GREY
    """Red, green, blue, alpha; 0 to 1."""
    upright: bool = False
    """Whether it stands as modelled, not however it falls."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about what was assumed."""

    @property
    def size(self) -> Array:
        """Extents of the bounding box [3], m."""
        low, high = self.solid.bounds()
        return np.asarray(high - low)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of shape and properties, to a micrometre; neither name nor path count."""
        digest = hashlib.sha256()
        for array in (*self.solid.parts, self.solid.vertices, self.center_of_mass):
            digest.update(np.int64(len(array)).tobytes() + np.round(array * 1e6).astype(np.int64).tobytes())
        digest.update(self.solid.faces.astype(np.int64).tobytes())
        scalars = [self.mass, self.friction, self.crush_force, *self.inertia.ravel() * 1e6]
        digest.update(" ".join(f"{value + 0.0:.6g}" for value in scalars).encode())
        return digest.hexdigest()

    @cached_property
    def inertial_frame(self) -> tuple[Array, Array, Array]:
        """Centre of mass [3] (m), principal axes (quaternion x, y, z, w [4]) and moments about them [3] (kg m^2)."""
        moments, axes = np.linalg.eigh(self.inertia)
        for k in range(2):  # the sign of an axis is arbitrary: its largest component points forward
            axes[:, k] *= np.sign(axes[np.abs(axes[:, k]).argmax(), k])
        axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
        return self.center_of_mass, _quaternion(axes), moments

    def with_properties(
        self,
        *,
        mass: float | None = None,
        friction: float | None = None,
        crush_force: float | None = None,
        center_of_mass: Array | None = None,
    ) -> Thing:
        """The same shape with other hidden properties; the inertia follows the mass."""
        heavier = self.mass if mass is None else mass
        return replace(
            self,
            mass=heavier,
            friction=self.friction if friction is None else friction,
            crush_force=self.crush_force if crush_force is None else crush_force,
            center_of_mass=self.center_of_mass if center_of_mass is None else center_of_mass,
            inertia=self.inertia * (heavier / self.mass),
        )

    def resized(self, size: float) -> Thing:
        """The same object with another largest extent, m; its mass stays."""
        factor = size / float(self.size.max())
        return replace(
            self,
            solid=self.solid.scaled(factor),
            center_of_mass=self.center_of_mass * factor,
            inertia=self.inertia * factor**2,
        )


def thing_from_solid(
    name: str,
    solid: Solid,
    *,
    mass: float | None = None,
    friction: float | None = None,
    crush_force: float | None = None,
    center_of_mass: Array | None = None,
    inertia: Array | None = None,
    color: tuple[float, float, float, float] = GREY,
    notes: tuple[str, ...] = (),
) -> Thing:
    """Make an object of a shape in any frame; what is not given is assumed, centre and inertia from the volume.

    `center_of_mass` is given in the frame of the shape (m), `inertia` about it (kg m^2).
    """
    if mass is None:
        mass = DEFAULT_DENSITY * solid.moments.volume
        notes = (*notes, f"no mass is given; {mass:.3g} kg was assumed, {DEFAULT_DENSITY:g} kg/m^3 of its volume")
    for what, value in (("mass", mass), ("friction", friction), ("crush_force", crush_force)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UserError(f"object '{name}': its {what} is {value:g}; expected a finite number above 0")
    low, high = solid.bounds()
    origin = np.array([*(low + high)[:2] / 2, low[2]])
    center = solid.moments.center if center_of_mass is None else center_of_mass
    return Thing(
        name=name,
        solid=solid.moved(-origin),
        mass=mass,
        friction=DEFAULT_FRICTION if friction is None else friction,
        crush_force=UNCRUSHABLE if crush_force is None else crush_force,
        center_of_mass=center - origin,
        inertia=solid.moments.inertia(mass) if inertia is None else inertia,
        color=color,
        notes=notes,
    )


def _quaternion(turn: Array) -> Array:
    """Quaternion (x, y, z, w) of a rotation matrix, by the eigenvector of its largest eigenvalue (Bar-Itzhack)."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    matrix = np.array(
        [
            [a - e - i, d + b, g + c, h - f],
            [d + b, e - a - i, h + f, c - g],
            [g + c, h + f, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    quaternion = np.linalg.eigh(matrix / 3)[1][:, -1]
    assert np.allclose(quaternion_to_matrix(quaternion), turn, atol=1e-6)
    return np.asarray(quaternion * (1.0 if quaternion[3] >= 0 else -1.0))
