"""`mql evaluate`: what it refuses, what it writes, and that a killed run goes on to the same end."""

from __future__ import annotations

import heapq
import io
import json
import multiprocessing
import random
import re
import shlex
import signal
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation import FakeWorkers, save_small_policy

from mql_ros.cli import main as cli
from mql_ros.core.resources import share_path
from mql_ros.evaluation.methods import METHODS
from mql_ros.evaluation.runner import PartialResults, Progress, duration
from mql_ros.evaluation.suites import SUITES

COMMAND = ["evaluate", "--objects", "mug", "bottle", "random-001", "random-002", "can", "random-900",
           "--methods", "context,mql", "--trials", "5,0,20", "--test-trials", "6", "--seeds", "2"]  # fmt: skip
SESSIONS = 6 * 3 * 2


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_policy(tmp_path_factory.mktemp("policy") / "bundle")


@pytest.fixture(autouse=True)
def fake_workers(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mql_ros.rollouts.workers.Workers", FakeWorkers)
    monkeypatch.setattr(
        "mql_ros.core.resources.share_path", lambda *parts: policy if parts[0] == "models" else share_path(*parts)
    )
    monkeypatch.setattr(FakeWorkers, "ran", 0)
    monkeypatch.setattr(FakeWorkers, "killed_after", None)


def run(file: Path, *more: str) -> dict[str, Any]:
    """The report of COMMAND, without what may differ from run to run."""
    assert cli.main([*COMMAND, "--json", str(file), *more]) == 0
    report = json.loads(file.read_text())
    for key in ("seconds", "sessions_resumed", "command"):
        del report["settings"][key]
    return report


def killed(file: Path, after: int) -> None:
    """COMMAND in a process that is killed when so many sessions are finished."""

    def end_early() -> None:
        FakeWorkers.killed_after = after
        cli.main([*COMMAND, "--json", str(file)])

    process = multiprocessing.get_context("fork").Process(target=end_early)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "magic"], "unknown method 'magic'; known methods are reference, heuristic"),
        (["--objects", "botle"], "did you mean bottle"),
        (["--objects", "bottle", "--seeds", "0"], "at least 1"),
        (["--objects", "bottle", "--figure", "a.jpg"], "ends in .png or .svg"),
        (["--objects", "bottle", "--json", "no/such/folder/a.json"], "there is no directory"),
        (["--objects", "bottle", "--policy", "nowhere"], "not a policy bundle"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert FakeWorkers.ran == 0


@pytest.mark.parametrize("numbers", ["", "5,", "-1", "0,x", "1.5"])
def test_numbers_of_trials_are_numbers(numbers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["evaluate", f"--trials={numbers}"])
    assert end.value.code == 2
    assert "--trials" in capsys.readouterr().err


def test_the_help_names_every_suite_and_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["evaluate", "--help"])
    words = set(re.sub(r"-\n +", "-", capsys.readouterr().out).replace(",", " ").split())  # argparse breaks at hyphens
    assert {*SUITES, *METHODS} <= words


def test_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "a.svg"
    report = run(tmp_path / "a.json", "--figure", str(figure))
    printed = capsys.readouterr()
    assert report["schema"] == 1
    assert list(report["by_new_trials"]) == ["0", "5", "20"]
    assert report["methods"] == report["by_new_trials"]["20"]
    assert report["paired"] == report["paired_by_new_trials"]["20"]
    assert len(report["objects"]) == 6
    for method in ("context", "mql"):
        row = report["methods"][method]
        assert row["interval"][0] <= row["success_rate"] <= row["interval"][1]
        assert row["interval_kind"] == "bootstrap over objects" and row["interval_kind"] in printed.out
        assert len(row["by_trial"]) == 6
        assert {"trial 3", "trial 5"} == set(row["windows"]), "there are no trials 5 to 8"
        for entry in report["objects"].values():
            assert entry[method]["trials"] == 12 and list(entry[method]["by_new_trials"]) == ["0", "5", "20"]
    settings = report["settings"]
    assert settings["trained_on"] == 2
    assert "warning: 2 of these 6 objects were trained on" in printed.err
    assert len(settings["bundle_hash"]) == 64
    assert {"cpus", "platform", "python", "torch"} <= set(settings["hardware"])
    assert figure.read_text().count("</svg>") == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.json", "a.svg"]


