"""Meta-training on grasping: reproducible, resumable, and honest about what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from helpers.rollouts import WorkersHere

from mql_ros.algorithm.experience.session_files import read_sessions
from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.core.errors import UserError
from mql_ros.training.grasping import meta_training
from mql_ros.training.grasping.config import TrainingConfig, load_training_config
from mql_ros.training.grasping.meta_training import Training
from mql_ros.training.run_folder import RunFolder
from mql_sim.objects.catalogue import development_names, held_out_names, training_names

TINY = TrainingConfig(
    trials_per_session=2, history_blocks=2, scripted_sessions=2, rounds=1, sessions_per_round=1, updates=2,
    last_updates=2, batch_sessions=2, validation_objects=1, replay_sessions=2, network={"context_size": 8},
)  # fmt: skip


class KilledError(Exception):
    """Stands for a killed process."""


@pytest.fixture(autouse=True, scope="module")
def workers_here() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meta_training, "Workers", WorkersHere)
        patch.setattr(meta_training, "CHUNK", 1)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, workers_here: None) -> Path:
    return Training(TINY, tmp_path_factory.mktemp("run") / "a", processes=1).run()


@pytest.mark.slow
@pytest.mark.parametrize("last_line", ["round 0: 1/2 sessions", "round 1: 1/1 sessions"])
def test_a_resumed_grasp_training_equals_an_uninterrupted_one_bit_for_bit(
    last_line: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_and_stop(folder: RunFolder, line: str, log: Callable[[RunFolder, str], None] = RunFolder.log) -> None:
        log(folder, line)
        if line.startswith(last_line):
            raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(RunFolder, "log", log_and_stop)
        Training(TINY, tmp_path / "b", processes=1).run()
    one, two = load_bundle(finished), load_bundle(Training(TINY, tmp_path / "b", processes=1).run())
    assert one.manifest["files"] == two.manifest["files"]
    assert one.manifest["measured"] == two.manifest["measured"]
    curves = [(bundle.path.parent / "curve.jsonl").read_text() for bundle in (one, two)]
    assert curves[0] == curves[1]


def test_a_finished_run_is_not_run_again(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WorkersHere, "map_unordered", None)
    monkeypatch.setattr(Training, "_train", None)
    assert Training(TINY, finished.parent, processes=1).run() == finished


def test_the_bundle_says_where_it_comes_from(finished: Path) -> None:
    bundle = load_bundle(finished)
    assert bundle.manifest["seeds"] == {"training": TINY.seed}
    assert bundle.manifest["training"]["rounds"] == TINY.rounds
    assert bundle.manifest["training_objects"] == training_names()
    assert {*held_out_names(), *development_names()}.isdisjoint(bundle.manifest["training_objects"])
    newest = [*read_sessions(finished.parent / "sessions" / "0-000001.npz")]
    newest += read_sessions(finished.parent / "sessions" / "1-000000.npz")
    assert [session.task for session in bundle.make_replay().sessions()] == [session.task for session in newest]


def test_the_result_holds_what_the_page_of_results_shows(finished: Path) -> None:
    result = json.loads((finished.parent / "training_result.json").read_text())
    assert [row["round"] for row in result["validations"]] == [1, 2]
    assert [row["trials"] for row in result["validations"]] == [4, 6]
    assert {"development_objects", "development_objects_context_zeroed"} == set(result["measured"])
    for score in result["measured"].values():
        assert len(score["success_by_trial"]) == TINY.trials_per_session and score["sessions"] == 1
    assert result["config"]["seed"] == TINY.seed and result["hardware"]["device"] == "cpu"


def test_checkpoints_and_session_files_are_small(finished: Path) -> None:
    files = [file for file in finished.parent.rglob("*") if file.is_file()]
    assert all(file.stat().st_size < 2_000_000 for file in files)
    a_trial = np.mean([file.stat().st_size for file in files if file.suffix == ".npz"]) / TINY.trials_per_session
    assert a_trial < 5_000


def test_a_training_folder_belongs_to_one_configuration(finished: Path) -> None:
    with pytest.raises(UserError, match="another configuration"):
        Training(replace(TINY, seed=2), finished.parent, processes=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roundz: 3", "did you mean 'rounds'"),
        ("rounds: many", "expected an integer"),
        ("updates: 0", "at least 1"),
        ("history_blocks: 3", "trials_per_session - 1"),
        ("exploration: []", "at least one share"),
        ("network: {contextsize: 3}", "did you mean 'context_size'"),
        ("- 1", "key: value"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_training_config(str(path))


def test_the_configuration_that_ships_is_that_of_the_shipped_policy() -> None:
    root = Path(__file__).resolve().parents[2]
    config = asdict(load_training_config(str(root / "config" / "training" / "grasp.yaml")))
    assert json.loads(json.dumps(config)) == load_bundle(root / "models" / "grasp").manifest["training"]
