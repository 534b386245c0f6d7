"""Robot profile: all that the task must know about an arm, read from `config/robots/*.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from transforms3d.euler import euler2mat

from mql_ros.core.errors import UserError
from mql_ros.core.settings import build, setting
from mql_ros.grasping.motion.kinematics import Chain, tool_down
from mql_ros.grasping.perception.camera import CameraModel
from mql_ros.grasping.robot.profile_file import find_profile, read_profile
from mql_ros.grasping.types import Array

Vector = tuple[float, float, float]
CONTROL_MODES = ("joint_trajectory",)
"""How the arm takes commands. With trajectories that end at rest, the arm holds when commands stop."""
GRIPPER_COMMANDS = ("joint_trajectory", "position_trajectory", "width_force")
"""A trajectory of the finger joints with the force limit as effort; the same without effort; or a Float64MultiArray
[opening in m, force in N]."""
GRIPPER_EFFORTS = ("measured", "stall")
"""Where the fingers' effort comes from: `joint_states`, or that the fingers have stalled (see StallEffort)."""


@dataclass(frozen=True)
class Topics:
    """Names of the topics of the arm's driver and the camera's, relative to the namespace of the nodes."""

    joint_states: str = "joint_states"
    wrench: str = "wrench"
    depth_image: str = "camera/depth/image_rect_raw"
    camera_info: str = "camera/depth/camera_info"
    arm_command: str = "arm_controller/joint_trajectory"
    gripper_command: str = "gripper_controller/joint_trajectory"


@dataclass(frozen=True)
class Clearance:
    """Capsules between the joints, and their least distance from each other and from the table, m."""

    link_radius: float = setting(low=0)
    between_links: float = setting(low=0)
    table: float = setting(low=0)
    """Above z = 0 of the base frame; links from the third joint on, but not the hand, whose tool has its own box."""


@dataclass(frozen=True)
class Mount:
    """Mount of a gripper that has its own URDF."""

    link: str
    """Link of the arm's URDF that carries it."""
    xyz: Array
    """Origin of the gripper's root link in that link's frame [3], m."""
    rpy: Array
    """Its fixed-axis roll, pitch, yaw [3], rad."""


@dataclass(frozen=True)
class CameraPlace:
    """Where the depth camera stands, for those to whom TF does not tell it."""

    frame: str
    """Its optical frame, as its images name it."""
    pose: Array
    """Optical frame (z forward, x right, y down) in the base frame [4, 4], m."""


@dataclass(frozen=True)
class RobotProfile:
    """One arm with a parallel gripper."""

    name: str
    urdf: str
    """Robot description for the simulator: a file beside the profile, in config/robots or in pybullet_data."""
    gripper_urdf: str | None
    """Description of the gripper, found in the same places; None if the arm's URDF includes it."""
    gripper_mount: Mount | None
    """None if the arm's URDF includes the gripper."""
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
    """Time between two points of a motion, s."""
    guard_force: float
    """Force on the tool that stops a descent, N."""
    clearance: Clearance
    camera: CameraPlace
    topics: Topics
    gripper_command: str
    """One of GRIPPER_COMMANDS."""
    gripper_effort: str
    """One of GRIPPER_EFFORTS."""
    control_mode: str
    """One of CONTROL_MODES."""
    policies_from: tuple[str, ...]
    """Other robots whose policies may run on this arm; policies move the tool about what is seen."""
    scale: float = 1.0
    """Fraction of the arm's own speed limits in use, see `slowed`."""
    sha256: str = ""
    """SHA-256 of the profile's file and of those that it is based on."""

    @property
    def finger_seconds(self) -> float:
        """Return the time in which the fingers cross their whole opening at their largest speed, s."""
        return self.max_width / len(self.finger_names) / self.finger_speed

    @cached_property
    def home(self) -> Array:
        """Joint positions between trials [n], rad; UserError if the inverse kinematics does not reach them."""
        joints, error = self.chain.inverse(self.home_position, tool_down(0.0), self.home_guess, iterations=200)
        if error > 1e-3:
            raise UserError(
                f"robot profile '{self.name}': home_tool cannot be reached from home ({error * 1000:.1f} mm are left); "
                "choose a home near it"
            )
        return joints

    def slowed(self, scale: float, force: float) -> RobotProfile:
        """Return the arm with `scale` (in (0, 1]) times its speed limits and at most `force` (N) a finger."""
        if not 0.0 < scale <= 1.0 or force <= 0.0:
            raise ValueError(f"a scale of {scale} or a force of {force} N is no tighter limit; expected (0, 1] and > 0")
        return replace(self.paced(scale), max_force=min(self.max_force, force))

    def paced(self, factor: float) -> RobotProfile:
        """Return the arm with speed limits times `factor`, acceleration by its square and jerk by its cube."""
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
        return replace(_profile(build(_File, data, f"robot profile {path.name}")), sha256=sha256)
    except UserError as error:
        hint = "" if str(error).endswith("?") else "; compare config/robots/panda.yaml"
        raise UserError(f"{error}{hint}") from error


@dataclass(frozen=True)
class _Pose:
    xyz: Vector | None = None
    rpy: Vector | None = None

    def origin(self) -> dict[str, Array]:
        return {k: np.array(v) for k, v in (("xyz", self.xyz), ("rpy", self.rpy)) if v is not None}


