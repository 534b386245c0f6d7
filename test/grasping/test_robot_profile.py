import copy
from pathlib import Path

import numpy as np
import pytest
import yaml

from mql_ros.errors import UserError
from mql_ros.grasping.robot_profile import load_profile
from mql_ros.resources import share_path

PANDA = yaml.safe_load(share_path("config", "robots", "panda.yaml").read_text())


def test_a_profile_is_read_by_name_or_path(tmp_path: Path) -> None:
    by_name = load_profile("panda")
    path = tmp_path / "my_arm.yaml"
    path.write_text(yaml.safe_dump(PANDA))
    by_path = load_profile(str(path))
    assert np.array_equal(by_name.home, by_path.home)
    assert by_name.joint_names == by_path.joint_names and len(by_name.joint_names) == 7
    assert (by_name.lower < by_name.home).all() and (by_name.home < by_name.upper).all()


def spoiled(path: tuple, value: object) -> dict:
    data = copy.deepcopy(PANDA)
    *above, last = path
    inner = data
    for key in above:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("home",), None, "the key 'home' is missing"),
        (("gripper", "max_width"), None, "the key 'gripper.max_width' is missing"),
        (("joints", 2, "upper"), None, r"the key 'joints\[2\].upper' is missing"),
        (("gripper",), 3, "'gripper' is 3"),
        (("joints",), [], "'joints' is not a list"),
        (("joints", 0, "velocity"), "fast", r"'joints\[0\].velocity' is 'fast'; expected a finite number"),
        (("joints", 0, "velocity"), 0, r"'joints\[0\].velocity' is 0.0; expected more than 0"),
        (("joints", 4, "lower"), 5.0, r"'joints\[4\].lower' is not below 'joints\[4\].upper'"),
        (("joints", 4, "xyz"), [1, 2], r"'joints\[4\].xyz' is \[1, 2\]; expected a list of 3 finite numbers"),
        (("home",), [0.0] * 6, "'home' is .* expected a list of 7 finite numbers"),
        (("workspace", "lower"), [0.8, 0, 0], "'workspace.lower' is not below 'workspace.upper'"),
        (("control_period",), float("nan"), "'control_period' is nan; expected a finite number"),
        (("guard_force",), True, "'guard_force' is True; expected a finite number"),
        (("name",), 7, "'name' is 7; expected a name"),
        (("gripper", "joints"), ["only_one"], "'gripper.joints' is not a list of two joint names"),
        (("guard_forse",), 15.0, "unknown key 'guard_forse'; did you mean 'guard_force'"),
        (("joints", 1, "speed"), 1.0, "unknown key 'speed'"),
        (("gripper", "max_widht"), 1.0, "unknown key 'max_widht'; did you mean 'max_width'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, path: tuple, value: object, reason: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(path, value)))
    with pytest.raises(UserError, match=reason) as error:
        load_profile(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1\n", "\x00"])
def test_what_is_no_profile_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match="robot profile arm") as error:
        load_profile(str(file))
    assert "\n" not in str(error.value)


def test_an_unknown_robot_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown robot 'pandda'; known robots are .*panda"):
        load_profile("pandda")
    with pytest.raises(UserError, match="unknown robot"):
        load_profile(str(tmp_path / "nothing.yaml"))


def test_a_home_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text(yaml.safe_dump(spoiled(("home_tool", "xyz"), [3.0, 0.0, 0.5])))
    with pytest.raises(UserError, match="home_tool cannot be reached"):
        _ = load_profile(str(file)).home
