"""A rigid object from a URDF file: meshes and primitives, on links that fixed joints tie together.

Besides standard URDF and PyBullet's <contact><lateral_friction value="0.5"/>, the robot element may hold

    <mql_ros crush_force="20" friction="0.5"/>

(N, Coulomb coefficient; each may be left out). Only the simulator sees these.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import numpy as np
from transforms3d.euler import euler2mat

from mql_ros.core.errors import UserError
from mql_ros.grasping.types import Array
from mql_sim.objects import solid as shapes
from mql_sim.objects.mesh_files import MILLIMETRES_FROM, in_millimetres, read_mesh, read_surface
from mql_sim.objects.solid import Solid
from mql_sim.objects.thing import GREY, Thing, thing_from_solid

INERTIA_FACTOR = 4.0
"""How far a moment of inertia may be from that of the same mass spread evenly; a thin shell is within 1.7."""
OUTSIDE = 0.002
"""How far a centre of mass may lie outside the bounding box, m."""

Color = tuple[float, float, float, float]
_SETTINGS = ("crush_force", "friction")


class _UnusableError(ValueError):
    """The part of the sentence after the file's name."""


def read_urdf(path: str | Path) -> Thing:
    """Read a URDF file with one rigid object; z stays up.

    Raises:
        UserError: it cannot be read, or is no single rigid object.
    """
    file = Path(path)
    try:
        return _thing(_parse(file), file)
    except _UnusableError as error:
        raise UserError(f"object {file}: {error}") from error


@dataclass
class _Mass:
    """Mass of all links, in the frame of the root link."""

    total: float = 0.0
    moment: Array = field(default_factory=lambda: np.zeros(3))
    """Sum of mass times position [3], kg m."""
    about_origin: Array = field(default_factory=lambda: np.zeros((3, 3)))
    """Inertia about the origin [3, 3], kg m^2."""
    has_inertia: bool = True
    """Whether each link with mass has an <inertia>."""
    has_place: bool = False
    """Whether a link with mass has an <origin>."""


def _thing(robot: ET.Element, file: Path) -> Thing:
    links = {_name(link, "link"): link for link in robot.findall("link")}
    if not links:
        raise _UnusableError("it has no <link>; expected one with <inertial> and <collision>")
    poses = _link_poses(robot, links)
    notes: list[str] = []
    solid = _shape_of(robot, links, poses, file, notes)
    mass = _total_mass(links, poses)
    center, inertia = _mass_distribution(mass, solid, notes)
    friction, crush_force = _grasp_settings(robot, links, notes)
    return thing_from_solid(
        robot.get("name") or file.stem,
        solid,
        mass=mass.total or None,
        friction=friction,
        crush_force=crush_force,
        center_of_mass=center,
        inertia=inertia,
        color=_color(robot, links),
        notes=tuple(notes),
    )


def _shape_of(
    robot: ET.Element, links: dict[str, ET.Element], poses: dict[str, Array], file: Path, notes: list[str]
) -> Solid:
    """What is touched, from the <collision> elements, with the surface of the <visual> elements."""
    kind = "collision" if robot.find("link/collision") is not None else "visual"
    touched = _Geometry(kind, file, robot, touched=True)
    found = touched.solids(links, poses)
    notes += touched.notes
    if not found:
        raise _UnusableError("it has no <collision>; expected a shape which the fingers can touch")
    solid = shapes.combined(found)
    if kind == "visual":
        notes.append("it has no <collision>; its <visual> is what the fingers touch")
        return solid
    try:
        seen = _Geometry("visual", file, robot, touched=False).solids(links, poses)
    except (_UnusableError, UserError) as error:
        notes.append(f"its <visual> cannot be used ({error}); its <collision> is what is seen")
        return solid
    if not seen:
        return solid
    look = shapes.combined(seen)
    return Solid(solid.parts, look.vertices, look.faces, solid.moments)


