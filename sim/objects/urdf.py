"""Objects of one's own: a URDF file becomes an `ObjectSpec`, or an error of one sentence.

Besides standard URDF, the robot element may hold what URDF has no words for:

    <mql_ros crush_force="20" friction="0.5" grasp_x="0.0" grasp_z="0.12" grasp_force="9"/>

(N, Coulomb coefficient, m in the object frame, N; each may be left out). Neither policy nor nodes see any of it: the
simulator needs friction and the force that crushes, and the scripted check needs to know where to grasp.
"""

from __future__ import annotations

import difflib
import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from transforms3d.euler import euler2mat, mat2euler

from mql_ros.core.errors import UserError
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array
from mql_sim.objects.spec import ObjectSpec, Shape, slip_force

LIGHTEST, HEAVIEST = 0.02, 1.5
"""Mass that the gripper can feel and the arm can lift, kg."""
TALLEST = 0.32
"""The hand waits just above this, m."""
WIDEST = 0.075
"""What still fits between the open fingers, with a little room on both sides, m."""
DEFAULT_FRICTION = 0.6
UNCRUSHABLE = 1000.0
"""Force that crushes an object which does not give way, N: far beyond any gripper."""
FINGER_HALF_WIDTH = 0.011
"""Half the width of a finger across its closing direction, m."""
PAD_HEIGHT = 0.02
"""What is less high than a finger pad is held badly, and only where there is nothing else, m."""
FINGER_BELOW = 0.010
"""How far a finger reaches below the point where it grasps, m."""

_GRASP_KEYS = ("crush_force", "friction", "grasp_x", "grasp_z", "grasp_force")


@dataclass(frozen=True)
class _Body:
    """What the links of an object amount to, in the frame of its root link."""

    shapes: tuple[Shape, ...]
    mass: float
    center_of_mass: Array


def read_object(path: str | Path) -> ObjectSpec:
    """Read a URDF file with one rigid object made of boxes, cylinders and spheres.

    The object is moved so that it stands on the table with the middle of its base at the origin; z stays up. Raises
    UserError for what cannot be read or cannot be grasped.
    """
    file = Path(path)
    try:
        return _read(file)
    except _UnusableError as error:
        raise UserError(f"object {file}: {error}") from error


class _UnusableError(ValueError):
    """The part of the sentence after the file's name."""


def _read(file: Path) -> ObjectSpec:
    robot = _parse(file)
    body = _stand_on_table(_rigid_body(robot))
    height = max(shape.position[2] + shape.half_extents()[2] for shape in body.shapes)
    if height > TALLEST:
        raise _UnusableError(f"it is {height:.3f} m tall; at most {TALLEST} m fit under the waiting hand")
    if not LIGHTEST <= body.mass <= HEAVIEST:
        raise _UnusableError(f"its mass is {body.mass:g} kg; expected {LIGHTEST} to {HEAVIEST} kg")
    known = _grasp_settings(robot)
    place, category = _guess_grasp(body)
    friction = known.get("friction", DEFAULT_FRICTION)
    crush_force = known.get("crush_force", UNCRUSHABLE)
    slip = slip_force(body.mass, friction) * (1.5 if category == "handle" else 1.15)
    if slip >= min(crush_force, spaces.FORCE_HIGH):
        limit = "crush_force" if crush_force < spaces.FORCE_HIGH else "the gripper has"
        raise _UnusableError(
            f"lifting {body.mass:g} kg at friction {friction:g} takes a finger force of {slip:.1f} N, more than "
            f"{limit} ({min(crush_force, spaces.FORCE_HIGH):g} N); make it lighter, rougher or stronger"
        )
    return ObjectSpec(
        name=robot.get("name") or file.stem,
        category=category,
        shapes=body.shapes,
        mass=body.mass,
        center_of_mass=_triple(body.center_of_mass),
        friction=friction,
        crush_force=crush_force,
        grasp_x=known.get("grasp_x", place[0]),
        grasp_z=known.get("grasp_z", place[1]),
        # The middle, on a logarithmic scale, of what holds and does not crush.
        grasp_force=known.get("grasp_force", math.sqrt(slip * min(crush_force, 4 * slip, spaces.FORCE_HIGH))),
    )


