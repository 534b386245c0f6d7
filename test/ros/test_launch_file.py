"""launch/grasp.launch.py starts the one list of nodes; the files beside it choose a robot for it."""

import ast
from pathlib import Path

import pytest
import yaml

from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.grasping.robot.profile import Topics
from mql_ros.ros.base.parameters import contradiction, parameter_table, parameters_from_words, parameters_of_file
from mql_ros.ros.bringup.node_table import NODES, SERVICES, endpoints, implied_parameters, nodes_of

FOLDER = Path(__file__).resolve().parents[2] / "launch"
FILE = FOLDER / "grasp.launch.py"
PROFILES = {path.stem: yaml.safe_load(path.read_text()) for path in share_path("config", "robots").glob("*.yaml")}
ROBOTS = sorted(name for name, profile in PROFILES.items() if "based_on" not in profile)
"""Other profiles are variants of these, `robot:=NAME`."""
ARGUMENTS = {"sim", "robot", "object", "bundle", "namespace", "rviz", "lockstep", "params_file"}


def calls() -> list[str]:
    return [ast.unparse(n.func) for n in ast.walk(ast.parse(FILE.read_text())) if isinstance(n, ast.Call)]


def test_it_has_no_list_of_its_own() -> None:
    assert calls().count("LifecycleNode") == 1 and "nodes_of" in calls()


def test_the_tables_speak_of_the_same_nodes() -> None:
    names = {entry.name for entry in NODES if not entry.rviz_only}
    assert {name for ends in endpoints(Topics()).values() for end in ends for name in end} == names
    assert {service.partition("/")[0] for service in SERVICES} <= names
    assert {entry.name for entry in nodes_of(sim=False)} == names - {"arm_simulator"}
    assert {entry.name for entry in nodes_of(sim=True, rviz=True)} == {entry.name for entry in NODES}
    assert implied_parameters("policy_server", sim=True)["reset_service"] in SERVICES
    assert implied_parameters("grasp_monitor", sim=True) == {}


def test_what_is_not_said_to_be_the_simulator_is_a_real_arm() -> None:
    assert all(implied_parameters(entry.name, sim=False) == {} for entry in NODES)
    defaults = {name: spec.default for name, spec in parameter_table()["policy_server"].items()}
    assert defaults["require_check"] is True and defaults["sim"] is False and defaults["lockstep"] is False
    assert defaults["reset_service"] == "" and defaults["watchdog"] == 0.1


def test_each_node_is_brought_up_after_those_that_it_needs() -> None:
    order = [entry.name for entry in NODES]
    assert order[0] == "arm_simulator" and order[-1] == "scene_markers"
    # The policy server is the one that moves something: all that it waits for is there before it.
    others = {name for entry in endpoints(Topics()).values() for end in entry for name in end} - {"policy_server"}
    assert all(order.index(name) < order.index("policy_server") for name in others)


def test_a_real_arm_is_never_in_lockstep() -> None:
    sentence = contradiction(False, parameters_from_words("policy_server", {"lockstep": "true"}))
    assert sentence is not None and "lockstep:=true needs the simulator" in sentence
    for sim, word in ((True, "true"), (True, "false"), (False, "false")):
        assert contradiction(sim, parameters_from_words("policy_server", {"lockstep": word})) is None
    assert "contradiction" in calls()


@pytest.mark.parametrize("section", ["/**", "policy_server", "/left/policy_server"])
def test_a_file_cannot_make_a_simulation_of_a_real_arm_or_the_reverse(section: str, tmp_path: Path) -> None:
    file = tmp_path / "day.yaml"
    sections = {"/**": {"ros__parameters": {"limit_scale": 0.1}}}
    file.write_text(yaml.safe_dump(sections))
    assert parameters_of_file(str(file)) == {"limit_scale"}
    file.write_text(yaml.safe_dump(sections | {section: {"ros__parameters": {"sim": True}}}))
    with pytest.raises(UserError, match="sets 'sim'; leave it out"):
        parameters_of_file(str(file))
    file.write_text(yaml.safe_dump({section: {"sim": True}}))
    with pytest.raises(UserError, match="holds no section"):
        parameters_of_file(str(file))
    assert "parameters_of_file" in calls()


@pytest.mark.parametrize("robot", ROBOTS)
def test_each_robot_has_a_file_that_only_chooses_it(robot: str) -> None:
    tree = ast.parse((FOLDER / f"{robot}.launch.py").read_text())
    declared = [
        (node.args[0].value, next(k.value.value for k in node.keywords if k.arg == "default_value"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "DeclareLaunchArgument"
    ]
    assert declared == [("robot", robot)]
    assert "'grasp.launch.py'" in ast.unparse(tree)


def test_rviz_shows_what_is_published() -> None:
    config = yaml.safe_load((share_path("config", "rviz") / "grasp.rviz").read_text())
    topics = {
        value["Value"]
        for display in config["Visualization Manager"]["Displays"]
        for key, value in display.items()
        if key.endswith("Topic") and isinstance(value, dict)
    }
    # Relative names, so that a namespace shows its own arm.
    assert topics == {"robot_description", "scene_markers", "object_view", "camera/image_raw"}


@pytest.mark.parametrize("name", ["grasp", *ROBOTS])
def test_its_arguments_are_described(name: str) -> None:
    pytest.importorskip("launch_ros", reason="launch has no wheels; it comes with a stock ROS 2")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    arguments = get_launch_description_from_python_launch_file(str(FOLDER / f"{name}.launch.py")).get_launch_arguments()
    by_name = {argument.name: argument for argument in arguments}
    assert set(by_name) == ARGUMENTS and len(by_name) <= 8
    assert all(argument.description for argument in arguments)
    for switch in ("sim", "rviz", "lockstep"):
        assert by_name[switch].choices == ["true", "false"]
