"""Objects: what they are made of, how they are best grasped, and the procedural family that training draws from."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np
from transforms3d.euler import euler2mat

GRAVITY = 9.81


@dataclass(frozen=True)
class Shape:
    """One rigid primitive of an object."""

    kind: str
    """`cylinder` (radius, height; along z), `box` (full x, y, z) or `sphere` (radius)."""
    size: tuple[float, ...]
    """m."""
    position: tuple[float, float, float]
    """Centre in the object frame, m."""
    color: tuple[float, float, float, float] = (0.7, 0.7, 0.7, 1.0)
    rpy: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Roll, pitch and yaw of its axes in the object frame, rad; zero for everything in the catalogue."""

    def half_extents(self) -> tuple[float, float, float]:
        """Half the size of the box, parallel to the object frame, that just holds the shape, m."""
        turn = euler2mat(*self.rpy)
        if self.kind == "sphere":
            extents = np.full(3, self.size[0])
        elif self.kind == "box":
            extents = np.abs(turn) @ np.array(self.size) / 2
        else:
            axis = turn[:, 2]
            # A disc across the axis reaches sqrt(1 - axis_k^2) radii along k.
            extents = self.size[0] * np.sqrt(np.maximum(0.0, 1.0 - axis**2)) + np.abs(axis) * self.size[1] / 2
        return float(extents[0]), float(extents[1]), float(extents[2])


@dataclass(frozen=True)
class ObjectSpec:
    """An object to grasp. Its frame stands at the middle of its base, z up, x towards the handle if it has one.

    Mass, friction and the force that crushes it are hidden from the policy, and so is where it can be grasped: all of
    that has to come from what the arm feels.
    """

    name: str
    category: str
    """How it is grasped: `top` (neck or knob), `handle`, `narrow` (the body itself)."""
    shapes: tuple[Shape, ...]
    mass: float
    """kg."""
    center_of_mass: tuple[float, float, float]
    """In the object frame, m."""
    friction: float
    """Lateral friction coefficient against the finger pads (which have 1)."""
    crush_force: float
    """Finger force at which the object gives way, N."""
    grasp_x: float
    """Where the fingers should close: along the object's x axis, m."""
    grasp_z: float
    """and above the table, m."""
    grasp_force: float
    """A finger force in the middle of what holds and does not crush, N."""

    def urdf(self) -> str:
        """The object as a URDF document."""
        robot = ET.Element("robot", name=self.name)
        link = ET.SubElement(robot, "link", name="base")
        inertial = ET.SubElement(link, "inertial")
        ET.SubElement(inertial, "origin", xyz=_numbers(self.center_of_mass), rpy="0 0 0")
        ET.SubElement(inertial, "mass", value=repr(float(self.mass)))
        ixx, izz = self._inertia()
        inertia = {"ixx": ixx, "iyy": ixx, "izz": izz, "ixy": 0.0, "ixz": 0.0, "iyz": 0.0}
        ET.SubElement(inertial, "inertia", {k: repr(float(v)) for k, v in inertia.items()})
        for number, shape in enumerate(self.shapes):
            for tag in ("visual", "collision"):
                part = ET.SubElement(link, tag)
                ET.SubElement(part, "origin", xyz=_numbers(shape.position), rpy=_numbers(shape.rpy))
                geometry = ET.SubElement(part, "geometry")
                if shape.kind == "cylinder":
                    ET.SubElement(geometry, "cylinder", radius=repr(shape.size[0]), length=repr(shape.size[1]))
                elif shape.kind == "box":
                    ET.SubElement(geometry, "box", size=_numbers(shape.size))
                else:
                    ET.SubElement(geometry, "sphere", radius=repr(shape.size[0]))
                if tag == "visual":
                    material = ET.SubElement(part, "material", name=f"color{number}")
                    ET.SubElement(material, "color", rgba=_numbers(shape.color))
        return ET.tostring(robot, encoding="unicode")

    def _inertia(self) -> tuple[float, float]:
        """Moments of a solid cylinder that bounds the object, kg m^2: stable in Bullet, close enough for a grasp."""
        radius = max(_radius(s) for s in self.shapes)
        height = max(s.position[2] + _rise(s) for s in self.shapes)
        return self.mass * (3 * radius**2 + height**2) / 12, self.mass * radius**2 / 2


def _radius(shape: Shape) -> float:
    if any(shape.rpy):
        return max(shape.half_extents()[:2])
    return shape.size[0] / 2 if shape.kind == "box" else shape.size[0]


def _rise(shape: Shape) -> float:
    if any(shape.rpy):
        return shape.half_extents()[2]
    return shape.size[1] / 2 if shape.kind == "cylinder" else shape.size[-1] / 2


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(repr(float(v)) for v in values)


def slip_force(mass: float, friction: float, acceleration: float = 2.0) -> float:
    """Finger force below which an object held by two pads slips while it is lifted, N (Coulomb friction)."""
    return mass * (GRAVITY + acceleration) / (2 * friction)


def make_object(
    name: str,
    category: str,
    *,
    body_radius: float,
    body_height: float,
    mass: float,
    friction: float,
    window: float,
    neck_radius: float = 0.014,
    neck_length: float = 0.05,
    neck_offset: float = 0.0,
    handle_x: float = 0.08,
    handle_z: float = 0.06,
    handle_length: float = 0.05,
    center_of_mass_x: float = 0.0,
    color: tuple[float, float, float, float] = (0.7, 0.7, 0.7, 1.0),
) -> ObjectSpec:
    """Build one member of the family.

    `window` is the ratio between the force that crushes and the force below which the object slips. Lengths in m,
    mass in kg. A `top` object is wider than the gripper, with a graspable neck; a `handle` object has a vertical bar
    beside a body wider than the gripper; a `narrow` object is grasped around its body.
    """
    dark = (color[0] * 0.6, color[1] * 0.6, color[2] * 0.6, 1.0)
    shapes = [Shape("cylinder", (body_radius, body_height), (0.0, 0.0, body_height / 2), color)]
    low = 0.4 * body_height
    if category == "top":
        shapes.append(
            Shape("cylinder", (neck_radius, neck_length), (neck_offset, 0.0, body_height + neck_length / 2), dark)
        )
        x, z = neck_offset, body_height + 0.6 * neck_length
    elif category == "handle":
        arm = handle_x - body_radius
        for end in (-1, 1):
            height = handle_z + end * (handle_length / 2 - 0.005)
            shapes.append(Shape("box", (arm, 0.014, 0.01), (body_radius + arm / 2, 0.0, height), dark))
        shapes.append(Shape("box", (0.016, 0.016, handle_length), (handle_x, 0.0, handle_z), dark))
        x, z = handle_x, handle_z
    elif category == "narrow":
        x, z = 0.0, max(0.5 * body_height, body_height - 0.03)
    else:
        raise ValueError(f"unknown category '{category}': expected top, handle or narrow")
    # A bar held beside the centre of mass turns between the pads before it lifts: that takes a firmer grip.
    slip = slip_force(mass, friction) * (1.5 if category == "handle" else 1.15)
    return ObjectSpec(
        name=name,
        category=category,
        shapes=tuple(shapes),
        mass=mass,
        center_of_mass=(center_of_mass_x, 0.0, low),
        friction=friction,
        crush_force=slip * window,
        grasp_x=x,
        grasp_z=z,
        grasp_force=slip * window**0.5,
    )
