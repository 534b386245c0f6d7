"""`mql demo`: bad input is refused in one sentence, and the report holds what it was given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.evaluation import save_small_policy

from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.cli import main as cli
from mql_ros.core.resources import share_path
from mql_ros.grasping.task.spaces import VIEW_CELLS, heights_of
from mql_ros.reporting.demo import Demo
from mql_ros.reporting.demo_report import Look, ObjectRun, PhaseRun, build_report
from mql_sim.objects.catalogue import find_thing


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--object", "botle"], "did you mean bottle"),
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


def test_the_report_is_one_page_with_everything() -> None:
    run = ObjectRun("vase <1>", True, "fragile & tall")
    for name in ("zero-shot", "context", "adapted"):
        run.phases[name] = PhaseRun(name, [True, False], [0.9, -0.2])
    run.adaptation = {"new_trials": 4, "effective_sample_size": 0.25, "proximal_coefficient": 0.75}
    run.adaptation |= {
        "mean_importance_ratio": {f"random-{number:03d}": number / 10 for number in range(30)},
        "messages": ["nothing skipped"],
    }
    run.pictures.append(("closed", b"\x89PNG"))
    heights = np.zeros((VIEW_CELLS, VIEW_CELLS), dtype=np.float32)
    grasps = np.array([[0.0, 0.01, 0.03, 0.2], [0.02, 0.0, 0.03, -0.5]])
    run.looks.append(Look("first trial", heights, grasps, np.array([0.25, 0.75], dtype=np.float32)))
    page = build_report([run], {"policy": "grasp"})
    for expected in (
        "vase &lt;1&gt;",
        "fragile &amp; tall",
        "1 of 2",
        "data:image/png;base64,",
        "0.75",
        "nothing skipped",
        "first trial: value 0.75, rivals' best 0.25",
        "16 of 30 training objects",
    ):
        assert expected in page
    assert page.count("<svg") == 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_the_mesh_of_the_demo_is_an_object() -> None:
    bracket = find_thing(str(share_path("config", "objects", "example_bracket.obj")))
    np.testing.assert_allclose(bracket.size, [0.065, 0.032, 0.055], atol=1e-6)
    assert 0.005 < bracket.mass < 0.1 and len(bracket.solid.parts) > 1


def test_the_demo_shows_what_the_policy_chose_between(tmp_path: Path) -> None:
    policy = save_small_policy(tmp_path / "policy")
    replay = load_bundle(policy).make_replay()
    session = next(iter(replay.sessions()))
    fields = ("observation", "action", "reward", "next_observation", "done")
    history = [SimpleNamespace(**{name: getattr(session, name)[row] for name in fields}) for row in range(len(session))]
    demo = Demo(["bottle"], 1, 0, policy, "panda", tmp_path, 0.0)
    first, later = demo.look("first trial", [], history[0]), demo.look("later", history, history[0])
    assert first.grasps.shape == (len(first.values), 4) and len(first.values) > 16
    np.testing.assert_array_equal(first.grasps, later.grasps)
    assert not np.array_equal(first.values, later.values), "the context counts"
    np.testing.assert_allclose(first.heights, heights_of(history[0].observation))
