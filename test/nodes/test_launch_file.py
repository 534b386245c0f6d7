"""launch/grasp.launch.py starts the one list of nodes."""

import ast
from pathlib import Path

import pytest

from mql_ros.nodes.graph import NODES, SERVICES, TOPICS, implied_parameters, nodes_of, parameters_from_words
from mql_ros.nodes.parameters import contradiction

FILE = Path(__file__).resolve().parents[2] / "launch" / "grasp.launch.py"


def test_it_has_no_list_of_its_own() -> None:
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(FILE.read_text())) if isinstance(n, ast.Call)]
    assert calls.count("Node") == 1 and "nodes_of" in calls


def test_the_tables_speak_of_the_same_nodes() -> None:
    names = {entry.name for entry in NODES}
    assert {name for ends in TOPICS.values() for end in ends for name in end} == names
    assert {service.partition("/")[0] for service in SERVICES} <= names
    assert {entry.name for entry in nodes_of(sim=False)} == names - {"arm_simulator"}
    assert implied_parameters("policy_server", sim=False) == {"reset_service": ""}
    assert implied_parameters("policy_server", sim=True) == implied_parameters("grasp_monitor", sim=False) == {}


def test_a_real_arm_is_never_in_lockstep() -> None:
    sentence = contradiction(False, parameters_from_words("policy_server", {"lockstep": "true"}))
    assert sentence is not None and "lockstep:=true needs the simulator" in sentence
    for sim, word in ((True, "true"), (True, "false"), (False, "false")):
        assert contradiction(sim, parameters_from_words("policy_server", {"lockstep": word})) is None
    calls = [ast.unparse(n.func) for n in ast.walk(ast.parse(FILE.read_text())) if isinstance(n, ast.Call)]
    assert "contradiction" in calls


def test_its_arguments_are_described() -> None:
    pytest.importorskip("launch_ros", reason="launch has no wheels; it comes with a stock ROS 2")
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    arguments = get_launch_description_from_python_launch_file(str(FILE)).get_launch_arguments()
    assert {"sim", "robot", "bundle", "object", "lockstep", "seed", "namespace"} <= {a.name for a in arguments}
    assert len(arguments) <= 8 and all(a.description for a in arguments)
