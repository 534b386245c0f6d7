import copy
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.robot.profile import load_profile

ROBOTS = share_path("config", "robots")
PANDA, UR5E = (yaml.safe_load((ROBOTS / f"{name}.yaml").read_text()) for name in ("panda", "ur5e"))


def spoiled(path: tuple, value: object, of: dict = PANDA) -> dict:
    data = copy.deepcopy(of)
    *above, last = path
    inner = data
    for key in above:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


def test_a_profile_is_read_by_name_or_path(tmp_path: Path) -> None:
    by_name = load_profile("panda")
    path = tmp_path / "my_arm.yaml"
    path.write_text(yaml.safe_dump(PANDA))
    by_path = load_profile(str(path))
    assert np.array_equal(by_name.home, by_path.home)
    assert by_name.joint_names == by_path.joint_names and len(by_name.joint_names) == 7
    assert (by_name.lower < by_name.home).all() and (by_name.home < by_name.upper).all()


def test_urdf_files_are_looked_for_beside_the_profile_and_in_the_package(tmp_path: Path) -> None:
    own = tmp_path / "own.urdf"
    own.write_text("<robot/>")
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(("urdf",), "own.urdf", UR5E)))
    profile = load_profile(str(file))
    assert profile.urdf == str(own)
    assert profile.gripper_urdf == str(ROBOTS / "urdf" / "parallel_gripper.urdf")
    assert load_profile("panda").urdf == "franka_panda/panda.urdf", "one of pybullet_data, which need not be there"


def test_optional_keys_of_a_profile_have_defaults() -> None:
    panda, ur5e = load_profile("panda"), load_profile("ur5e")
    assert (panda.gripper_urdf, panda.gripper_mount, panda.policies_from) == (None, None, ())
    assert panda.topics.joint_states == "joint_states"
    assert ur5e.gripper_mount is not None and ur5e.policies_from == ("panda",)
    assert ur5e.gripper_mount.link == "tool0"
    assert not ur5e.gripper_mount.xyz.any() and not ur5e.gripper_mount.rpy.any()


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("home",), None, "the key 'home' is missing"),
        (("gripper", "max_width"), None, "the key 'gripper.max_width' is missing"),
        (("joints", 2, "upper"), None, r"the key 'joints\[2\].upper' is missing"),
        (("gripper",), 3, "'gripper' is 3"),
        (("joints",), [], r"'joints' is \[\]; expected a list of keys xyz, rpy, name, lower"),
        (("joints", 0, "velocity"), "fast", r"'joints\[0\].velocity' is 'fast'; expected a finite number"),
        (("joints", 0, "velocity"), 0, r"'joints\[0\].velocity' is 0.0; expected more than 0"),
        (("joints", 4, "lower"), 5.0, r"'joints\[4\].lower' is not below 'joints\[4\].upper'"),
        (("joints", 4, "xyz"), [1, 2], r"'joints\[4\].xyz' is \[1, 2\]; expected a list of 3 finite numbers"),
        (("home",), [0.0] * 6, "'home' is .* expected a list of 7 finite numbers"),
        (("workspace", "lower"), [0.8, 0, 0], "'workspace.lower' is not below 'workspace.upper'"),
        (("control_period",), float("nan"), "'control_period' is nan; expected a finite number"),
        (("guard_force",), True, "'guard_force' is True; expected a finite number"),
        (("name",), 7, "'name' is 7; expected a name"),
        (("gripper", "joints"), ["only_one"], r"'gripper.joints' is \['only_one'\]; expected a list of 2 names"),
        (("guard_forse",), 15.0, "unknown key 'guard_forse'; did you mean 'guard_force'"),
        (("joints", 1, "speed"), 1.0, "unknown key 'speed'"),
        (("gripper", "max_widht"), 1.0, "unknown key 'max_widht'; did you mean 'max_width'"),
        (("joints", 3, "acceleration"), None, r"the key 'joints\[3\].acceleration' is missing"),
        (("joints", 3, "acceleration"), -1, r"'joints\[3\].acceleration' is -1.0; expected more than 0"),
        (("joints", 3, "jerk"), [1.0], r"'joints\[3\].jerk' is \[1.0\]; expected a finite number"),
        (("joints", 3, "acelleration"), 1.0, "unknown key 'acelleration'; did you mean 'acceleration'"),
        (("control_mode",), "velocity", "'control_mode' is 'velocity'; expected joint_trajectory"),
        (("gripper", "command"), None, "the key 'gripper.command' is missing"),
        (("gripper", "command"), "force", "'gripper.command' is 'force'; expected joint_trajectory or position_trajec"),
        (("gripper", "effort"), "none", "'gripper.effort' is 'none'; expected measured or stall"),
        (("gripper", "max_speed"), None, "the key 'gripper.max_speed' is missing"),
        (("gripper", "max_speed"), 0.0, "'gripper.max_speed' is 0.0; expected more than 0"),
        (("gripper", "mount"), {"link": "panda_link8"}, "'gripper.mount' .* but 'gripper.urdf' is missing"),
        (("clearance",), None, "the key 'clearance' is missing"),
        (("clearance", "table"), None, "the key 'clearance.table' is missing"),
        (("clearance", "table"), -0.01, "'clearance.table' is -0.01; expected 0 or more"),
        (("clearance", "link_radios"), 0.1, "unknown key 'link_radios'; did you mean 'link_radius'"),
        (("topics",), ["joint_states"], r"'topics' is \['joint_states'\]; expected keys arm_command, .* below it"),
        (("topics",), {"joint_state": "a"}, "unknown key 'joint_state'; did you mean 'joint_states'"),
        (("topics",), {"wrench": 5}, "'topics.wrench' is 5; expected a name"),
        (("policies_from",), "iiwa", "'policies_from' is 'iiwa'; expected a list of names"),
        (("policys_from",), [], "unknown key 'policys_from'; did you mean 'policies_from'"),
    ],
)
def test_a_wrong_key_of_a_profile_is_named(tmp_path: Path, path: tuple, value: object, reason: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(path, value)))
    with pytest.raises(UserError, match=reason) as error:
        load_profile(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("gripper", "urdf"), 3, "'gripper.urdf' is 3; expected a name"),
        (("gripper", "mount"), None, "the key 'gripper.mount' is missing"),
        (("gripper", "mount"), "tool0", "'gripper.mount' is 'tool0'; expected keys link, rpy, xyz below it"),
        (("gripper", "mount", "link"), None, "the key 'gripper.mount.link' is missing"),
        (("gripper", "mount", "xyz"), [0, 0], r"'gripper.mount.xyz' is \[0, 0\]; expected a list of 3 finite numbers"),
        (("gripper", "mount", "lnik"), "tool0", "'gripper.mount': unknown key 'lnik'; did you mean 'link'"),
        (("gripper", "urfd"), "a.urdf", "robot profile arm.yaml: 'gripper': unknown key 'urfd'; did you mean 'urdf'"),
    ],
)
def test_a_wrong_key_of_a_profiles_gripper_is_named(tmp_path: Path, path: tuple, value: object, reason: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(path, value, UR5E)))
    with pytest.raises(UserError, match=reason) as error:
        load_profile(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "\x00"])
