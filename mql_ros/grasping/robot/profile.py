"""Robot profile: everything that the task must know about an arm, read from `config/robots/*.yaml`."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from mql_ros.core.errors import UserError
from mql_ros.grasping.motion.kinematics import Chain, tool_down
from mql_ros.grasping.robot.profile_file import find_profile, read_profile
from mql_ros.grasping.types import Array

_KEYS = {
    "name", "urdf", "base_frame", "tool_frame", "control_mode", "topics", "joints", "tool", "gripper", "home",
    "home_tool", "workspace", "clearance", "control_period", "guard_force", "policies_from", "based_on",
}  # fmt: skip
_POSE_KEYS = {"xyz", "rpy"}
_JOINT_KEYS = {"name", "lower", "upper", "velocity", "acceleration", "jerk"} | _POSE_KEYS
CONTROL_MODES = ("joint_trajectory",)
"""How the arm takes commands; trajectories that end at rest are the one way in which silence means hold."""
GRIPPER_COMMANDS = ("joint_trajectory", "position_trajectory", "width_force")
"""A trajectory of the finger joints, with the force limit as effort or without; or a Float64MultiArray [opening in m,
force in N]."""


@dataclass(frozen=True)
class Topics:
    """Names of the driver's topics, relative to the namespace of the nodes."""

    joint_states: str = "joint_states"
    object_pose: str = "object_pose"
    wrench: str = "wrench"
    arm_command: str = "arm_controller/joint_trajectory"
    gripper_command: str = "gripper_controller/joint_trajectory"


@dataclass(frozen=True)
class Clearance:
    """The arm as capsules between its joints, and how far they must stay from each other and from the table, m."""

    link_radius: float
    between_links: float
    table: float
    """Above z = 0 of the base frame; links from the third joint on, but not the hand, whose tool has its own box."""


@dataclass(frozen=True)
class Mount:
    """Where a gripper with a URDF of its own sits on the arm."""

    link: str
    """Link of the arm's URDF that carries it."""
    xyz: Array
    """Origin of the gripper's root link in that link's frame [3], m."""
    rpy: Array
    """Its fixed-axis roll, pitch, yaw [3], rad."""


@dataclass(frozen=True)
class RobotProfile:
    """One arm with a parallel gripper."""

    name: str
    urdf: str
    """Robot description for the simulator: a file beside the one that names it or in config/robots, else one of
    pybullet_data."""
    gripper_urdf: str | None
    """That of the gripper, searched for in the same places; None where the arm's has it."""
    gripper_mount: Mount | None
    """None where the arm's URDF has the gripper."""
    base_frame: str
    tool_frame: str
    joint_names: tuple[str, ...]
    finger_names: tuple[str, ...]
    lower: Array
    """Lower joint limits [n], rad."""
    upper: Array
    """Upper joint limits [n], rad."""
    velocity: Array
    """Joint speed limits [n], rad/s."""
    acceleration: Array
    """Joint acceleration limits [n], rad/s^2."""
    jerk: Array
    """Joint jerk limits [n], rad/s^3."""
    chain: Chain
    max_width: float
    """Widest opening of the gripper, m."""
    max_force: float
    """Largest force of one finger, N."""
    finger_speed: float
    """Largest speed of one finger, m/s."""
    home_guess: Array
    home_position: Array
    """Tool position between trials [3], m, base frame."""
    workspace_lower: Array
    """Lower corner of the box that the tool may be in [3], m, base frame."""
    workspace_upper: Array
    control_period: float
    """Time between two checks of a running motion, s."""
    guard_force: float
    """Force on the tool that stops a descent, N."""
    clearance: Clearance
    topics: Topics
    gripper_command: str
    """One of GRIPPER_COMMANDS."""
    control_mode: str
    """One of CONTROL_MODES."""
    policies_from: tuple[str, ...]
    """Other robots whose policies may act on this arm: they act on the tool, in the object's frame."""
    scale: float = 1.0
    """Part of the arm's own speed limits that is used, see `slowed`."""
    sha256: str = ""
    """Of the file that it was read from, and of those that this is based on."""

    @property
    def finger_seconds(self) -> float:
        """Time in which the fingers cross their whole opening at their largest speed, s."""
        return self.max_width / len(self.finger_names) / self.finger_speed

    @cached_property
    def home(self) -> Array:
        """Joint positions [n] in which the arm waits between trials, rad."""
        joints, error = self.chain.inverse(self.home_position, tool_down(0.0), self.home_guess, iterations=200)
        if error > 1e-3:
            raise UserError(
                f"robot profile '{self.name}': home_tool cannot be reached from home ({error * 1000:.1f} mm are left); "
                "choose a home near it"
            )
        return joints

    def slowed(self, scale: float, force: float) -> RobotProfile:
        """The same arm with `scale` (in (0, 1]) times its speed limits and at most `force` (N) a finger."""
        if not 0.0 < scale <= 1.0 or force <= 0.0:
            raise ValueError(f"a scale of {scale} or a force of {force} N is no tighter limit; expected (0, 1] and > 0")
        return replace(self.paced(scale), max_force=min(self.max_force, force))

    def paced(self, factor: float) -> RobotProfile:
        """The same arm where time passes so many times as fast: its limits of speed, acceleration and jerk [n]."""
        return replace(
            self,
            scale=self.scale * factor,
            velocity=self.velocity * factor,
            acceleration=self.acceleration * factor**2,
            jerk=self.jerk * factor**3,
            finger_speed=self.finger_speed * factor,
        )


