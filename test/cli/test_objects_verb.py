import json
from pathlib import Path

import pytest

from mql_ros.cli import main as cli
from mql_ros.evaluation import object_check
from mql_sim.objects.catalogue import HELD_OUT_NAMED, TRAINING_NAMED


def test_the_list_names_every_object_and_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objects"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in TRAINING_NAMED:
        assert any(line.startswith(name) and "training" in line for line in lines)
    for name in HELD_OUT_NAMED:
        assert any(line.startswith(name) and "held out" in line for line in lines)
    assert any("procedural-0399 for training" in line for line in lines)


@pytest.mark.slow
def test_the_check_of_some_objects(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "check.json"
    words = ["objects", "--check", "--objects", "bottle", "procedural-0005", "--trials", "6", "--json", str(file)]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "right parameters" in out and "held out" in out
    report = json.loads(file.read_text())
    assert report["passed"] is True and set(report["objects"]) == {"bottle", "procedural-0005"}
    bottle = report["objects"]["bottle"]
    assert bottle["right"]["successes"] == bottle["right"]["trials"] == 6
    assert bottle["wrong"]["rate"] < 0.5 and len(bottle["wrong"]["interval"]) == 2
    assert list(tmp_path.iterdir()) == [file]


def test_an_object_that_cannot_be_grasped_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(object_check, "successes", lambda task, spec, assumed, trials, seed: trials - 1)
    assert cli.main(["objects", "--check", "--objects", "can", "--trials", "10"]) == 1
    assert "below 95% with the right parameters: can" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--objects", "botle"], "did you mean 'bottle'"),
        (["--objects", "no.urdf"], "object no.urdf: the file cannot be read"),
        (["--check", "--trials", "0"], "--trials is 0; expected 1 or more"),
        (["--check", "--robot", "r2d2"], "unknown robot 'r2d2'"),
        (["--json", "/no/such/folder/file.json"], "there is no directory /no/such/folder"),
        (["--json", "/"], "/ is a directory"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["objects", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mql: error: ") and reason in error and error.count("\n") == 1