def _parse(file: Path) -> ET.Element:
    try:
        robot = ET.fromstring(file.read_bytes())
    except OSError as error:
        raise _UnusableError(f"the file cannot be read ({error.strerror}); check the path") from error
    except (ET.ParseError, LookupError, ValueError) as error:
        raise _UnusableError(f"it is not XML ({error}); expected a URDF file") from error
    if robot.tag != "robot":
        raise _UnusableError(f"its outermost element is <{robot.tag}>; expected <robot>, as in every URDF file")
    return robot


def _rigid_body(robot: ET.Element) -> _Body:
    """All links in the frame of the root link."""
    links = {_name(link, "link"): link for link in robot.findall("link")}
    if not links:
        raise _UnusableError("it has no <link>; expected one with <inertial> and <collision>")
    poses = _link_poses(robot, links)
    shapes: list[Shape] = []
    mass, moment = 0.0, np.zeros(3)
    colors = _named_colors(robot)
    for name, link in links.items():
        inertial = link.find("inertial")
        if inertial is not None:
            weight = _number(inertial.find("mass"), "value", f"mass of link '{name}'")
            mass += weight
            moment += weight * (poses[name] @ _pose(inertial.find("origin"), name))[:3, 3]
        looks = link.findall("visual")
        parts = link.findall("collision")
        for number, part in enumerate(parts):
            look = looks[number if len(looks) == len(parts) else 0] if looks else None
            shapes.append(_shape(part, poses[name], name, _color(look, colors)))
    if mass == 0.0:
        raise _UnusableError("it has no mass; give a link <inertial><mass value=.../></inertial>, in kg")
    if not shapes:
        raise _UnusableError("it has no <collision>; expected boxes, cylinders or spheres, which the fingers can touch")
    return _Body(tuple(shapes), mass, moment / mass)


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
        pose, link, seen = np.eye(4), name, 0
        while link in above:
            link, step = above[link]
            pose, seen = step @ pose, seen + 1
            if seen > len(links):
                raise _UnusableError(f"link '{name}' hangs on itself; expected a tree of links")
        poses[name] = pose
    return poses


def _shape(part: ET.Element, link_pose: Array, link: str, color: tuple[float, float, float, float]) -> Shape:
    geometry = part.find("geometry")
    kind = geometry[0].tag if geometry is not None and len(geometry) else "nothing"
    pose = link_pose @ _pose(part.find("origin"), link)
    position, rpy = _triple(pose[:3, 3]), _rpy(pose[:3, :3])
    if geometry is None or kind not in ("box", "cylinder", "sphere"):
        hint = " (meshes are not supported: describe it by a few of these)" if kind == "mesh" else ""
        raise _UnusableError(
            f"a <collision> of link '{link}' is made of {kind}; expected <box>, <cylinder> or <sphere>{hint}"
        )
    if kind == "box":
        size = _numbers(geometry[0], "size", 3, f"a box of link '{link}'")
    elif kind == "cylinder":
        what = f"a cylinder of link '{link}'"
        size = (_number(geometry[0], "radius", what), _number(geometry[0], "length", what))
    else:
        size, rpy = (_number(geometry[0], "radius", f"a sphere of link '{link}'"),), (0.0, 0.0, 0.0)
    if min(size) <= 0.0:
        raise _UnusableError(f"a {kind} of link '{link}' has a size of {min(size):g} m; expected more than 0")
    return Shape(kind, size, position, color, rpy)


def _stand_on_table(body: _Body) -> _Body:
    """The same body with its lowest point at z = 0 and the middle of what touches the table at x = y = 0."""
    boxes = np.array([(shape.position, shape.half_extents()) for shape in body.shapes])
    low, high = boxes[:, 0] - boxes[:, 1], boxes[:, 0] + boxes[:, 1]
    bottom = low[:, 2].min()
    base = low[:, 2] < bottom + 0.005
    shift = np.append((low[base, :2].min(axis=0) + high[base, :2].max(axis=0)) / 2, bottom)
    # Where the file has it right, to a hair, its numbers stay as they are.
    shift[np.abs(shift) < 1e-9] = 0.0
    shapes = tuple(replace(shape, position=_triple(np.array(shape.position) - shift)) for shape in body.shapes)
    return _Body(shapes, body.mass, body.center_of_mass - shift)


