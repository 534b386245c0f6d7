import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluation import save_small_policy

from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import Session
from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.td3 import TD3Learner, critic_loss, td_target
from mql_ros.bench import benchmarks
from mql_ros.bench import learning as bench_learning
from mql_ros.bench.benchmarks import Subject
from mql_ros.bench.naive import NaiveConfig, NaiveLearner, NaiveReplay
from mql_ros.cli import main as cli
from mql_ros.training.grasping.config import TrainingConfig


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_small_policy(tmp_path_factory.mktemp("policy") / "bundle"))


def test_the_numbers_stand_beside_their_baselines(policy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "OBJECTS", benchmarks.OBJECTS[:1])
    monkeypatch.setattr(Subject, "training", TrainingConfig(trials_per_session=1, batch_sessions=2))
    file = tmp_path / "bench.json"
    names = ["trial", "perception", "decision", "update", "adaptation"]
    assert cli.main(["bench", "--bundle", policy, "--only", *names, "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert all(row["command"].startswith("mql ") and row["hardware"]["cpus"] for row in report.values())
    parts = [f"trial_{part}" for part in ("physics", "camera_and_perception", "decisions")]
    assert {"trial", "perception_640x480", "decision", "update", "adaptation", *parts} <= set(report)
    for entry in report.values():
        assert {"value", "baseline", "ratio", "unit"} <= set(entry)
        assert entry["value"] > 0 and entry["ratio"] > 0
    assert sum(report[part]["value"] for part in parts) < report["trial"]["value"] == report[parts[0]]["baseline"]
    fast, quick = report["trial_speed"], report["decision"]
    assert fast["ratio"] == pytest.approx(fast["value"]), "more is better"
    assert quick["ratio"] == pytest.approx(quick["baseline"] / quick["value"]), "less is better"


def test_without_a_bundle_adaptation_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Subject, "bundle", None)
    assert cli.main(["bench", "--only", "adaptation"]) == 0
    assert capsys.readouterr().out == "adaptation: no bundle: train one, or name one with --bundle\n"


def test_a_wrong_bundle_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--bundle", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mql: error: ") and "not a policy bundle" in error and error.count("\n") == 1


def test_the_naive_baseline_does_the_same_maths() -> None:
    steps, history, O, A, C = 40, 6, 5, 2, 7  # noqa: E741
    rng = np.random.default_rng(0)
    done = rng.random(steps) < 0.2
    terminal = done & (rng.random(steps) < 0.5)
    assert terminal.any() and (done & ~terminal).any()
    columns = [rng.normal(size=(steps, O)), rng.uniform(-1, 1, (steps, A)), rng.normal(size=steps)]
    observation, action, reward, after = (x.astype(np.float32) for x in [*columns, rng.normal(size=(steps, O))])
    # Blocks of one step: our history then has exactly as many items as the flattened one.
    replay = Replay(O, A, history)
    replay.add(Session("task", observation, action, reward, after, done, terminal, np.arange(steps)))
    naive_config = NaiveConfig(O, A, history, C, (16, 16))
    naive_replay = NaiveReplay(naive_config)
    naive_replay.add(observation, action, reward, after, done, terminal)
    ours = TD3Learner(NetworkConfig(O, A, C, (16, 16), critic_layer_norm=False, embedding_size=0))
    naive = NaiveLearner(naive_config)
    share_weights(ours, naive)
    # Earlier histories are padded there and masked in ours; the last block is still open in our replay.
    full = list(range(history, steps - 1))
    batch, naive_batch = replay.gather(replay.transition_indices()[full]), naive_replay.gather(full)
    noise = torch.randn(len(full), A)
    context, next_context = ours.contexts(batch)
    target = td_target(ours.actor_target, ours.critic_target, batch, next_context, noise, ours.config)
    torch.testing.assert_close(naive.target(naive_batch, noise), target, rtol=0, atol=1e-5)
    loss, naive_loss = critic_loss(ours.critic, batch, context, target)[0], naive.critic_loss(naive_batch, target)
    torch.testing.assert_close(naive_loss, loss, rtol=1e-5, atol=0)
    loss.backward()
    naive_loss.backward()
    for name, parameter in ours.encoder.gru.named_parameters():
        expected = naive.critic.encoder.gru.get_parameter(name).grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5)


def share_weights(ours: TD3Learner, naive: NaiveLearner) -> None:
    with torch.no_grad():
        for actor, critic in ((naive.actor, naive.critic), (naive.actor_target, naive.critic_target)):
            for network in (actor, critic):
                network.encoder.gru.load_state_dict(ours.encoder.gru.state_dict())
            for linear, layer in zip(actor.layers[::2], ours.actor.layers, strict=True):
                linear.load_state_dict(layer.state_dict())
            for place, tower in enumerate((critic.first, critic.second)):
                for linear, pair in zip(tower[::2], [*ours.critic.layers, ours.critic.head], strict=True):
                    linear.weight.copy_(pair.weight[place].t())
                    linear.bias.copy_(pair.bias[place, 0])


def test_the_naive_update_and_memory_are_measured_beside_ours() -> None:
    update, products = bench_learning.update_published_sizes(None, pairs=1)
    assert min(update.value, products.value, update.baseline) > 0.0
    assert products.baseline == update.baseline
    memory, raw = bench_learning.replay_memory(None, transitions=5000)
    assert raw.value < raw.baseline == 1.2
    assert memory.ratio > 20.0


def test_the_bare_products_are_those_of_the_published_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    multiply, counted, product = bench_learning.bare_products(256), [], torch.mm
    monkeypatch.setattr(
        torch, "mm", lambda left, right: counted.append(left.numel() * right.shape[1]) or product(left, right)
    )
    multiply()
    of_critics, _ = sum(counted), counted.clear()
    multiply()
    unit = 256 * 300 * 300  # a product of the hidden layers; those of the narrow ones are far smaller
    assert 9 * unit < of_critics < 12 * unit
    assert 14 * unit < sum(counted) < 18 * unit


def test_what_is_written_by_hand_is_measured_beside_plain_torch() -> None:
    assert all(min(row.value, row.baseline) > 0.0 for row in bench_learning.plain_torch(None, pairs=1))


@pytest.mark.slow
def test_the_figure_shows_how_the_cost_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_learning, "SCALING_TASKS", (2, 4))
    monkeypatch.setattr(bench_learning, "SCALING_HISTORIES", (8, 16))
    small = bench_learning.scaling
    monkeypatch.setattr(bench_learning, "scaling", lambda subject: small(subject, pairs=1))
    file, report = tmp_path / "scaling.png", tmp_path / "bench.json"
    assert cli.main(["bench", "--only", "scaling", "--figure", str(file), "--json", str(report)]) == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    names = [f"{kind}_{case}" for kind in ("update", "sample") for case in ("tasks_2", "tasks_4", "history_8")]
    assert set(names) <= set(json.loads(report.read_text()))


def test_a_figure_needs_its_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--only", "replay_memory", "--figure", str(tmp_path / "scaling.png")]) == 2
    assert "name it in --only too" in capsys.readouterr().err
