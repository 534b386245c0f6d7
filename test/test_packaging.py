"""The package as a whole: what depends on what, what is declared, and how the command line meets the user."""

import ast
import os
import re
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import mql_ros
from mql_ros.cli import main as cli
from mql_ros.core import resources
from mql_ros.core.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SETUP = (ROOT / "setup.py").read_text()
MODULES = sorted(path.relative_to(ROOT) for room in ("mql_ros", "sim") for path in (ROOT / room).rglob("*.py"))

# The layers, lowest first: a room imports from its own layer and from those below it. The longest prefix counts.
LAYERS = (
    ("mql_ros", "mql_ros.core"),
    ("mql_ros.algorithm",),
    ("mql_ros.grasping",),
    ("mql_sim", "mql_ros.ros", "mql_ros.ros.base", "mql_ros.ros.messages"),
    ("mql_ros.ros.driver",),
    ("mql_ros.ros.trials", "mql_ros.ros.policies"),
    ("mql_ros.ros.nodes", "mql_ros.ros.bringup"),
    ("mql_sim.driver.arm_simulator", "mql_ros.rollouts"),
    ("mql_ros.training", "mql_ros.evaluation"),
    ("mql_ros.bench", "mql_ros.reporting"),
    ("mql_ros.cli",),
)
# What a room must not import though its layer allows it.
APART = {
    "mql_ros.ros": ("mql_sim",),
    "mql_ros.ros.base": ("mql_ros.ros.messages",),
    "mql_ros.ros.messages": ("mql_ros.ros.base",),
    "mql_ros.ros.nodes": ("mql_ros.ros.bringup",),
    "mql_ros.ros.bringup": ("mql_ros.ros.nodes",),
    "mql_sim": ("mql_ros.ros",),
    "mql_ros.training": ("mql_ros.evaluation",),
}
# The one ROS node of a room that otherwise knows no ROS.
EXEMPT = "mql_sim.driver.arm_simulator"
# The rooms that may import these; torch is not needed to move an arm, nor ROS to learn.
ROOMS_WITH = {
    "rclpy": ("mql_ros.ros", "mql_sim.driver.arm_simulator", "mql_ros.bench", "mql_ros.cli"),
    "pybullet": ("mql_sim",),
}

# Where the import has another name than the distribution.
DISTRIBUTIONS = {"PIL": "pillow", "pybullet_data": "pybullet", "pybullet_utils": "pybullet", "yaml": "pyyaml"}
OPTIONAL = {"ament_index_python", "control_msgs", "rosbag2_py", "tf2_ros"}  # imported only if present


def imports(module: Path) -> set[str]:
    """Every module and name that a file imports, anywhere in it, as dotted names."""
    found = set()
    package = ("mql_sim", *module.parts[1:-1]) if module.parts[0] == "sim" else module.parts[:-1]
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join([*above, *([node.module] if node.module else [])])
            found |= {origin} | {f"{origin}.{alias.name}" for alias in node.names}
    return found


def below(name: str, room: str) -> bool:
    return f"{name}.".startswith(f"{room}.")


def layer(name: str) -> int:
    return max((len(room), number) for number, rooms in enumerate(LAYERS) for room in rooms if below(name, room))[1]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_one_way(module: Path) -> None:
    name = module.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    name = re.sub(r"^sim\b", "mql_sim", name)
    ours = {other for other in imports(module) if other.startswith(("mql_ros.", "mql_sim."))}
    apart = [no for room, no in APART.items() if below(name, room) and name != EXEMPT]
    wrong = {other for other in ours if layer(other) > layer(name)}
    wrong |= {other for other in ours for rooms in apart for room in rooms if below(other, room)}
    assert not wrong, f"{module} imports {sorted(wrong)}, which lies above it or beside it"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_rooms_that_need_neither_ros_nor_simulator_import_neither(module: Path) -> None:
    name = re.sub(r"^sim\b", "mql_sim", module.with_suffix("").as_posix().replace("/", "."))
    for package, rooms in ROOMS_WITH.items():
        if any(below(other, package) for other in imports(module)):
            assert any(below(name, room) for room in rooms), f"{module} imports {package}"