def test_the_command_that_is_written_down_measures_the_same(tmp_path: Path) -> None:
    first = run(tmp_path / "a.json")
    assert cli.main([*COMMAND, "--json", str(tmp_path / "b.json")]) == 0
    words = shlex.split(json.loads((tmp_path / "b.json").read_text())["settings"]["command"])
    assert words[:2] == ["mql", "evaluate"]
    assert cli.main(words[1:]) == 0
    again = json.loads((tmp_path / "b.json").read_text())
    assert all(again[key] == first[key] for key in first if key != "settings")


@pytest.mark.parametrize("after", [0, 1, 17, SESSIONS - 1])
def test_a_killed_run_goes_on_to_the_same_report(after: int, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.json")
    file, partial = tmp_path / "a.json", tmp_path / "a.json.partial.jsonl"
    killed(file, after)
    assert not file.exists()
    assert partial.exists() == (after > 0)
    FakeWorkers.ran = 0
    assert run(file) == whole
    assert FakeWorkers.ran == SESSIONS - after
    assert not partial.exists()


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.98])
def test_a_line_that_was_cut_off_does_no_harm(kept: float, tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.json")
    file, partial = tmp_path / "a.json", tmp_path / "a.json.partial.jsonl"
    killed(file, 9)
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join(lines[:-1]) + lines[-1][: int(kept * len(lines[-1]))])
    killed(file, 5)  # the line after it is whole
    FakeWorkers.ran = 0
    assert run(file) == whole
    assert FakeWorkers.ran == SESSIONS - 8 - 5


def test_other_settings_do_not_take_over_results(tmp_path: Path) -> None:
    killed(tmp_path / "a.json", SESSIONS - 1)
    assert cli.main([*COMMAND, "--json", str(tmp_path / "a.json"), "--set", "new_updates=3"]) == 0
    assert FakeWorkers.ran == SESSIONS


def test_without_a_file_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(COMMAND) == 0
    assert list(tmp_path.iterdir()) == []


def test_garbage_in_the_partial_file_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json.partial.jsonl"
    path.write_bytes(b'\x00\xff\n[]\n5\n{"key": "a"}\n{"key": "b", "result": {"new": []}}\n{"key": "c", "res')
    partial = PartialResults(str(tmp_path / "a.json"))
    assert [partial.get(key) for key in "abc"] == [None, {"new": []}, None]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_the_estimate_is_right_however_many_work(workers: int) -> None:
    now, total, resumed, rng = 0.0, 210, 10, random.Random(workers)
    progress = Progress(total, workers, io.StringIO(), clock=lambda: now, finished=resumed)
    assert progress.seconds_left() is None
    free, ends = [0.0] * workers, []
    for _ in range(total - resumed):  # each session goes to the first worker that is free
        ends.append(heapq.heappop(free) + rng.uniform(8.0, 12.0))
        heapq.heappush(free, ends[-1])
    for now in sorted(ends):
        progress.step()
        if progress.finished >= resumed + 40:
            assert progress.seconds_left() == pytest.approx(max(ends) - now, rel=0.1, abs=12.0)


def test_a_log_gets_a_line_now_and_then_and_a_terminal_one_line() -> None:
    now, log, terminal = [0.0], io.StringIO(), Terminal()
    bars = [Progress(100, 1, stream, clock=lambda: now[0]) for stream in (log, terminal)]
    for _ in range(100):
        now[0] += 2.0
        for bar in bars:
            bar.step()
    lines = log.getvalue().splitlines()
    assert len(lines) == 200 // 30 + 1
    assert lines[0] == "15/100 sessions, 2 min 50 s left"
    assert lines[-1] == "100/100 sessions"
    assert "\r" not in log.getvalue()
    assert terminal.getvalue().count("\n") == 1 and terminal.getvalue().count("\r") == 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
