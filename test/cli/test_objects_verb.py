import json
from pathlib import Path

import pytest

from mql_ros.cli import main as cli
from mql_sim.objects.household import HOUSEHOLD

CASES = Path(__file__).parents[1] / "data" / "objects"


def test_the_list_names_every_household_object_and_the_numbered_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objects"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in HOUSEHOLD:
        assert any(line.startswith(name) for line in lines)
    assert any("hard-0399 are trained on" in line for line in lines)


def test_the_check_finds_a_grasp_of_a_graspable_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "check.json"
    assert cli.main(["objects", "can", str(CASES / "cube_45deg.urdf"), "--check", "--json", str(file)]) == 0
    report = json.loads(file.read_text())["objects"]
    assert set(report) == {"can", str(CASES / "cube_45deg.urdf")}
    for facts in report.values():
        assert facts["success"] and facts["reason"] == "" and set(facts["grasp"]) == {"x", "y", "z", "yaw"}
    assert "why not" in capsys.readouterr().out


def test_the_check_says_why_an_object_cannot_be_grasped(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    board = '<robot name="b"><link name="l"><collision><geometry><box size="0.2 0.2 0.02"/></geometry></collision>'
    file = tmp_path / "board.urdf"
    file.write_text(board + "</link></robot>")
    assert cli.main(["objects", str(file), "--check"]) == 1
    assert "at most 160 mm can be grasped" in capsys.readouterr().out


def test_a_folder_stands_for_the_urdf_files_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objects", str(CASES / "same_name")]) == 0
    out = capsys.readouterr().out
    assert "box1.urdf" in out and "box2.urdf" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["botle"], "did you mean bottle"),
        (["no.urdf"], "no.urdf"),
        (["can", "--mass", "1"], "'can' is no file"),
        (["can", "--check", "--robot", "r2d2"], "unknown robot 'r2d2'"),
        (["--json", "/no/such/folder/file.json"], "there is no directory /no/such/folder"),
        (["--json", "/"], "/ is a directory"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objects", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mql: error: ") and reason in error and error.count("\n") == 1