def load_profile(name: str) -> RobotProfile:
    """Read a profile by name (`panda`) or path (`my_arm.yaml`); UserError names the key that is wrong."""
    path = find_profile(name)
    data, sha256 = read_profile(path)
    try:
        return replace(_profile(data), sha256=sha256)
    except _WrongValueError as error:
        raise UserError(f"robot profile {path.name}: {error}; compare config/robots/panda.yaml") from error


class _WrongValueError(ValueError):
    """Says which key of a profile is wrong, and what was expected."""


def _profile(data: dict) -> RobotProfile:
    check_keys("robot profile", data, _KEYS)
    joints = _get(data, "joints")
    if not isinstance(joints, list) or not joints or not all(isinstance(joint, dict) for joint in joints):
        raise _WrongValueError("'joints' is not a list of joints such as {name: joint1, xyz: [0, 0, 0], ...}")
    for joint in joints:
        check_keys("joint in robot profile", joint, _JOINT_KEYS)
    gripper = _section(data, "gripper", {"joints", "max_width", "max_force", "max_speed", "command", "urdf", "mount"})
    tool = _section(data, "tool", _POSE_KEYS)
    clearance = _section(data, "clearance", {f.name for f in fields(Clearance)})
    topics = _section(data, "topics", {f.name for f in fields(Topics)}) if "topics" in data else {}
    home_tool = _section(data, "home_tool", {"xyz"})
    workspace = _section(data, "workspace", {"lower", "upper"})
    lower = np.array([_number(j, "lower", f"joints[{i}].lower") for i, j in enumerate(joints)])
    upper = np.array([_number(j, "upper", f"joints[{i}].upper") for i, j in enumerate(joints)])
    for i in np.flatnonzero(lower >= upper):
        raise _WrongValueError(f"'joints[{i}].lower' is not below 'joints[{i}].upper'")
    box = _numbers(workspace, "lower", 3, "workspace.lower"), _numbers(workspace, "upper", 3, "workspace.upper")
    if not (box[0] < box[1]).all():
        raise _WrongValueError("'workspace.lower' is not below 'workspace.upper'")
    origins = [_origin(joint, f"joints[{i}]") for i, joint in enumerate(joints)]
    fingers = _names(gripper, "joints", "gripper.joints")
    if len(fingers) != 2:
        raise _WrongValueError("'gripper.joints' is not a list of two joint names")
    return RobotProfile(
        name=_text(data, "name"),
        urdf=_text(data, "urdf"),
        gripper_urdf=_text(gripper, "urdf", "gripper.urdf") if "urdf" in gripper else None,
        gripper_mount=_mount(gripper),
        base_frame=_text(data, "base_frame"),
        tool_frame=_text(data, "tool_frame"),
        joint_names=tuple(_text(j, "name", f"joints[{i}].name") for i, j in enumerate(joints)),
        finger_names=tuple(fingers),
        lower=lower,
        upper=upper,
        velocity=_limits(joints, "velocity"),
        acceleration=_limits(joints, "acceleration"),
        jerk=_limits(joints, "jerk"),
        chain=Chain.from_origins(origins, _origin(tool, "tool"), lower, upper),
        max_width=_positive(gripper, "max_width", "gripper.max_width"),
        max_force=_positive(gripper, "max_force", "gripper.max_force"),
        finger_speed=_positive(gripper, "max_speed", "gripper.max_speed"),
        home_guess=_numbers(data, "home", len(joints)),
        home_position=_numbers(home_tool, "xyz", 3, "home_tool.xyz"),
        workspace_lower=box[0],
        workspace_upper=box[1],
        control_period=_positive(data, "control_period"),
        guard_force=_positive(data, "guard_force"),
        clearance=Clearance(**{f.name: _distance(clearance, f.name, "clearance") for f in fields(Clearance)}),
        topics=Topics(**{name: _text(topics, name, f"topics.{name}") for name in topics}),
        gripper_command=_choice(gripper, "command", GRIPPER_COMMANDS, "gripper.command"),
        control_mode=_choice(data, "control_mode", CONTROL_MODES),
        policies_from=tuple(_names(data, "policies_from")) if "policies_from" in data else (),
    )