def test_a_file_that_is_no_profile_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="robot profile arm") as error:
        load_profile(str(file))
    assert "\n" not in str(error.value)


def test_an_unknown_robot_is_refused_with_the_names_of_the_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown robot 'pandda'; known robots are .*panda"):
        load_profile("pandda")
    with pytest.raises(UserError, match="unknown robot"):
        load_profile(str(tmp_path / "nothing.yaml"))


def test_a_profile_with_home_out_of_reach_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(("home_tool", "xyz"), [3.0, 0.0, 0.5])))
    with pytest.raises(UserError, match="home_tool cannot be reached"):
        _ = load_profile(str(file)).home


def write(file: Path, content: dict) -> str:
    file.write_text(yaml.safe_dump(content))
    return str(file)


def test_a_profile_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    joints = [joint | {"velocity": 1.0} for joint in UR5E["joints"]]
    write(tmp_path / "base.yaml", {"based_on": "ur5e", "topics": {"wrench": "a", "camera_info": "b"}})
    changes = {
        "based_on": "base.yaml", "topics": {"wrench": "c"}, "gripper": {"mount": {"xyz": [0, 0, 0.01]}, "max_force": 5},
        "clearance": {"table": 0.05}, "joints": joints, "home": UR5E["home"][:-1] + [0.5],
    }  # fmt: skip
    profile, ur5e = load_profile(write(tmp_path / "arm.yaml", changes)), load_profile("ur5e")
    assert profile.name == "ur5e" and profile.policies_from == ("panda",)
    assert (profile.topics.wrench, profile.topics.camera_info, profile.topics.joint_states) == (
        "c",
        "b",
        "joint_states",
    )
    assert profile.gripper_mount is not None and profile.gripper_mount.link == "tool0"
    assert profile.gripper_mount.xyz.tolist() == [0, 0, 0.01]
    assert (profile.max_force, profile.max_width) == (5, ur5e.max_width)
    assert profile.clearance == replace(ur5e.clearance, table=0.05)
    assert profile.velocity.tolist() == [1.0] * 6 and profile.home_guess[-1] == 0.5
    with pytest.raises(UserError, match="expected a list of 6 finite numbers"):
        load_profile(write(tmp_path / "arm.yaml", changes | {"home": [0.5]}))


