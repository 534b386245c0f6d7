"""A run killed at any moment ends with the numbers of one that was not; and the verb meets the user in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the benchmarks need mujoco: pip install 'mql_ros[benchmarks]'")

from mql_ros.algorithm.networks import NetworkConfig
from mql_ros.algorithm.policy_bundle import load_bundle
from mql_ros.algorithm.td3 import TD3Config
from mql_ros.cli import main as cli
from mql_ros.core.files import recover_directory
from mql_ros.training.locomotion.config import load_benchmark_config
from mql_ros.training.locomotion.families import FAMILIES

CONFIG = Path(__file__).resolve().parents[2] / "config" / "training"
TINY = """
environments: 2
session_episodes: 1
steps: 1600
warmup_steps: 400
updates_per_step: 0.05
batch_blocks: 4
evaluate_every: 400
evaluation_episodes: 1
checkpoint_every: 400
exploration_noise: 0.3
network: {context_size: 4, hidden_sizes: [8, 8], embedding_size: 4}
"""


def words(folder, config, *more):
    return ["train", "--family", "walker-params", "--config", str(config), "--out", str(folder), *more]


def without_times(line):
    return {name: value for name, value in line.items() if not name.endswith("seconds")}


@pytest.mark.slow
def test_a_killed_run_ends_bit_for_bit_as_one_that_was_not(tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = "import sys; from mql_ros.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words(killed, config, "--steps", "100000")],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 60.0
        while not (killed / "newest").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline, "no checkpoint within 60 s"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    recover_directory(killed / "newest")
    steps = str(load_bundle(killed / "newest").manifest["extra"]["steps"] + 400)
    assert cli.main(words(killed, config, "--steps", steps)) == 0
    assert cli.main(words(whole, config, "--steps", steps)) == 0
    capsys.readouterr()
    one, other = (json.loads((folder / "result.json").read_text()) for folder in (whole, killed))
    assert [without_times(line) for line in one["curve"]] == [without_times(line) for line in other["curve"]]
    assert [line["steps"] for line in one["curve"]] == list(range(400, int(steps) + 1, 400))
    drawn = [json.loads(line) for line in (killed / "curve.jsonl").read_text().splitlines()]
    assert drawn == other["curve"]
    bundles = [load_bundle(folder / "newest") for folder in (whole, killed)]
    assert bundles[0].files == bundles[1].files
    assert one["updates"] == (int(steps) - 400) * 0.05


def test_another_configuration_does_not_enter_the_folder_of_a_run(tmp_path, capsys):
    config = tmp_path / "tiny.yaml"
    config.write_text(TINY)
    assert cli.main(words(tmp_path / "run", config, "--steps", "400")) == 0
    assert cli.main(words(tmp_path / "run", config, "--steps", "400", "--seed", "2")) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--family", "half-cheetah"], "there is no benchmark family 'half-cheetah'; choose one of half-cheetah-dir"),
        (["--steps", "10"], "--steps belongs to --family"),
        (["--family", "ant-dir", "--steps", "0"], "'steps' is 0; expected at least 1"),
        (["--family", "ant-dir", "--config", "/nowhere.yaml"], "/nowhere.yaml cannot be read"),
    ],
    ids=["family", "no family", "steps", "file"],
)
def test_what_is_wrong_is_one_line(more, message, tmp_path, capsys):
    assert cli.main(["train", "--out", str(tmp_path / "run"), *more]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_without_mujoco_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gymnasium.envs.mujoco", None)
    assert cli.main(["train", "--family", "ant-dir", "--out", str(tmp_path / "run")]) == 2
    assert "pip install 'mql_ros[benchmarks]'" in capsys.readouterr().err


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_has_settings(name):
    config = load_benchmark_config(CONFIG / f"{name}.yaml", name)
    NetworkConfig(3, 2, **config.network), TD3Config(**config.td3)
    assert config.family == name
    assert config.checkpoint_every >= config.round_steps
    assert np.isfinite(config.reward_scale) and config.reward_scale > 0
