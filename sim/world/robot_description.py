"""The URDF of an arm with its gripper, for PyBullet, RViz and robot_state_publisher."""

from __future__ import annotations

import difflib
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
from transforms3d.axangles import axangle2mat
from transforms3d.euler import euler2mat

from mql_ros.core.errors import UserError
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import Array
from mql_sim.world.bullet import pybullet_data

SAME_PLACE = 1e-3
"""Largest difference between profile and URDF in the tool's position, m, and in entries of its rotation matrix."""

_NO_MASS = '<inertial><mass value="0"/><inertia ixx="0" ixy="0" ixz="0" iyy="0" iyz="0" izz="0"/></inertial>'


def describe(profile: RobotProfile) -> str:
    """Return the URDF text of the arm with its gripper, with mesh files by absolute `file://` names.

    Raises:
        UserError: a file cannot be used, the gripper does not fit the arm, or the profile's joints or tool frame differ
            from the URDF's.
    """
    robot = _read(profile, profile.urdf)
    if profile.gripper_urdf is not None:
        _add_gripper(profile, robot)
    _compare(profile, robot)
    for link in robot.findall("link"):
        if link.find("inertial") is None:  # a mere frame, which PyBullet would take for 1 kg
            link.append(ET.fromstring(_NO_MASS))
    return ET.tostring(robot, encoding="unicode")


def _read(profile: RobotProfile, name: str) -> ET.Element:
    path = Path(pybullet_data.getDataPath(), name)  # an absolute name stays as it is
    try:
        robot = ET.fromstring(path.read_bytes())
    except OSError as error:
        places = "beside the profile, in config/robots and in pybullet_data"
        raise _unusable(profile, f"URDF '{name}' cannot be read ({error.strerror}); looked for {places}") from error
    except (ET.ParseError, LookupError, ValueError) as error:
        raise _unusable(profile, f"URDF '{name}' is not XML ({error})") from error
    if robot.tag != "robot":
        raise _unusable(profile, f"the outermost element of URDF '{name}' is <{robot.tag}>; expected <robot>")
    for element in robot.iter():
        file = element.get("filename")
        if element.tag in ("mesh", "texture") and file is not None:
            element.set("filename", _absolute(path.parent, file))
    return robot


def _absolute(folder: Path, file: str) -> str:
    """Return the absolute name of a mesh file that lies relative to its URDF; other names stay as they are."""
    path = folder / file.removeprefix("package://")
    return f"file://{path.resolve()}" if path.is_file() else file


def _add_gripper(profile: RobotProfile, robot: ET.Element) -> None:
    """Fix the gripper's root link to the link of the arm that carries it."""
    mount, gripper = profile.gripper_mount, _read(profile, str(profile.gripper_urdf))
    assert mount is not None, "a profile with a gripper's URDF has its mount"
    for kind in ("link", "joint", "material"):
        twice = set(_named(robot, kind)) & set(_named(gripper, kind))
        if twice:
            raise _unusable(profile, f"arm and gripper both have a {kind} '{min(twice)}'; rename that of the gripper")
    links = _named(gripper, "link")
    roots = [link for link in links if link not in _joint_above(gripper)]
    if len(roots) != 1:
        raise _unusable(profile, f"the gripper's URDF has {len(roots)} root links; expected one")
    _known(profile, "gripper.mount.link", mount.link, _named(robot, "link"))
    joint = ET.SubElement(robot, "joint", name="gripper_mount", type="fixed")
    ET.SubElement(joint, "parent", link=mount.link)
    ET.SubElement(joint, "child", link=roots[0])
    ET.SubElement(joint, "origin", xyz=_text(mount.xyz), rpy=_text(mount.rpy))
    robot.extend(gripper)


def _compare(profile: RobotProfile, robot: ET.Element) -> None:
    """Raise UserError if the URDF has other joints than the profile, or another tool pose."""
    links, joints = _named(robot, "link"), _named(robot, "joint")
    for key, link in (("base_frame", profile.base_frame), ("tool_frame", profile.tool_frame)):
        _known(profile, key, link, links)
    for key, names, wanted in (
        ("joints", profile.joint_names, ("revolute", "continuous")),
        ("gripper.joints", profile.finger_names, ("prismatic",)),
    ):
        for name in names:
            _known(profile, key, name, joints)
            if joints[name].get("type") not in wanted:
                kind = joints[name].get("type")
                raise _unusable(profile, f"joint '{name}' of '{key}' is {kind} in the URDF; expected {wanted[0]}")
    # Away from home, too, where each joint's axis makes a difference.
    for step in (0.0, 0.3):
        positions = profile.home_guess + step * np.arange(1, len(profile.joint_names) + 1)
        expected = np.eye(4)
        expected[:3, 3], expected[:3, :3] = profile.chain.forward(positions)
        found = _tool_pose(profile, robot, dict(zip(profile.joint_names, positions, strict=True)))
        if np.abs(found - expected).max() > SAME_PLACE:
            raise _unusable(
                profile,
                f"at the joint positions {_text(positions)} the URDF puts frame '{profile.tool_frame}' at "
                f"{_text(found[:3, 3])} and the profile at {_text(expected[:3, 3])}, or turned; "
                "correct xyz and rpy of 'joints' and 'tool'",
            )


def _tool_pose(profile: RobotProfile, robot: ET.Element, positions: dict[str, float]) -> Array:
    """Return the URDF's pose of the tool frame in the base frame [4, 4] at joint positions by name, rad."""
    above, pose, link = _joint_above(robot), np.eye(4), profile.tool_frame
    while link != profile.base_frame:
        joint = above.pop(link, None)  # taken out, so that links in a ring come to an end
        parent = None if joint is None else joint.find("parent")
        if joint is None or parent is None:
            raise _unusable(profile, f"'{profile.tool_frame}' does not hang on '{profile.base_frame}' in the URDF")
        name, origin, step = joint.get("name", ""), joint.find("origin"), np.eye(4)
        try:
            axis = _numbers(joint.find("axis"), "xyz", "1 0 0")
            step[:3, 3] = _numbers(origin, "xyz", "0 0 0")
            turn = euler2mat(*_numbers(origin, "rpy", "0 0 0"))
        except (TypeError, ValueError) as error:
            raise _unusable(profile, f"joint '{name}' of the URDF has an origin or axis without 3 numbers") from error
        axis = axis / max(float(np.linalg.norm(axis)), 1e-9)
        step[:3, :3] = turn @ axangle2mat(axis, positions.get(name, 0.0), is_normalized=True)
        pose, link = step @ pose, parent.get("link", "")
    return pose


def _named(robot: ET.Element, kind: str) -> dict[str, ET.Element]:
    return {element.get("name", ""): element for element in robot.findall(kind)}


def _joint_above(robot: ET.Element) -> dict[str, ET.Element]:
    """Return the parent joint of each link but the root."""
    joints = ((joint.find("child"), joint) for joint in robot.findall("joint"))
    return {child.get("link", ""): joint for child, joint in joints if child is not None}


def _known(profile: RobotProfile, key: str, name: str, known: dict[str, ET.Element]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(known)}"
        raise _unusable(profile, f"'{key}' names '{name}', which the URDF does not have; {hint}")


def _numbers(element: ET.Element | None, key: str, default: str) -> Array:
    text = default if element is None else element.get(key, default)
    return np.array([float(number) for number in text.split()]).reshape(3)


def _text(numbers: Array) -> str:
    return " ".join(f"{number:.6g}" for number in numbers)


def _unusable(profile: RobotProfile, reason: str) -> UserError:
    return UserError(f"robot profile '{profile.name}': {reason}")