def test_each_urdf_is_looked_for_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    for file in ("base/arm.urdf", "base/hand.urdf", "arm.urdf", "hand.urdf"):
        (tmp_path / file).write_text("<robot/>")
    based = {"based_on": "ur5e", "urdf": "arm.urdf", "gripper": {"urdf": "hand.urdf"}}
    base = write(tmp_path / "base" / "base.yaml", based)
    profile = load_profile(
        write(tmp_path / "arm.yaml", {"based_on": "base/base.yaml", "gripper": {"urdf": "hand.urdf"}})
    )
    assert (profile.urdf, profile.gripper_urdf) == (str(tmp_path / "base" / "arm.urdf"), str(tmp_path / "hand.urdf"))
    profile = load_profile(write(tmp_path / "arm.yaml", {"based_on": base, "urdf": "arm.urdf"}))
    assert (profile.urdf, profile.gripper_urdf) == (str(tmp_path / "arm.urdf"), str(tmp_path / "base" / "hand.urdf"))
    assert load_profile("ur5e_hardware").urdf == load_profile("ur5e").urdf == str(ROBOTS / "urdf" / "ur5e.urdf")


def test_the_hash_of_a_profile_covers_all_files_that_it_is_based_on(tmp_path: Path) -> None:
    base, middle, top = (tmp_path / f"{name}.yaml" for name in ("base", "middle", "top"))
    base.write_text(plain := (ROBOTS / "ur5e.yaml").read_text())
    write(middle, {"based_on": "base.yaml"})
    write(top, {"based_on": "middle.yaml"})
    assert load_profile(str(base)).sha256 == hashlib.sha256(plain.encode()).hexdigest() == load_profile("ur5e").sha256
    before = [load_profile(str(file)).sha256 for file in (base, middle, top)]
    base.write_text(plain + "# another")
    after = [load_profile(str(file)).sha256 for file in (base, middle, top)]
    write(middle, {"based_on": "base.yaml", "guard_force": 9.0})
    last = load_profile(str(top)).sha256
    assert len({*before, *after, last}) == 7


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"based_on": "ur5"}, "robot profile arm.yaml is based on the unknown robot 'ur5'; known robots are .*ur5e"),
        ({"based_on": "no.yaml"}, "robot profile arm.yaml is based on the unknown robot 'no.yaml'; known robots are"),
        ({"based_on": "arm.yaml"}, "robot profile arm.yaml: 'based_on' leads back to arm.yaml"),
        ({"based_on": "other.yaml"}, "robot profile other.yaml: 'based_on' leads back to arm.yaml"),
        ({"based_on": ["panda"]}, r"robot profile arm.yaml: 'based_on' is \['panda'\]; expected a robot's name or a "),
        ({"based_on": "list.yaml"}, "robot profile list.yaml: expected `key: value` lines"),
        ({"basd_on": "panda"}, "unknown key 'basd_on'; did you mean 'based_on'"),
        ({"based_on": "panda", "guard_forse": 9.0}, "unknown key 'guard_forse'; did you mean 'guard_force'"),
        ({"based_on": "panda", "gripper": {"max_widht": 1.0}}, "unknown key 'max_widht'; did you mean 'max_width'"),
        ({"based_on": "panda", "gripper": 3}, "robot profile arm.yaml: 'gripper' is 3; expected keys"),
        ({"based_on": "panda", "gripper": None}, "robot profile arm.yaml: 'gripper' is None; expected keys"),
        ({"based_on": "panda", "topics": {"wrench": 5}}, "'topics.wrench' is 5; expected a name"),
    ],
)  # fmt: skip
def test_a_wrong_base_of_a_profile_is_refused_in_one_sentence(tmp_path: Path, changes: dict, reason: str) -> None:
    write(tmp_path / "other.yaml", {"based_on": "arm.yaml"})
    (tmp_path / "list.yaml").write_text("- panda")
    with pytest.raises(UserError, match=reason) as error:
        load_profile(write(tmp_path / "arm.yaml", changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("robot", ["panda", "ur5e"])
def test_the_profiles_for_hardware_are_the_same_arms_for_stock_controllers(robot: str) -> None:
    profile, base = load_profile(f"{robot}_hardware"), load_profile(robot)
    assert profile.name == base.name and profile.sha256 != base.sha256
    assert profile.gripper_command == "width_force" and profile.topics.arm_command != base.topics.arm_command
    assert np.array_equal(profile.home, base.home) and np.array_equal(profile.jerk, base.jerk)
    assert profile.finger_speed == {"panda": 0.05, "ur5e": base.finger_speed}[robot]


def test_the_file_of_ones_own_that_the_guide_shows_is_a_profile(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "real_robot.md").read_text()
    file = tmp_path / "my_ur5e.yaml"
    file.write_text(guide.split("# my_ur5e.yaml\n")[1].split("```")[0])
    profile, base = load_profile(str(file)), load_profile("ur5e_hardware")
    assert profile.name == "ur5e" and profile.topics.arm_command == base.topics.arm_command
    assert (profile.gripper_command, profile.finger_speed) == ("position_trajectory", 0.1)