def _parse(file: Path) -> ET.Element:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise _UnusableError(f"the file cannot be read ({error.strerror}); check the path") from error
    # A comment before the declaration is not well-formed XML, yet every URDF reader takes it.
    start = data.find(b"<?xml")
    if (
        start > 0
        and not re.sub(rb"<!--.*?-->", b"", data[:start], flags=re.DOTALL).removeprefix(b"\xef\xbb\xbf").strip()
    ):
        data = data[start:]
    builder = ET.TreeBuilder()
    # Without namespace processing, so that an undeclared prefix (`drake:`) is just a part of a name.
    parser = expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.EntityDeclHandler = _refuse_entity
    try:
        parser.Parse(data, True)
        robot = builder.close()
    except (expat.ExpatError, LookupError, ValueError, AssertionError) as error:
        if isinstance(error, _UnusableError):
            raise
        raise _UnusableError(f"it is not XML ({error}); expected a URDF file") from error
    if robot.tag != "robot":
        raise _UnusableError(f"its outermost element is <{robot.tag}>; expected <robot>, as in every URDF file")
    if any(element.tag.startswith("xacro:") for element in robot.iter()):
        raise _UnusableError("it is a xacro file; run it through xacro first")
    return robot


def _refuse_entity(*declaration: object) -> None:
    raise _UnusableError("it declares XML entities, which a URDF does not need; write them out")


def _link_poses(robot: ET.Element, links: dict[str, ET.Element]) -> dict[str, Array]:
    """Pose [4, 4] of each link in the frame of the one that hangs on no other."""
    above: dict[str, tuple[str, Array]] = {}
    for joint in robot.findall("joint"):
        name, kind = _name(joint, "joint"), joint.get("type")
        if kind != "fixed":
            raise _UnusableError(f"joint '{name}' is {kind or 'of no type'}; only rigid objects can be grasped")
        parent, child = (_link_of(joint, end, name) for end in ("parent", "child"))
        for end in (parent, child):
            if end not in links:
                raise _UnusableError(f"joint '{name}' names the link '{end}', which does not exist")
        if child in above:
            raise _UnusableError(f"link '{child}' hangs on two joints; expected a tree of links")
        above[child] = parent, _pose(joint.find("origin"), name)
    roots = [name for name in links if name not in above]
    if len(roots) != 1:
        raise _UnusableError(
            f"{len(roots)} of its links hang on no other; expected one, to which fixed joints tie all others"
        )
    poses = {}
    for name in links:
        pose, link, steps = np.eye(4), name, 0
        while link in above:
            link, step = above[link]
            pose, steps = step @ pose, steps + 1
            if steps > len(links):
                raise _UnusableError(f"link '{name}' hangs on itself; expected a tree of links")
        poses[name] = pose
    return poses


