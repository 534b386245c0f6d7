"""Robot profile: everything that the task must know about an arm, read from `config/robots/*.yaml`."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
_JOINT_KEYS = {"name", "xyz", "rpy", "lower", "upper", "velocity"}


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
        raise UserError(f"unknown robot '{name}'; known robots are {', '.join(known)}, or give the path of a .yaml file")
    try:
        data = yaml.safe_load(path.read_text())
        return _profile(data)
    except (KeyError, TypeError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"robot profile {path.name}: {type(error).__name__}: {error}; compare config/robots/panda.yaml")


def _profile(data: dict) -> RobotProfile:
    check_keys("robot profile", data, _KEYS)
    for joint in data["joints"]:
        check_keys("joint in robot profile", joint, _JOINT_KEYS)
    lower = np.array([float(j["lower"]) for j in data["joints"]])
    upper = np.array([float(j["upper"]) for j in data["joints"]])
    if not (lower < upper).all():
        raise ValueError("a joint's lower limit is not below its upper limit")
    return RobotProfile(
        name=data["name"],
        urdf=data["urdf"],
        base_frame=data["base_frame"],
        tool_frame=data["tool_frame"],
        joint_names=tuple(j["name"] for j in data["joints"]),
        finger_names=tuple(data["gripper"]["joints"]),
        lower=lower,
        upper=upper,
        velocity=np.array([float(j["velocity"]) for j in data["joints"]]),
        chain=Chain.from_origins(data["joints"], data["tool"], lower, upper),
        max_width=float(data["gripper"]["max_width"]),
        max_force=float(data["gripper"]["max_force"]),
        home_guess=np.array(data["home"], dtype=float),
        home_position=np.array(data["home_tool"]["xyz"], dtype=float),
        workspace_lower=np.array(data["workspace"]["lower"], dtype=float),
        workspace_upper=np.array(data["workspace"]["upper"], dtype=float),
        control_period=float(data["control_period"]),
        guard_force=float(data["guard_force"]),
    )


def check_keys(what: str, data: dict, known: set[str]) -> None:
    """Raise UserError for a key that does not exist, naming the nearest that does."""
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known keys are {', '.join(sorted(known))}"
            raise UserError(f"{what}: unknown key '{key}'; {hint}")
