"""Meta-training: reproducible, resumable, and honest about what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mql_ros.algorithm.experience.session_files import read_sessions, write_sessions
from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.core.errors import UserError
from mql_ros.training.grasping.config import TrainingConfig, load_training_config
from mql_ros.training.grasping.meta_training import Training
from mql_ros.training.run_folder import RunFolder
from mql_sim.objects.catalogue import HELD_OUT_NAMED, development_names, training_names

TINY = TrainingConfig(
    trials_per_session=2, history_blocks=2, demonstration_sessions=2, clone_updates=3, rounds=2, sessions_per_round=1,
    updates_per_round=3, batch_blocks=4, critic_warmup_updates=2, validate_every=2, averaged_rounds=2,
    validation_objects=1, measured_objects=1, replay_sessions=3, network={"context_size": 8, "hidden_sizes": (16, 16)},
)  # fmt: skip


class KilledError(Exception):
    """Stands for a killed process."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Training(TINY, tmp_path_factory.mktemp("run") / "a", processes=1).run()


@pytest.mark.slow
def test_a_resumed_grasp_training_equals_an_uninterrupted_one_bit_for_bit(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def log_and_stop(folder: RunFolder, line: str, log: Callable[[RunFolder, str], None] = RunFolder.log) -> None:
        log(folder, line)
        if line.startswith("round 1/"):  # right after the checkpoint of the first round
            raise KilledError

    with monkeypatch.context() as patched, pytest.raises(KilledError):
        patched.setattr(RunFolder, "log", log_and_stop)
        Training(TINY, tmp_path / "b", processes=1).run()
    first = load_bundle(tmp_path / "b" / "newest").make_learner()
    resumed = Training(TINY, tmp_path / "b", processes=1).run()
    last, mean = (load_bundle(tmp_path / "b" / name).make_learner() for name in ("newest", "averaged"))
    for one_end, other_end, middle in zip(*(p.actor.parameters() for p in (first, last, mean)), strict=True):
        assert torch.allclose(middle, (one_end + other_end) / 2, atol=1e-6) and not torch.equal(one_end, other_end)
    one, two = load_bundle(finished), load_bundle(resumed)
    assert one.manifest["files"] == two.manifest["files"]
    assert one.manifest["measured"] == two.manifest["measured"]
    curves = [(bundle.path.parent / "curve.jsonl").read_text() for bundle in (one, two)]
    assert curves[0] == curves[1]


def test_the_bundle_says_where_it_comes_from(finished: Path) -> None:
    manifest = load_bundle(finished).manifest
    assert manifest["seeds"] == {"training": TINY.seed}
    assert manifest["training"]["rounds"] == TINY.rounds
    assert manifest["training"]["shipped_policy"]
    assert len(load_bundle(finished).make_replay()) == 3 * TINY.trials_per_session * TINY.replay_sessions
    assert {*HELD_OUT_NAMED, *development_names()}.isdisjoint(manifest["training_objects"])
    assert manifest["training_objects"] == training_names()


def test_a_training_folder_belongs_to_one_configuration(finished: Path) -> None:
    with pytest.raises(UserError, match="another configuration"):
        Training(replace(TINY, seed=2), finished.parent, processes=1)


def test_sessions_survive_their_file(finished: Path, tmp_path: Path) -> None:
    sessions = read_sessions(finished.parent / "demonstrations" / "000000.npz")
    write_sessions(tmp_path / "again.npz", sessions)
    for one, two in zip(sessions, read_sessions(tmp_path / "again.npz"), strict=True):
        assert one.task == two.task
        for name in ("observation", "action", "reward", "next_observation", "done", "terminal", "teacher_action"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("roundz: 3", "did you mean 'rounds'"),
        ("rounds: many", "expected an integer"),
        ("- 1", "key: value"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "training.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_training_config(str(path))


def test_the_shipped_bundle_says_how_it_was_made_and_fits_what_is_trained_now() -> None:
    root = Path(__file__).resolve().parents[2]
    config = load_training_config(str(root / "config" / "training" / "grasp.yaml"))
    manifest = load_bundle(root / "models" / "grasp").manifest
    assert {"seed", "rounds", "demonstration_sessions", "shipped_policy"} <= set(manifest["training"])
    same = ("robot", "history_blocks", "trials_per_session", "network")
    assert {key: manifest["training"][key] for key in same} == {
        key: json.loads(json.dumps(config.as_dict()[key])) for key in same
    }
    assert set(HELD_OUT_NAMED).isdisjoint(manifest["training_objects"])
    size = sum(file.stat().st_size for file in (root / "models" / "grasp").iterdir())
    assert size <= 10_000_000