class _Geometry:
    """Reads the shapes of one kind, `collision` or `visual`; meshes in mm are told from the largest of them."""

    def __init__(self, kind: str, file: Path, robot: ET.Element, *, touched: bool) -> None:
        self._kind = kind
        self._file = file
        self._touched = touched
        self._meshes: dict[str, Solid] = {}
        self.notes: list[str] = []
        extents = [0.0]
        for element in robot.iterfind(f"link/{kind}/geometry/mesh"):
            mesh = self._mesh(element, f"a <{kind}>")
            extents.append(float(np.ptp(mesh.vertices, axis=0).max()))
        self._unit = 0.001 if max(extents) >= MILLIMETRES_FROM else 1.0
        if self._unit != 1.0:
            self.notes.append(in_millimetres(max(extents)))

    def solids(self, links: dict[str, ET.Element], poses: dict[str, Array]) -> list[Solid]:
        """All shapes in the frame of the root link."""
        found = []
        for name, link in links.items():
            for part in link.findall(self._kind):
                shape = self._shape(part, f"a <{self._kind}> of link '{name}'")
                found.append(shape.transformed(poses[name] @ _pose(part.find("origin"), name)))
        return found

    def _shape(self, part: ET.Element, what: str) -> Solid:
        geometry = part.find("geometry")
        element = geometry[0] if geometry is not None and len(geometry) else None
        kind = "nothing" if element is None else element.tag
        if element is None or kind not in ("box", "cylinder", "sphere", "capsule", "mesh"):
            raise _UnusableError(f"{what} is made of {kind}; expected <box>, <cylinder>, <sphere>, <capsule> or <mesh>")
        if kind == "mesh":
            return self._mesh(element, what).scaled(self._unit)
        what = f"the {kind} in {what}"
        if kind == "box":
            size = _numbers(element, "size", 3, what)
        else:
            size = _numbers(element, "radius", 1, what)
            if kind != "sphere":
                size += _numbers(element, "length", 1, what)
        if min(size) <= 0.0:
            raise _UnusableError(f"{what} has a size of {min(size):g} m; expected more than 0")
        if kind == "box":
            return shapes.box(size)
        if kind == "sphere":
            return shapes.sphere(size[0])
        return shapes.cylinder(*size) if kind == "cylinder" else shapes.capsule(*size)

    def _mesh(self, element: ET.Element, what: str) -> Solid:
        name = element.get("filename")
        if not name:
            raise _UnusableError(f"the mesh in {what} has no 'filename'")
        if name not in self._meshes:
            self._meshes[name] = (read_mesh if self._touched else read_surface)(_find(name, self._file))
        scale = _numbers(element, "scale", 3, f"the mesh in {what}") if "scale" in element.attrib else (1.0, 1.0, 1.0)
        if 0.0 in scale:
            raise _UnusableError(f"the mesh in {what} has a scale of 0; expected three numbers other than 0")
        return self._meshes[name].transformed(np.diag([*scale, 1.0]))


def _find(name: str, file: Path) -> Path:
    """The mesh that a URDF names: relative to it, in a ROS package, or with file://."""
    kind, separator, rest = name.partition("://")
    if not separator:
        places = [file.parent / name]
    elif kind == "file":
        places = [Path(rest)]
    elif kind in ("package", "model"):
        package, _, inner = rest.partition("/")
        prefixes = [
            Path(prefix, "share") for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
        ]
        prefixes += [Path(folder) for folder in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if folder]
        above = [folder for folder in file.absolute().parents if folder != Path(folder.anchor)]
        places = [folder / inner for folder in above if folder.name == package]
        places += [folder / package / inner for folder in (*above, *prefixes)]
        places += [folder / inner for folder in above]  # a package's folder that was renamed
    else:
        raise _UnusableError(f"its mesh '{name}' cannot be fetched; expected a path, package:// or file://")
    for place in places:
        if place.is_file():
            return place
    where = f"beside it ({places[0]})" if not separator else "beside it, above it or in the ROS packages sourced"
    raise _UnusableError(f"its mesh '{name}' was not found {where}; check the name or copy the mesh there")


def _total_mass(links: dict[str, ET.Element], poses: dict[str, Array]) -> _Mass:
    found = _Mass()
    for name, link in links.items():
        inertial = link.find("inertial")
        if inertial is None:
            continue
        mass = _numbers(inertial.find("mass"), "value", 1, f"the mass of link '{name}'")[0]
        if mass < 0.0:
            raise _UnusableError(f"the mass of link '{name}' is {mass:g} kg; expected more than 0")
        if mass == 0.0:
            continue
        origin = inertial.find("origin")
        pose = poses[name] @ _pose(origin, name)
        place = pose[:3, 3]
        found.total += mass
        found.moment += mass * place
        found.has_place |= origin is not None
        tensor = inertial.find("inertia")
        if tensor is None:
            found.has_inertia = False
            continue
        xx, xy, xz, yy, yz, zz = (
            _numbers(tensor, key, 1, f"the inertia of link '{name}'")[0] if key in tensor.attrib else 0.0
            for key in ("ixx", "ixy", "ixz", "iyy", "iyz", "izz")
        )
        own = pose[:3, :3] @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ pose[:3, :3].T
        found.about_origin += own + mass * (place @ place * np.eye(3) - np.outer(place, place))
    return found


