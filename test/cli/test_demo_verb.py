"""`mql demo`: bad input is refused in one sentence, and the report holds what it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.cli import main as cli
from mql_ros.core.errors import UserError
from mql_ros.reporting.demo_report import ObjectRun, PhaseRun, build_report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--object", "botle"], "did you mean 'bottle'"),
        (["--object", "missing.urdf"], "missing.urdf"),
        (["--trials", "0"], "expected 1 to 200"),
        (["--seed", "-1"], "expected 0 to"),
        (["--policy", "nowhere"], "not a policy bundle"),
    ],
)
def test_bad_input_leaves_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main(["demo", "--out", str(tmp_path / "out"), *arguments])
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_occupied_directory_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert cli.main(["demo", "--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_adaptation_settings_name_a_wrong_key() -> None:
    with pytest.raises(UserError, match="did you mean 'new_updates'"):
        load_adaptation(["new_update=3"])
    config, exploration = load_adaptation(["new_updates=3", "exploration_noise=0.1"])
    assert (config.new_updates, exploration.noise) == (3, 0.1)


def test_the_report_is_one_page_with_everything() -> None:
    run = ObjectRun("vase <1>", True, "fragile & tall")
    for name in ("zero-shot", "context", "adapted"):
        run.phases[name] = PhaseRun(name, [True, False], [0.9, -0.2])
    run.adaptation = {"new_trials": 4, "effective_sample_size": 0.25, "proximal_coefficient": 0.75}
    run.adaptation |= {
        "mean_importance_ratio": {"mug": 1.5, "procedural-0001": 0.1},
        "messages": ["nothing skipped"],
        "symmetry_sessions": 7,
    }
    run.pictures.append(("closed", b"\x89PNG"))
    page = build_report([run], {"policy": "grasp"}, {"mug": "handle", "procedural-0001": "top"})
    for expected in (
        "vase &lt;1&gt;",
        "fragile &amp; tall",
        "1 of 2",
        "data:image/png;base64,",
        "0.75",
        "nothing skipped",
        "7 old sessions, moved",
    ):
        assert expected in page
    assert page.count("<svg") == 2
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
