"""The folder of a run: it belongs to one configuration, and goes on where it was left."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.algorithm import small_learner

from mql_ros.core.errors import UserError
from mql_ros.training.run_folder import RunFolder


def folder(path: Path, **configuration: int) -> RunFolder:
    return RunFolder(path, {"seed": 1, "steps": 10} | configuration, robot="panda", task={}, may_change=("steps",))


def test_only_the_settings_named_may_change(tmp_path: Path) -> None:
    folder(tmp_path)
    folder(tmp_path, steps=20)
    with pytest.raises(UserError, match="another configuration"):
        folder(tmp_path, seed=2)


def test_a_point_replaces_those_from_its_place_on(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert run.points() == []
    for steps, score in ((0, 0.1), (5, 0.2), (10, 0.3), (5, 0.4)):
        run.add_point("steps", {"steps": steps, "score": score})
    assert folder(tmp_path).points() == [{"steps": 0, "score": 0.1}, {"steps": 5, "score": 0.4}]


def test_the_clock_goes_on_from_the_last_line_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log.txt").write_text("[    12.0 s] one\n[  3600.5 s] two\n")
    run = folder(tmp_path)
    run.log("three")
    assert 3600.5 <= run.seconds < 3700.0
    assert capsys.readouterr().out == (tmp_path / "log.txt").read_text().splitlines(keepends=True)[-1]


def test_a_checkpoint_comes_back_under_its_name(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert run.load("newest") is None
    for number in range(2):
        run.save("newest", small_learner(), history_blocks=2, extra={"round": number})
    bundle = folder(tmp_path).load("newest")
    assert bundle is not None and bundle.manifest["extra"] == {"round": 1}
    assert bundle.manifest["training"] == {"seed": 1, "steps": 10} and bundle.manifest["robot"] == {"name": "panda"}