def test_what_is_imported_is_declared() -> None:
    declared = {element.text for element in ElementTree.parse(ROOT / "package.xml").iter("exec_depend")}
    declared |= set(re.findall(r'^ +"([a-z0-9]+)",$', SETUP, re.MULTILINE)) | OPTIONAL
    imported = {name.partition(".")[0] for module in MODULES for name in imports(module)}
    imported -= {"mql_ros", "mql_sim", *sys.stdlib_module_names}
    undeclared = {DISTRIBUTIONS.get(name, name) for name in imported} - declared
    assert not undeclared, f"name {undeclared} in package.xml (ROS packages) or in setup.py and package.xml (others)"


BY_OTHERS = {"pycollada"}
"""Declared, and imported by what we import: trimesh reads DAE files with it."""


def test_what_is_declared_is_imported() -> None:
    required = re.search(r"install_requires=\[(.*?)\]", SETUP, re.DOTALL)
    assert required is not None
    declared = set(re.findall(r'"([a-z0-9]+)"', required[1]))
    imported = {name.partition(".")[0] for module in MODULES for name in imports(module)}
    assert "numpy" in declared and declared <= BY_OTHERS | {DISTRIBUTIONS.get(name, name) for name in imported}


def test_versions_agree() -> None:
    manifest = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert f'version="{manifest}"' in SETUP
    assert mql_ros.__version__ == manifest


def test_each_program_has_its_module() -> None:
    table = next(node for node in ast.parse(SETUP).body if ast.unparse(node).startswith("PROGRAMS ="))
    assert isinstance(table, ast.Assign)
    programs = ast.literal_eval(table.value)
    assert {"mql", "policy_server"} <= set(programs)
    files = [name.replace("mql_sim", "sim").replace(".", "/") + ".py" for name in programs.values()]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_each_verb_has_its_module() -> None:
    files = {verb: ROOT / "mql_ros" / "cli" / f"{verb.replace('-', '_')}.py" for verb in cli.VERBS}
    assert [verb for verb, file in files.items() if not file.exists()] == []


def test_help_does_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from mql_ros.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'pybullet', 'rclpy', 'numpy'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert all(verb in result.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("words", [["fly"], [], ["--no-such-option"]])
def test_a_wrong_command_exits_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "mql: error:" in capsys.readouterr().err


def test_a_verb_without_its_module_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.VERBS, "juggle", "keep objects in the air")
    assert cli.main(["juggle"]) == 2
    assert capsys.readouterr().err.startswith("mql: error: the verb 'juggle' is missing")


@pytest.mark.parametrize(
    ("outcome", "code", "message"),
    [
        (UserError("there is no object 'moon'"), 2, "mql: error: there is no object 'moon'\n"),
        (KeyboardInterrupt(), 130, "mql: interrupted\n"),
        (ModuleNotFoundError(name="rclpy"), 2, "mql: error: the Python package 'rclpy' is missing; source the setup"),
        (ModuleNotFoundError(name="torch"), 2, "mql: error: the Python package 'torch' is missing; install mql_ros"),
    ],
    ids=["user error", "interrupt", "no ROS", "no torch"],
)
def test_what_goes_wrong_is_one_sentence(
    outcome: BaseException,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(arguments: object) -> int:
        raise outcome

    verb = types.SimpleNamespace(HELP="", add_arguments=lambda parser: None, main=fail)
    monkeypatch.setitem(sys.modules, "mql_ros.cli.objects", verb)
    assert cli.main(["objects"]) == code
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_share_path_prefers_the_ament_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "share" / "mql_ros" / "config" / "nodes.yaml"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("AMENT_PREFIX_PATH", os.pathsep.join(["/nonexistent", str(tmp_path)]))
    assert resources.share_path("config", "nodes.yaml") == file
    assert resources.share_path("config") == file.parent


def test_share_path_says_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"config/no_such_file\.yaml"):
        resources.share_path("config", "no_such_file.yaml")
