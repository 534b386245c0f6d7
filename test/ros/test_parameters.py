"""Parameters of the nodes: each is described, in its range and used; those of the adaptation come from its settings."""

import ast
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig
from mql_ros.core.errors import UserError
from mql_ros.core.resources import share_path
from mql_ros.core.settings import descriptions
from mql_ros.ros.base.parameters import (
    ADAPTATION,
    ParameterSpec,
    parameter_table,
    parameters_from_words,
    parameters_of,
    read_table,
    unknown_parameter,
)
from mql_ros.ros.bringup.node_table import NODES
from mql_ros.ros.policies.adaptation_job import config_values
from mql_sim.benches import Bench
from mql_sim.driver.arm_simulator import BENCH, bench_of

ROOT = Path(__file__).resolve().parents[2]


def test_each_node_has_its_section_and_each_number_its_range() -> None:
    assert set(parameter_table()) == {entry.name for entry in NODES}
    for table in parameter_table().values():
        for spec in table.values():
            assert spec.description.endswith("."), spec.name
            is_number = isinstance(spec.default, int | float) and not isinstance(spec.default, bool)
            assert (spec.range is not None) == is_number, spec.name


@pytest.mark.parametrize("entry", NODES, ids=lambda entry: entry.name)
def test_each_parameter_is_used_and_each_used_one_exists(entry) -> None:
    spec = find_spec(entry.module)
    assert spec is not None and spec.origin is not None
    source = Path(spec.origin).read_text()
    if "DriverInputs(" in source:
        source += (ROOT / "mql_ros/ros/driver/driver_inputs.py").read_text()
    if "check_refusal(" in source:
        source += (ROOT / "mql_ros/ros/driver/permission.py").read_text()
    source += (ROOT / "mql_ros/ros/base/node.py").read_text()
    used = {
        ast.literal_eval(node.args[0])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] == "setting"
        and isinstance(node.args[0], ast.Constant)
    }
    described = {name for name in parameter_table()[entry.name] if not name.startswith(ADAPTATION)}
    assert used == described


def test_the_adaptation_parameters_mirror_the_configuration() -> None:
    manager = parameter_table()["adaptation_manager"]
    names = {name.removeprefix(ADAPTATION) for name in manager if name.startswith(ADAPTATION)}
    assert names == {field.name for field in fields(AdaptationConfig)}
    listed = read_table(share_path("config", "nodes.yaml"))["adaptation_manager"]
    assert not any(name.startswith(ADAPTATION) for name in listed)
    for name in names:
        assert manager[ADAPTATION + name].description.startswith(descriptions(AdaptationConfig)[name])


def test_config_adaptation_yaml_gives_the_defaults() -> None:
    import yaml

    tuned = yaml.safe_load(share_path("config", "adaptation.yaml").read_text())
    manager = parameter_table()["adaptation_manager"]
    settings = {n.removeprefix(ADAPTATION): s.default for n, s in manager.items() if n.startswith(ADAPTATION)}
    assert AdaptationConfig(**config_values(settings)) == AdaptationConfig(**tuned)


def test_adaptation_settings_as_words() -> None:
    assert config_values({"proximal": "0.5"})["proximal"] == 0.5
    assert config_values({"proximal": "ess", "step_size": 0.0})["step_size"] is None
    with pytest.raises(UserError, match="'ess' or a number"):
        config_values({"proximal": "much"})


def test_values_are_taken_where_nothing_is_lost_and_refused_otherwise() -> None:
    share = ParameterSpec("share", 0.5, "A share.", range=(0.0, 1.0))
    assert share.coerced(1) == 1.0 and isinstance(share.coerced(1), float)
    assert share.complaint(1.5) == "parameter 'share' is 1.5; expected 0.0 to 1.0"
    assert share.complaint(float("nan")) is not None
    assert "expected a finite number" in (share.complaint("half") or "")
    count = ParameterSpec("count", 1, "A count.", range=(0, 5))
    assert count.complaint(2) is None
    assert "expected an integer" in (count.complaint(2.0) or "")
    assert "expected an integer" in (count.complaint(True) or "")
    word = ParameterSpec("word", "a", "A word.", choices=("a", "b"))
    assert word.complaint("c") == "parameter 'word' is 'c'; expected a or b"
    assert ParameterSpec("name", "x", "A name.").coerced(7) == "7"


def test_a_wrong_name_is_told_with_the_nearest() -> None:
    assert unknown_parameter(["use_sim_time", "trials", "qos_overrides./tf"]) is None
    assert unknown_parameter(["trails"]) == "unknown parameter 'trails'; did you mean 'trials'?"


def test_a_wrong_table_is_one_sentence(tmp_path: Path) -> None:
    cases = {
        "deflaut": "n: {parameters: {a: {deflaut: 1, description: x}}}",
        "does not fit": "n: {parameters: {a: {default: 7, description: x, range: [0, 5]}}}",
        "KeyError": "n: {parameters: {a: {default: 7}}}",
        "cannot be used": "n: [",
    }
    for words, text in cases.items():
        (tmp_path / "nodes.yaml").write_text(text)
        with pytest.raises(UserError, match=words):
            read_table(tmp_path / "nodes.yaml")


def test_the_simulated_bench_is_that_of_training_unless_parameters_change_it() -> None:
    table = parameter_table()["arm_simulator"]
    assert bench_of(lambda name: table[name].default) == Bench()
    changed = [bench_of(lambda other: 0.09 if other == name else table[other].default) for name in BENCH]  # noqa: B023
    assert len({Bench(), *changed}) == 1 + len(BENCH), "each parameter is one of the bench"


def test_launch_arguments_become_typed_values() -> None:
    words = {"lockstep": "true", "seed": "7", "object": "7up.urdf", "robot": "panda", "bundle": ""}
    assert parameters_from_words("arm_simulator", words) == {
        "robot": "panda", "lockstep": True, "object": "7up.urdf", "seed": 7,
    }  # fmt: skip
    with pytest.raises(UserError, match="'seed' is 'abc'; expected an integer"):
        parameters_from_words("arm_simulator", {"seed": "abc"})
    assert parameters_of("grasp_monitor", {"view_wait": 1, "seed": 3}) == {"view_wait": 1.0}
