"""Every robot profile of the package, and one from outside, in the simulator."""

import itertools
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from helpers.sim import SimulatedArm, grasp

from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.motion.joint_motion import straight_line
from mql_ros.grasping.motion.kinematics import tool_down
from mql_ros.grasping.robot.profile import RobotProfile, load_profile
from mql_ros.grasping.safety.filter import SafetyFilter
from mql_ros.grasping.task import spaces
from mql_ros.grasping.task.trial import DESCENT_SPEED, TRAVEL_SPEED
from mql_ros.ros.policies.policy_loading import check_bundle
from mql_sim.environment import PLACE_JITTER, GraspTask
from mql_sim.objects.catalogue import find_thing
from mql_sim.world.robot_description import describe
from mql_sim.world.world import World

pytestmark = pytest.mark.slow

ROBOTS = sorted(path.stem for path in share_path("config", "robots").glob("*.yaml"))


@pytest.fixture(scope="module", params=ROBOTS)
def profile(request: pytest.FixtureRequest) -> RobotProfile:
    return load_profile(request.param)


@pytest.fixture
def world(profile: RobotProfile) -> Iterator[World]:
    made = World(profile)
    yield made
    made.close()


def random_joints(profile: RobotProfile, count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(profile.lower, profile.upper, size=(count, len(profile.lower)))


def test_three_robot_profiles_are_shipped() -> None:
    assert {"panda", "iiwa", "ur5e"} <= set(ROBOTS)


def test_the_profile_has_the_kinematics_of_the_simulated_arm(profile: RobotProfile, world: World) -> None:
    arm = SimulatedArm(world)
    for joints in random_joints(profile, 20):
        found, turned = arm.tool_pose(joints)
        position, turn = profile.chain.forward(joints)
        tolerance = 1e-5 if profile.name == "panda" else 1e-4
        assert np.allclose(position, found, atol=tolerance)
        assert np.allclose(turn, turned, atol=tolerance)


def test_the_profile_has_no_wider_limits_than_the_simulated_arm(profile: RobotProfile, world: World) -> None:
    arm = SimulatedArm(world)
    for number, index in enumerate(arm.joints):
        information = arm.joint_info(index)
        assert profile.lower[number] >= information[8] - 0.07 and profile.upper[number] <= information[9] + 0.07
        assert profile.velocity[number] <= information[11] + 1e-6
    for index in arm.fingers:
        assert arm.joint_info(index)[8:10] == (0.0, profile.max_width / 2)


def test_at_home_the_tool_points_down_with_room_for_every_joint(profile: RobotProfile) -> None:
    position, turn = profile.chain.forward(profile.home)
    assert np.allclose(position, profile.home_position, atol=1e-3)
    assert np.allclose(turn, tool_down(0.0), atol=2e-3)
    room = np.minimum(profile.home - profile.lower, profile.upper - profile.home)
    assert (room > 0.4).all()


def test_every_robot_stays_at_home_in_simulation(profile: RobotProfile, world: World) -> None:
    assert world.set_thing(find_thing("mug"), np.random.default_rng(0))
    x, y, _ = profile.home_position
    measurement = world.reset((x, y), 0.0)
    for _ in range(20):
        measurement = world.advance(profile.home, np.zeros_like(profile.home), profile.max_width, 40.0)
    assert np.abs(measurement.joint_positions - profile.home).max() < 1e-3
    assert measurement.finger_width == pytest.approx(profile.max_width, abs=1e-3)


def test_the_safety_filter_of_every_robot_allows_what_actions_ask_for(profile: RobotProfile) -> None:
    """Object and grasp far out, headings up to 1.2 rad: no motion breaks a limit or falls short."""
    safety, edge, turn = SafetyFilter(profile), (-PLACE_JITTER, PLACE_JITTER), (-1.2, 0.0, 1.2)
    for x, y, yaw, a0, a1 in itertools.product(edge, edge, turn, (-1, 1), (-1, 1)):
        along = np.array([np.cos(yaw), np.sin(yaw), 0.0])
        joints = profile.home
        above = profile.home_position + [x, y, 0.0] + [0.35 * a0 * spaces.REACH, 0.35 * a1 * spaces.REACH, 0.0]
        below = np.array([above[0], above[1], profile.workspace_lower[2]])
        corrected = np.clip(below + spaces.CORRECTION * (a0 * along + [0, 0, a1]), profile.workspace_lower, 1.0)
        lifted = corrected + [0, 0, spaces.LIFT_HEIGHT]
        for target, speed in (
            (above, TRAVEL_SPEED), (below, DESCENT_SPEED), (corrected, 0.15), (lifted, spaces.SPEED_HIGH)
        ):  # fmt: skip
            motion = straight_line(profile, joints, target, yaw, speed)
            assert safety.plan_fault(motion, target) == ""
            joints = motion.points[-1]


@pytest.mark.parametrize("name", ["mug", "bottle"])
def test_every_robot_lifts_an_object_with_an_adequate_force(profile: RobotProfile, name: str) -> None:
    task, thing = GraspTask(profile), find_thing(name)
    assert task.set_thing(thing, 5)
    lifted = [grasp(task, thing)[1] for _ in range(2)]
    assert task.machine.refusals == 0, task.machine.last_refusal
    task.world.close()
    assert lifted == [True, True]


def test_the_described_urdf_holds_the_whole_arm(profile: RobotProfile, world: World, tmp_path: Path) -> None:
    robot = ET.fromstring(describe(profile))
    files = [mesh.get("filename", "") for mesh in robot.iter("mesh")]
    assert all(file.startswith("file:///") and Path(file[7:]).is_file() for file in files)
    joints = {joint.get("name") for joint in robot.findall("joint")}
    assert {*profile.joint_names, *profile.finger_names} <= joints
    # One tree: a single link that hangs on no joint.
    links, hanging = robot.findall("link"), [joint.find("child").get("link") for joint in robot.findall("joint")]
    assert len(set(hanging)) == len(hanging) == len(links) - 1
    file = tmp_path / "arm.urdf"
    file.write_text(describe(profile))
    arm = SimulatedArm(world)
    body = world.client.loadURDF(str(file), useFixedBase=True)
    count = world.client.getNumJoints(body)
    assert count == world.client.getNumJoints(arm.body)
    for joint in range(count):
        assert world.client.getJointInfo(body, joint) == arm.joint_info(joint)
        assert len(world.client.getCollisionShapeData(body, joint)) > 0 or joint >= arm.joints[-1]


def test_the_shipped_policy_may_act_on_arms_that_say_so(profile: RobotProfile) -> None:
    bundle = share_path("models", "grasp")
    assert check_bundle(bundle, profile.name, *profile.policies_from).bundle == str(bundle)
    with pytest.raises(UserError, match=r"trained for robot 'panda', not for 'my_arm'.*policies_from") as error:
        check_bundle(bundle, "my_arm", "ur5e")
    assert "\n" not in str(error.value)


def test_policies_come_from_arms_with_the_same_gripper(profile: RobotProfile) -> None:
    for name in profile.policies_from:
        other = load_profile(name)
        assert (other.max_width, other.max_force) == (profile.max_width, profile.max_force)


def own_arm(folder: Path) -> tuple[Path, dict, str]:
    """A UR5e of one's own beside its URDF, with the package's gripper: file, profile and URDF to change."""
    robots = share_path("config", "robots")
    shutil.copy(robots / "urdf" / "ur5e.urdf", folder / "my_arm.urdf")
    profile = yaml.safe_load((robots / "ur5e.yaml").read_text()) | {"name": "my_arm", "urdf": "my_arm.urdf"}
    file = folder / "my_arm.yaml"
    file.write_text(yaml.safe_dump(profile))
    return file, profile, (folder / "my_arm.urdf").read_text()


def test_an_arm_is_a_yaml_file_and_a_urdf(tmp_path: Path) -> None:
    file, _, _ = own_arm(tmp_path)
    profile = load_profile(str(file))
    assert profile.urdf == str(tmp_path / "my_arm.urdf")
    task, thing = GraspTask(profile), find_thing("mug")
    assert task.set_thing(thing, 5)
    assert grasp(task, thing)[1]
    task.world.close()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<robot", "<robott", "is not XML"),
        ('<robot name="ur5e">', '<model name="ur5e">', "outermost element of .* is <model>; expected <robot>"),
        ('name="elbow_joint"', 'name="elbow_jiont"', "'joints' names 'elbow_joint', .* did you mean 'elbow_jiont'"),
        ('<link name="tool0"/>', '<link name="flange"/>', "'gripper.mount.link' names 'tool0'"),
        ('name="base_link"', 'name="bass_link"', "'base_frame' names 'base_link', .* did you mean 'bass_link'"),
        ("-0.425 0 0", "-0.420 0 0", "the URDF puts frame 'gripper_tool' at .* and the profile at"),
        ('axis xyz="0 0 1"', 'axis xyz="0 1 0"', "the URDF puts frame 'gripper_tool' at"),
        ('axis xyz="0 0 1"', 'axis xyz="0 1"', "joint '.*' of the URDF has an origin or axis without 3 numbers"),
        ('"elbow_joint" type="revolute"', '"elbow_joint" type="fixed"', "joint 'elbow_joint' of 'joints' is fixed"),
        ('<link name="tool0"/>', '<link name="tool0"/><link name="gripper_hand"/>', "both have a link 'gripper_hand'"),
        ('<parent link="forearm_link"/>', '<parent link="tool0"/>', "does not hang on 'base_link'"),
    ],
)  # fmt: skip
def test_a_urdf_that_does_not_fit_its_profile_is_refused_in_one_sentence(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    file, _, urdf = own_arm(tmp_path)
    assert old in urdf
    changed = urdf.replace(old, new).replace("</robot>", "</model>" if "<model" in new else "</robot>")
    (tmp_path / "my_arm.urdf").write_text(changed)
    with pytest.raises(UserError, match=reason) as error:
        World(load_profile(str(file)))
    assert "\n" not in str(error.value) and str(error.value).startswith("robot profile 'my_arm': ")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"urdf": "no.urdf"}, r"URDF 'no.urdf' cannot be read \(No such file or directory\)"),
        ({"tool_frame": "gripper_tol"}, "'tool_frame' names 'gripper_tol', .* did you mean 'gripper_tool'"),
        ({"tool": {"xyz": [0.0, 0.0, 0.21]}}, "correct xyz and rpy of 'joints' and 'tool'"),
    ],
)
def test_a_profile_that_does_not_fit_its_urdf_is_refused_in_one_sentence(
    tmp_path: Path, changes: dict, reason: str
) -> None:
    file, profile, _ = own_arm(tmp_path)
    file.write_text(yaml.safe_dump(profile | changes))
    with pytest.raises(UserError, match=reason) as error:
        describe(load_profile(str(file)))
    assert "\n" not in str(error.value)
