"""A policy on disk is whole and genuine, or it is refused with one sentence."""

import json
import os

import numpy as np
import pytest
from helpers.algorithm import A, O, assert_same_state, filled_replay, small_learner, small_q_learner

from mql_ros.algorithm.bundle_files import read_bundle
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle, td3_of
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.core.errors import UserError
from mql_ros.core.files import recover_directory


def trained():
    learner, replay = small_learner(), filled_replay()
    rng = np.random.default_rng(0)
    for _ in range(3):
        learner.update(replay.sample(8, rng))
    return learner, replay


def save(path, learner=None, replay=None, **kwargs):
    if learner is None:
        learner, replay = trained()
    values = dict(robot={"name": "panda"}, task={"name": "grasp"}, training_objects=["mug"], seeds={"training": 7})
    return save_bundle(path, learner, replay=replay, **(values | kwargs))


def rewrite(path, **changes):
    manifest = json.loads((path / "manifest.json").read_text())
    manifest.update(changes)
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_round_trip_of_everything(tmp_path):
    learner, replay = trained()
    identity = save(tmp_path / "policy", learner, replay, measured={"success": 0.9}, version=3, extra={"step": 5})
    bundle = load_bundle(tmp_path / "policy")
    assert bundle.hash == identity == read_bundle(tmp_path / "policy").hash
    assert_same_state(learner.state_dict(), td3_of(bundle).state_dict())
    assert bundle.configuration("network", NetworkConfig) == learner.network_config
    assert bundle.configuration("learning", TD3Config) == learner.config
    assert len(bundle.make_replay()) == len(replay)
    assert bundle.history_blocks == 2
    expected = dict(schema=1, version=3, training_objects=["mug"], measured={"success": 0.9}, extra={"step": 5})
    assert {key: bundle.manifest[key] for key in expected} == expected
    assert set(bundle.manifest["versions"]) == {"python", "torch", "numpy", "mql_ros"}
    assert {path.name for path in (tmp_path / "policy").iterdir()} == set(bundle.files) | {"manifest.json"}
    assert not any(b"pickle" in content for content in bundle.files.values())


def test_the_same_policy_has_the_same_identity(tmp_path):
    hashes = {save(tmp_path / name, created="2026-01-01T00:00:00+00:00") for name in ("one", "two")}
    assert len(hashes) == 1


def test_training_goes_on_from_a_bundle_bit_for_bit(tmp_path):
    learner, replay = trained()
    save(tmp_path / "policy", learner, replay, replay_float16=False)
    bundle = load_bundle(tmp_path / "policy")
    resumed, resumed_replay = td3_of(bundle), bundle.make_replay()
    for one, memory in ((learner, replay), (resumed, resumed_replay)):
        rng = np.random.default_rng(1)
        for _ in range(5):
            one.update(memory.sample(8, rng))
    assert_same_state(learner.state_dict(), resumed.state_dict())


def test_float16_halves_the_replay(tmp_path):
    learner, replay = small_learner(), filled_replay(sessions=60)
    sizes = []
    for half in (True, False):
        save(tmp_path / str(half), learner, replay, replay_float16=half)
        sizes.append((tmp_path / str(half) / "replay.safetensors").stat().st_size)
    assert sizes[0] < 0.65 * sizes[1]


def test_a_bundle_without_optimisers_or_replay(tmp_path):
    save_bundle(tmp_path / "policy", small_learner(), robot={}, task={}, history_blocks=4, optimizer=False)
    bundle = load_bundle(tmp_path / "policy")
    assert bundle.history_blocks == 4
    assert td3_of(bundle).act(np.zeros(O), np.zeros(6)).shape == (A,)
    with pytest.raises(UserError, match="carries no replay"):
        bundle.make_replay()


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "optimizer.json", "replay.safetensors"]
)
def test_one_changed_byte_is_noticed(tmp_path, name):
    save(tmp_path / "policy")
    file = tmp_path / "policy" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged: the contents of {name}"):
        load_bundle(tmp_path / "policy")


