import json
from pathlib import Path

import pytest

from mql_ros.cli import bench
from mql_ros.cli import main as cli


def test_the_numbers_stand_beside_their_baselines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bench.json"
    assert cli.main(["bench", "--only", "simulator", "action", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert {"simulator_speed", "trial", "action"} <= set(report)
    for entry in report.values():
        assert {"value", "baseline", "ratio", "unit"} <= set(entry)
        assert entry["value"] > 0 and entry["ratio"] > 0
    assert report["simulator_speed"]["baseline"] == 40.0
    fast = report["simulator_speed"]
    assert fast["ratio"] == pytest.approx(fast["value"] / 40.0), "more is better"
    quick = report["action"]
    assert quick["ratio"] == pytest.approx(quick["baseline"] / quick["value"]), "less is better"


def test_without_a_bundle_adaptation_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench.Subject, "bundle", None)
    assert cli.main(["bench", "--only", "adaptation"]) == 0
    assert capsys.readouterr().out == "adaptation: no bundle: train one, or name one with --bundle\n"


def test_a_wrong_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--bundle", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mql: error: ") and "not a policy bundle" in error and error.count("\n") == 1
