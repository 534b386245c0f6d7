"""Objects from files: a URDF or a bare mesh by its path, and PyBullet's random objects by their number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from mql_ros.core.errors import UserError
from mql_sim.objects.mesh_files import KINDS, MILLIMETRES_FROM, in_millimetres, read_mesh
from mql_sim.objects.thing import LARGEST, SMALLEST, Thing, thing_from_solid
from mql_sim.objects.urdf_file import read_urdf
from mql_sim.world.bullet import pybullet_data

RANDOM_URDFS = 1000
RANDOM_SCALE, RANDOM_MASS = 0.015, 0.1
"""Scale and mass (kg) in all files of random_urdfs; PyBullet's environment of diverse objects loads them so."""
LONGEST = 0.15
"""Longer random objects are made smaller: the height map shows 0.16 m. Largest distance of two of its points, m."""
RANDOM_DAMAGED = (168,)
"""Numbers of random_urdfs whose mesh has NaN vertices."""


def make_thing(
    path: str | Path,
    *,
    mass: float | None = None,
    friction: float | None = None,
    crush_force: float | None = None,
    size: float | None = None,
) -> Thing:
    """Read an object from a URDF or a bare mesh, which stands as modelled; what is given replaces what the file says.

    Mass in kg, crush force in N, size (the largest extent) in m. A mesh of 10 or more is taken to be in mm.

    Raises:
        UserError: the file cannot be read, or is no single rigid object that a gripper could handle.
    """
    file = Path(path)
    given = {"mass": mass, "friction": friction, "crush_force": crush_force, "size": size}
    for what, value in given.items():
        if value is not None and not (np.isfinite(value) and value > 0):
            raise UserError(f"object {file}: the {what} given is {value:g}; expected a finite number above 0")
    if file.suffix.lower() in KINDS:
        thing = _bare_mesh(file, mass, size)
        thing = thing.with_properties(friction=friction, crush_force=crush_force)
    else:
        thing = read_urdf(file)
        if size is not None:
            thing = thing.resized(size)
        thing = thing.with_properties(mass=mass, friction=friction, crush_force=crush_force)
    largest = float(thing.size.max())
    if not SMALLEST <= largest <= LARGEST:
        raise UserError(
            f"object {file}: it measures {largest:.3g} m; expected {SMALLEST} to {LARGEST} m, so name the size "
            "in m that it should have"
        )
    return replace(thing, upright=True)


def _bare_mesh(file: Path, mass: float | None, size: float | None) -> Thing:
    solid = read_mesh(file)
    notes: tuple[str, ...] = ()
    largest = float(np.ptp(solid.bounds(), axis=0).max())
    if size is not None:
        solid = solid.scaled(size / largest)
    elif largest >= MILLIMETRES_FROM:
        solid, notes = solid.scaled(0.001), (in_millimetres(largest),)
    return thing_from_solid(file.stem, solid, mass=mass, notes=notes)


def random_urdf(number: int) -> Thing:
    """One of PyBullet's 1,000 random objects at the mass and, up to LONGEST, the scale of its file.

    The inertia in the file is a stub.

    Raises:
        UserError: there is no such number, or its mesh is damaged (RANDOM_DAMAGED).
    """
    if not 0 <= number < RANDOM_URDFS:
        raise UserError(f"there is no random object {number}; expected 0 to {RANDOM_URDFS - 1}")
    name = f"{number:03d}"
    solid = read_mesh(Path(pybullet_data.getDataPath(), "random_urdfs", name, f"{name}.obj")).scaled(RANDOM_SCALE)
    longest = float(pdist(solid.vertices[ConvexHull(solid.vertices).vertices]).max())
    return thing_from_solid(f"random-{name}", solid.scaled(min(1.0, LONGEST / longest)), mass=RANDOM_MASS)