def test_a_missing_file_is_named(tmp_path):
    save(tmp_path / "policy")
    (tmp_path / "policy" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors cannot be read"):
        load_bundle(tmp_path / "policy")


def test_an_unknown_schema_is_refused(tmp_path):
    save(tmp_path / "policy")
    rewrite(tmp_path / "policy", schema=2)
    with pytest.raises(UserError, match="has schema 2; expected 1"):
        load_bundle(tmp_path / "policy")


def test_what_is_no_bundle_is_refused(tmp_path):
    with pytest.raises(UserError, match="not a policy bundle"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(UserError, match="not a policy bundle"):
        read_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    with pytest.raises(UserError, match="lacks learner, network, learning"):
        load_bundle(tmp_path)


def test_files_outside_the_bundle_are_never_read(tmp_path):
    save(tmp_path / "policy")
    files = json.loads((tmp_path / "policy" / "manifest.json").read_text())["files"]
    rewrite(tmp_path / "policy", files=files | {"../secret": "0"})
    with pytest.raises(UserError, match="plain file name"):
        load_bundle(tmp_path / "policy")


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path):
    save(tmp_path / "policy")
    network = json.loads((tmp_path / "policy" / "manifest.json").read_text())["network"]
    rewrite(tmp_path / "policy", network=network | {"context_size": 5})
    with pytest.raises(UserError, match="do not fit"):
        td3_of(load_bundle(tmp_path / "policy"))
    rewrite(tmp_path / "policy", network=network | {"colour": "red"})
    with pytest.raises(UserError, match="NetworkConfig cannot be used"):
        td3_of(load_bundle(tmp_path / "policy"))


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("learning", "discount", 2.0, "TD3Config cannot be used"),
        ("learning", "colour", "red", "TD3Config cannot be used"),
        ("network", "context_size", 0, "NetworkConfig cannot be used"),
    ],
)
def test_a_configuration_that_its_dataclass_refuses_is_named(tmp_path, part, key, value, message):
    save(tmp_path / "policy")
    manifest = json.loads((tmp_path / "policy" / "manifest.json").read_text())
    rewrite(tmp_path / "policy", **{part: manifest[part] | {key: value}})
    with pytest.raises(UserError, match=message):
        td3_of(load_bundle(tmp_path / "policy"))


def test_the_policy_of_another_learner_is_refused(tmp_path):
    save(tmp_path / "td3")
    with pytest.raises(UserError, match="holds a TD3Learner, not a QLearner"):
        load_bundle(tmp_path / "td3").restore(small_q_learner())
    save(tmp_path / "q", small_q_learner(), history_blocks=2)
    with pytest.raises(UserError, match="Config cannot be used"):
        td3_of(load_bundle(tmp_path / "q"))
    rewrite(tmp_path / "q", learner="TD3Learner")
    with pytest.raises(UserError, match="do not fit"):
        load_bundle(tmp_path / "q").restore(small_learner())


def test_an_existing_path_is_kept_unless_told_otherwise(tmp_path):
    first = save(tmp_path / "policy")
    with pytest.raises(UserError, match="exists already"):
        save(tmp_path / "policy")
    assert read_bundle(tmp_path / "policy").hash == first
    second = save(tmp_path / "policy", version=2, overwrite=True)
    assert read_bundle(tmp_path / "policy").hash == second != first
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("fails", ["fsync", "rename"])
def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch, fails, existing):
    first = save(tmp_path / "policy") if existing else None
    calls = 0
    original = getattr(os, fails)

    def interrupted(*args):
        nonlocal calls
        calls += 1
        if calls == 2 or (fails == "rename" and not existing):
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(os, fails, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "policy", overwrite=True, version=2)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == (["policy"] if existing else [])
    if existing:
        assert load_bundle(tmp_path / "policy").hash == first


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        save(tmp_path / "policy")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_a_killed_save_are_cleared_by_the_next(tmp_path):
    dead = 2**22 + 1  # above the largest process number of Linux
    (tmp_path / f".policy.partial-{dead}").mkdir()
    save(tmp_path / "policy")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    (tmp_path / "policy").rename(tmp_path / f".policy.replaced-{dead}")
    recover_directory(tmp_path / "policy")
    assert load_bundle(tmp_path / "policy").manifest["version"] == 1


def test_history_of_policy_and_replay_must_agree(tmp_path):
    learner, replay = trained()
    with pytest.raises(ValueError, match="history_blocks"):
        save(tmp_path / "policy", learner, replay, history_blocks=3)
    with pytest.raises(ValueError, match="history_blocks"):
        save_bundle(tmp_path / "policy", learner, robot={}, task={})
    assert list(tmp_path.iterdir()) == []