def _mount(gripper: dict) -> Mount | None:
    if "urdf" not in gripper:
        if "mount" in gripper:
            raise _WrongValueError("'gripper.mount' says where a gripper sits, but 'gripper.urdf' is missing")
        return None
    mount = _section(gripper, "mount", {"link"} | _POSE_KEYS, "gripper.mount")
    pose = {key: np.zeros(3) for key in _POSE_KEYS} | _origin(mount, "gripper.mount")
    return Mount(_text(mount, "link", "gripper.mount.link"), pose["xyz"], pose["rpy"])


def _limits(joints: list[dict], key: str) -> Array:
    return np.array([_positive(joint, key, f"joints[{i}].{key}") for i, joint in enumerate(joints)])


def _choice(data: dict, key: str, choices: tuple[str, ...], label: str = "") -> str:
    value = _text(data, key, label)
    if value not in choices:
        raise _WrongValueError(f"'{label or key}' is '{value}'; expected {' or '.join(choices)}")
    return value


def _get(data: dict, key: str, label: str = "") -> Any:
    if key not in data:
        raise _WrongValueError(f"the key '{label or key}' is missing")
    return data[key]


def _section(data: dict, key: str, known: set[str], label: str = "") -> dict:
    section = _get(data, key, label)
    if not isinstance(section, dict):
        raise _WrongValueError(f"'{label or key}' is {section!r}; expected keys {', '.join(sorted(known))} below it")
    check_keys(f"'{label or key}' in robot profile", section, known)
    return section


def _text(data: dict, key: str, label: str = "") -> str:
    value = _get(data, key, label)
    if not isinstance(value, str) or not value:
        raise _WrongValueError(f"'{label or key}' is {value!r}; expected a name")
    return value


def _names(data: dict, key: str, label: str = "") -> list[str]:
    values = _get(data, key, label)
    if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
        raise _WrongValueError(f"'{label or key}' is {values!r}; expected a list of names")
    return values


def _number(data: dict, key: str, label: str = "") -> float:
    value = _get(data, key, label)
    if not _is_number(value):
        raise _WrongValueError(f"'{label or key}' is {value!r}; expected a finite number")
    return float(value)


def _positive(data: dict, key: str, label: str = "") -> float:
    value = _number(data, key, label)
    if value <= 0.0:
        raise _WrongValueError(f"'{label or key}' is {value}; expected more than 0")
    return value


def _distance(data: dict, key: str, section: str) -> float:
    value = _number(data, key, f"{section}.{key}")
    if value < 0.0:
        raise _WrongValueError(f"'{section}.{key}' is {value}; expected 0 or more")
    return value


def _numbers(data: dict, key: str, count: int, label: str = "") -> Array:
    values = _get(data, key, label)
    if not isinstance(values, list) or len(values) != count or not all(_is_number(v) for v in values):
        raise _WrongValueError(f"'{label or key}' is {values!r}; expected a list of {count} finite numbers")
    return np.array(values, dtype=float)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _origin(data: dict, label: str) -> dict[str, Array]:
    return {k: _numbers(data, k, 3, f"{label}.{k}") for k in ("xyz", "rpy") if k in data}


def check_keys(what: str, data: dict, known: set[str]) -> None:
    """Raise UserError for a key that does not exist, naming the nearest that does."""
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(sorted(known))}"
            raise UserError(f"{what}: unknown key '{key}'; {hint}")