def _guess_grasp(body: _Body) -> tuple[tuple[float, float], str]:
    """A place (x, z) to grasp, and the category: at the narrowest shape that the open fingers can get around."""
    widths = [abs(s.position[1]) + s.half_extents()[1] for s in body.shapes]
    narrow = [shape for shape, half in zip(body.shapes, widths, strict=True) if 2 * half <= WIDEST]
    if not narrow:
        raise _UnusableError(
            f"nothing of it fits between the fingers: along y its narrowest part needs {2 * min(widths):.3f} m around "
            f"the middle, and the gripper takes {WIDEST} m; turn or scale the object"
        )
    wide = [shape for shape in body.shapes if shape not in narrow]
    places = [(shape, *_place_on(shape)) for shape in narrow]
    reachable = [
        (any(_blocks(other, x, z) for other in wide), 2 * half[2] < PAD_HEIGHT, half[1], -z, x)
        for shape, x, z in places
        for half in [shape.half_extents()]
        if abs(x - spaces.X_MIDDLE) <= spaces.X_RANGE and abs(z - spaces.Z_MIDDLE) <= spaces.Z_RANGE
    ]
    if not reachable:
        low, high = spaces.X_MIDDLE - spaces.X_RANGE, spaces.X_MIDDLE + spaces.X_RANGE
        bottom, top = spaces.Z_MIDDLE - spaces.Z_RANGE, spaces.Z_MIDDLE + spaces.Z_RANGE
        raise _UnusableError(
            f"its narrow parts are out of reach; from the middle of its base, the fingers get to x from {low:.2f} to "
            f"{high:.2f} m and to z from {bottom:.3f} to {top:.3f} m"
        )
    *_, minus_z, x = min(reachable)
    if not wide:
        category = "narrow"
    elif any(other.position[2] + other.half_extents()[2] > -minus_z for other in wide):
        category = "handle"
    else:
        category = "top"
    return (x, -minus_z), category


def _place_on(shape: Shape) -> tuple[float, float]:
    """Where to grasp a shape: in its middle, but not so deep below its top that the palm would touch it."""
    half = shape.half_extents()[2]
    return shape.position[0], max(shape.position[2], shape.position[2] + half - 0.03)


def _blocks(other: Shape, x: float, z: float) -> bool:
    """Whether a shape too wide for the fingers is in their way down to (x, z)."""
    extents = other.half_extents()
    beside = abs(other.position[0] - x) < extents[0] + FINGER_HALF_WIDTH
    return beside and other.position[2] + extents[2] > z - FINGER_BELOW


def _grasp_settings(robot: ET.Element) -> dict[str, float]:
    element = robot.find("mql_ros")
    if element is None:
        return {}
    for key in element.attrib:
        if key not in _GRASP_KEYS:
            near = difflib.get_close_matches(key, _GRASP_KEYS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(_GRASP_KEYS)}"
            raise _UnusableError(f"<mql_ros> has the unknown attribute '{key}'; {hint}")
    settings = {key: _number(element, key, "<mql_ros>") for key in element.attrib}
    for key in ("crush_force", "friction", "grasp_force"):
        if settings.get(key, 1.0) <= 0.0:
            raise _UnusableError(f"{key} in <mql_ros> is {settings[key]:g}; expected more than 0")
    return settings


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


def _rpy(turn: Array) -> tuple[float, float, float]:
    """Fixed-axis roll, pitch, yaw of a rotation matrix, exactly zero for no turn."""
    if np.abs(turn - np.eye(3)).max() < 1e-12:
        return 0.0, 0.0, 0.0
    level = math.hypot(turn[0, 0], turn[1, 0])
    if level < 1e-9:  # pitched straight up or down; mat2euler would take roll and yaw from rounding errors there
        return math.atan2(-turn[1, 2], turn[1, 1]), math.atan2(-turn[2, 0], level), 0.0
    roll, pitch, yaw = mat2euler(turn)
    return roll, pitch, yaw


def _named_colors(robot: ET.Element) -> dict[str, ET.Element]:
    """Colors of the materials that are defined once for the whole file."""
    colors = ((material.get("name", ""), material.find("color")) for material in robot.findall("material"))
    return {name: color for name, color in colors if color is not None}


def _color(visual: ET.Element | None, named: dict[str, ET.Element]) -> tuple[float, float, float, float]:
    material = visual.find("material") if visual is not None else None
    if material is None:
        return 0.7, 0.7, 0.7, 1.0
    color = material.find("color")
    if color is None:
        color = named.get(material.get("name", ""))
    if color is None:
        return 0.7, 0.7, 0.7, 1.0
    red, green, blue, alpha = _numbers(color, "rgba", 4, "a color")
    return red, green, blue, alpha


def _number(element: ET.Element | None, key: str, what: str) -> float:
    return _numbers(element, key, 1, what)[0]


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


def _triple(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
