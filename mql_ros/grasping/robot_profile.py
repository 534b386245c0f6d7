"""Robot profile: everything that the task must know about an arm, read from `config/robots/*.yaml`."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mql_ros.errors import UserError
from mql_ros.grasping.kinematics import Chain, tool_down
from mql_ros.grasping.types import Array
from mql_ros.resources import share_path

_KEYS = {
    "name", "urdf", "base_frame", "tool_frame", "joints", "tool", "gripper", "home", "home_tool", "workspace",
    "control_period", "guard_force",
}  # fmt: skip
_POSE_KEYS = {"xyz", "rpy"}
_JOINT_KEYS = {"name", "lower", "upper", "velocity"} | _POSE_KEYS


@dataclass(frozen=True)
class RobotProfile:
    """One arm with a parallel gripper."""

    name: str
    urdf: str
    """Robot description for the simulator, relative to pybullet_data or absolute."""
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
    chain: Chain
    max_width: float
    """Widest opening of the gripper, m."""
    max_force: float
    """Largest force of one finger, N."""
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


def load_profile(name: str) -> RobotProfile:
    """Read a profile by name (`panda`) or path (`my_arm.yaml`); UserError names the key that is wrong."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else share_path("config", "robots") / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in share_path("config", "robots").glob("*.yaml"))
        raise UserError(
            f"unknown robot '{name}'; known robots are {', '.join(known)}, or give the path of a .yaml file"
        )
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise UserError(f"robot profile {path.name} cannot be read as YAML: {reason}") from error
    try:
        return _profile(data)
    except _WrongValueError as error:
        raise UserError(f"robot profile {path.name}: {error}; compare config/robots/panda.yaml") from error


class _WrongValueError(ValueError):
    """Says which key of a profile is wrong, and what was expected."""


def _profile(data: Any) -> RobotProfile:
    if not isinstance(data, dict):
        raise _WrongValueError("expected `key: value` lines")
    check_keys("robot profile", data, _KEYS)
    joints = _get(data, "joints")
    if not isinstance(joints, list) or not joints or not all(isinstance(joint, dict) for joint in joints):
        raise _WrongValueError("'joints' is not a list of joints such as {name: joint1, xyz: [0, 0, 0], ...}")
    for joint in joints:
        check_keys("joint in robot profile", joint, _JOINT_KEYS)
    gripper, tool = _section(data, "gripper", {"joints", "max_width", "max_force"}), _section(data, "tool", _POSE_KEYS)
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
    fingers = _get(gripper, "joints", "gripper.joints")
    if not isinstance(fingers, list) or len(fingers) != 2 or not all(isinstance(f, str) for f in fingers):
        raise _WrongValueError("'gripper.joints' is not a list of two joint names")
    return RobotProfile(
        name=_text(data, "name"),
        urdf=_text(data, "urdf"),
        base_frame=_text(data, "base_frame"),
        tool_frame=_text(data, "tool_frame"),
        joint_names=tuple(_text(j, "name", f"joints[{i}].name") for i, j in enumerate(joints)),
        finger_names=tuple(fingers),
        lower=lower,
        upper=upper,
        velocity=np.array([_positive(j, "velocity", f"joints[{i}].velocity") for i, j in enumerate(joints)]),
        chain=Chain.from_origins(origins, _origin(tool, "tool"), lower, upper),
        max_width=_positive(gripper, "max_width", "gripper.max_width"),
        max_force=_positive(gripper, "max_force", "gripper.max_force"),
        home_guess=_numbers(data, "home", len(joints)),
        home_position=_numbers(home_tool, "xyz", 3, "home_tool.xyz"),
        workspace_lower=box[0],
        workspace_upper=box[1],
        control_period=_positive(data, "control_period"),
        guard_force=_positive(data, "guard_force"),
    )


def _get(data: dict, key: str, label: str = "") -> Any:
    if key not in data:
        raise _WrongValueError(f"the key '{label or key}' is missing")
    return data[key]


def _section(data: dict, key: str, known: set[str]) -> dict:
    section = _get(data, key)
    if not isinstance(section, dict):
        raise _WrongValueError(f"'{key}' is {section!r}; expected keys {', '.join(sorted(known))} below it")
    check_keys(f"'{key}' in robot profile", section, known)
    return section


def _text(data: dict, key: str, label: str = "") -> str:
    value = _get(data, key, label)
    if not isinstance(value, str) or not value:
        raise _WrongValueError(f"'{label or key}' is {value!r}; expected a name")
    return value


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
