"""`mql demo`: bad input is refused in one sentence, and the report holds what it was given."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.evaluation import save_small_policy
from PIL import Image

from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.cli import main as cli
from mql_ros.core.resources import share_path
from mql_ros.grasping.task.spaces import (
    OBSERVATION_SIZE,
    SIGNAL_NAMES,
    VIEW_CELLS,
    VIEW_SIZE,
    WEIGHT_SCALE,
    heights_of,
    lifting_action,
)
from mql_ros.reporting.demo import FILM_SIDE, Demo, filmstrip, joined
from mql_ros.reporting.demo_report import Look, ObjectRun, PhaseRun, build_report
from mql_ros.reporting.recall import Felt, OldObject, Recall, recall_of
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
    run = ObjectRun("vase <1>", True, "fragile & tall", b"\x89PNG")
    for name in ("before", "context", "adapted"):
        run.phases[name] = PhaseRun(name, [True, False], [0.9, -0.2])
    run.adaptation = {"new_trials": 4, "effective_sample_size": 0.25, "messages": ["nothing skipped"]}
    run.films.append(("first trial", [("closed", b"\x89PNG")]))
    heights = np.zeros((VIEW_CELLS, VIEW_CELLS), dtype=np.float32)
    grasps = np.array([[0.0, 0.01, 0.03, 0.2], [0.02, 0.0, 0.03, -0.5]])
    run.looks.append(Look("nothing felt yet", heights, grasps, np.array([0.25, 0.75], dtype=np.float32)))
    old = [OldObject(f"old-{number}", number / 7, b"\x89PNG") for number in (3, 1)]
    run.recall = Recall(old[:1], old[1:], 30, [Felt("vase", None, 12.34)])
    page = build_report([run], {"policy": "grasp"})
    for expected in (
        "vase &lt;1&gt;", "fragile &amp; tall", "1 of 2", "data:image/png;base64,", "nothing skipped", "0.25",
        "Nothing felt yet", "value 0.75, best rival 0.25", "old-3<br>&beta; = 0.43", "<td>–</td><td>12.3</td>",
    ):  # fmt: skip
        assert expected in page, expected
    assert page.count("<svg") == 1 and page.count("class='mark won'") == 3
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )


def test_recall_ranks_old_objects_and_weighs_what_was_felt_in_their_lifts() -> None:
    """Two trials a session, of which only the second succeeds."""
    weight = VIEW_SIZE + SIGNAL_NAMES.index("weight")
    ratios = {f"random-{number:03d}": number / 20 for number in range(20)}

    def session(name: str, newtons: float, force: float) -> Session:
        seen = np.zeros((6, OBSERVATION_SIZE), dtype=np.float32)
        following = seen.copy()
        following[:, weight] = [0, 0, 9, 0, 0, newtons / WEIGHT_SCALE]
        action = np.tile(lifting_action(force, 0.2), (6, 1)).astype(np.float32)
        done = np.array([0, 0, 1] * 2, dtype=bool)
        return Session(name, seen, action, np.array([0, 0, 0, 0, 0, 1.0]), following, done, done, np.arange(6) // 3)

    old = [session("random-019", 8.0, 20.0), session("random-001", 2.0, 2.0), session("not-in-the-pool", 99.0, 39.0)]
    found = recall_of("bottle", session("new", 10.0, 30.0), old, ratios)
    assert [one.name for one in found.most] == [f"random-{number:03d}" for number in range(19, 11, -1)]
    assert [one.name for one in found.least] == ["random-003", "random-002", "random-001", "random-000"]
    assert [row.weight for row in found.felt] == pytest.approx([10.0, 5.0, (19 * 8.0 + 2.0) / 20])
    assert [row.force for row in found.felt] == pytest.approx([30.0, 11.0, (19 * 20.0 + 2.0) / 20], rel=1e-5)


def test_a_filmstrip_shows_the_moments_of_a_trial() -> None:
    taken = [(0.1 * k, np.full((4, 4, 3), k, dtype=np.uint8)) for k in range(41)]
    steps = [SimpleNamespace(stamp=stamp) for stamp in (1.5, 2.5, 4.0)]
    film = filmstrip(taken, steps, lifted=False)
    shown = [int(np.asarray(Image.open(io.BytesIO(png)))[0, 0, 0]) for _, png in film]
    assert shown == [0, 9, 15, 25, 40] and film[-1][0] == "not lifted"
    assert filmstrip([], steps, lifted=True) == []
    pictures = [png for _, png in film]
    whole = np.asarray(Image.open(io.BytesIO(joined([pictures, pictures]))))
    assert whole.shape == (2 * FILM_SIDE, 5 * FILM_SIDE, 3)
    assert whole[::FILM_SIDE, ::FILM_SIDE, 0].tolist() == [shown, shown]


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