def _mass_distribution(mass: _Mass, solid: Solid, notes: list[str]) -> tuple[Array | None, Array | None]:
    """Centre of mass [3] and inertia about it [3, 3] as the file has them; None for what the volume tells better."""
    if mass.total == 0.0 or not (mass.has_place or mass.has_inertia):
        return None, None
    low, high = solid.bounds()
    center = mass.moment / mass.total
    if ((center < low - OUTSIDE) | (center > high + OUTSIDE)).any():
        notes.append("the centre of mass of the file lies outside the object; it was computed from the volume")
        return None, None
    if not mass.has_inertia:
        return center, None
    inertia = mass.about_origin - mass.total * (center @ center * np.eye(3) - np.outer(center, center))
    moments = np.linalg.eigvalsh(inertia)
    expected = np.linalg.eigvalsh(solid.moments.inertia(mass.total))
    near = (moments > expected / INERTIA_FACTOR) & (moments < expected * INERTIA_FACTOR)
    if not near.all() or moments[2] > 1.01 * (moments[0] + moments[1]):
        notes.append("the inertia of the file is implausible; it was computed from the volume")
        return center, None
    return center, inertia


def _grasp_settings(
    robot: ET.Element, links: dict[str, ET.Element], notes: list[str]
) -> tuple[float | None, float | None]:
    """Friction and crush force (N), None for what is not given."""
    known: dict[str, float] = {}
    lateral = {
        name: _numbers(element, "value", 1, f"the <lateral_friction> of link '{name}'")[0]
        for name, link in links.items()
        for element in link.iterfind("contact/lateral_friction")
    }
    if lateral:
        known["friction"] = min(lateral.values())
        if len(set(lateral.values())) > 1:
            notes.append(f"its links differ in friction; the lowest, {known['friction']:g}, holds for all")
    element = robot.find("mql_ros")
    for key in element.attrib if element is not None else ():
        if key not in _SETTINGS:
            near = difflib.get_close_matches(key, _SETTINGS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(_SETTINGS)}"
            raise _UnusableError(f"<mql_ros> has the unknown attribute '{key}'; {hint}")
        known[key] = _numbers(element, key, 1, "<mql_ros>")[0]
    for key, value in known.items():
        if value <= 0.0:
            raise _UnusableError(f"its {key} is {value:g}; expected more than 0")
    return known.get("friction"), known.get("crush_force")


def _color(robot: ET.Element, links: dict[str, ET.Element]) -> Color:
    """Color of the first <visual> that has one."""
    named = {material.get("name"): material.find("color") for material in robot.findall("material")}
    for link in links.values():
        for material in link.iterfind("visual/material"):
            color = material.find("color")
            color = named.get(material.get("name")) if color is None else color
            if color is not None:
                red, green, blue, alpha = _numbers(color, "rgba", 4, "a color")
                return red, green, blue, alpha
    return GREY


def _name(element: ET.Element, what: str) -> str:
    name = element.get("name")
    if not name:
        raise _UnusableError(f"a <{what}> has no name; URDF wants one for each")
    return name


def _link_of(joint: ET.Element, end: str, name: str) -> str:
    element = joint.find(end)
    link = element.get("link") if element is not None else None
    if not link:
        raise _UnusableError(f"joint '{name}' has no <{end} link=...>")
    return link


def _pose(origin: ET.Element | None, owner: str) -> Array:
    pose = np.eye(4)
    if origin is not None:
        what = f"the origin in '{owner}'"
        pose[:3, 3] = _numbers(origin, "xyz", 3, what) if "xyz" in origin.attrib else 0.0
        if "rpy" in origin.attrib:
            pose[:3, :3] = euler2mat(*_numbers(origin, "rpy", 3, what))
    return pose


def _numbers(element: ET.Element | None, key: str, count: int, what: str) -> tuple[float, ...]:
    text = element.get(key) if element is not None else None
    if text is None:
        raise _UnusableError(f"{what} has no '{key}'")
    try:
        values = tuple(float(word) for word in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        hint = "; run the file through xacro first" if "${" in text else ""
        expected = "a finite number" if count == 1 else f"{count} finite numbers"
        raise _UnusableError(f"'{key}' of {what} is '{text}'; expected {expected}{hint}")
    return values