@dataclass(frozen=True, kw_only=True)
class _Joint(_Pose):
    name: str
    lower: float
    upper: float
    velocity: float = setting(above=0)
    acceleration: float = setting(above=0)
    jerk: float = setting(above=0)


@dataclass(frozen=True, kw_only=True)
class _Mount(_Pose):
    link: str


@dataclass(frozen=True)
class _Gripper:
    joints: tuple[str, str]
    max_width: float = setting(above=0)
    max_force: float = setting(above=0)
    max_speed: float = setting(above=0)
    command: str = setting(choices=GRIPPER_COMMANDS)
    effort: str = setting("measured", choices=GRIPPER_EFFORTS)
    urdf: str | None = None
    mount: _Mount | None = None

    def __post_init__(self) -> None:
        if self.urdf is not None and self.mount is None:
            raise ValueError("the key 'gripper.mount' is missing")
        if self.urdf is None and self.mount is not None:
            raise ValueError("'gripper.mount' places a gripper, but 'gripper.urdf' is missing")


@dataclass(frozen=True)
class _Home:
    xyz: Vector


@dataclass(frozen=True)
class _Workspace:
    lower: Vector
    upper: Vector


@dataclass(frozen=True)
class _Camera:
    """Position and target, or xyz and rpy, which go before those of a profile that this is based on."""

    frame: str
    position: Vector | None = None
    target: Vector | None = None
    xyz: Vector | None = None
    rpy: Vector | None = None

    def __post_init__(self) -> None:
        if (self.xyz is None) != (self.rpy is None) or (self.position is None) != (self.target is None):
            raise ValueError("'camera' gives half a pose; expected position and target, or xyz and rpy")
        if self.xyz is None and self.position is None:
            raise ValueError("'camera' gives no pose; expected position and target, or xyz and rpy")
        if self.position is not None and self.position == self.target:
            raise ValueError("'camera.target' is where the camera is; give another target")

    def pose(self) -> Array:
        if self.xyz is None or self.rpy is None:
            return CameraModel.looking_at(np.array(self.position), np.array(self.target), 1, 1, 1.0).pose
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = euler2mat(*self.rpy), self.xyz
        return pose


@dataclass(frozen=True)
class _File:
    """A profile as its file gives it, together with those that it is based on."""

    name: str
    urdf: str
    base_frame: str
    tool_frame: str
    joints: tuple[_Joint, ...]
    tool: _Pose
    gripper: _Gripper
    home: tuple[float, ...]
    home_tool: _Home
    workspace: _Workspace
    camera: _Camera
    clearance: Clearance
    control_mode: str = setting(choices=CONTROL_MODES)
    control_period: float = setting(above=0)
    guard_force: float = setting(above=0)
    topics: Topics = Topics()
    policies_from: tuple[str, ...] = ()
    based_on: None = None
    """Known here for the sake of misspelled keys; `read_profile` has followed it."""

    def __post_init__(self) -> None:
        for i, joint in enumerate(self.joints):
            if joint.lower >= joint.upper:
                raise ValueError(f"'joints[{i}].lower' is not below 'joints[{i}].upper'")
        if any(low >= high for low, high in zip(self.workspace.lower, self.workspace.upper, strict=True)):
            raise ValueError("'workspace.lower' is not below 'workspace.upper'")
        if len(self.home) != len(self.joints):
            raise ValueError(f"'home' is {list(self.home)}; expected a list of {len(self.joints)} finite numbers")


def _profile(file: _File) -> RobotProfile:
    joints, gripper = file.joints, file.gripper
    lower, upper = np.array([joint.lower for joint in joints]), np.array([joint.upper for joint in joints])
    mount = gripper.mount
    return RobotProfile(
        name=file.name,
        urdf=file.urdf,
        gripper_urdf=gripper.urdf,
        gripper_mount=None if mount is None else Mount(mount.link, *_pose(mount)),
        base_frame=file.base_frame,
        tool_frame=file.tool_frame,
        joint_names=tuple(joint.name for joint in joints),
        finger_names=gripper.joints,
        lower=lower,
        upper=upper,
        velocity=np.array([joint.velocity for joint in joints]),
        acceleration=np.array([joint.acceleration for joint in joints]),
        jerk=np.array([joint.jerk for joint in joints]),
        chain=Chain.from_origins([joint.origin() for joint in joints], file.tool.origin(), lower, upper),
        max_width=gripper.max_width,
        max_force=gripper.max_force,
        finger_speed=gripper.max_speed,
        home_guess=np.array(file.home),
        home_position=np.array(file.home_tool.xyz),
        workspace_lower=np.array(file.workspace.lower),
        workspace_upper=np.array(file.workspace.upper),
        control_period=file.control_period,
        guard_force=file.guard_force,
        clearance=file.clearance,
        camera=CameraPlace(file.camera.frame, file.camera.pose()),
        topics=file.topics,
        gripper_command=gripper.command,
        gripper_effort=gripper.effort,
        control_mode=file.control_mode,
        policies_from=file.policies_from,
    )


def _pose(pose: _Pose) -> tuple[Array, Array]:
    origin = pose.origin()
    return origin.get("xyz", np.zeros(3)), origin.get("rpy", np.zeros(3))
