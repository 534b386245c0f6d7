"""`mql results`: every function of the templates renders, what is missing is visible, errors are one sentence."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluation import result_of

from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.cli import main as cli
from mql_ros.evaluation.cases import Case
from mql_ros.reporting.evaluation import summarize
from mql_ros.reporting.results.curves import reference_points
from mql_ros.reporting.results.page import command_text
from mql_ros.reporting.results.templates import FUNCTIONS, MAIN

ROOT = Path(__file__).resolve().parents[2]
HARDWARE = {"cpus": 2, "platform": "Linux-6", "machine": "x86_64", "python": "3.11.7", "torch": "2.13.0"}
METHODS = ("context", "mql")
MOST_BYTES = 150_000
EVERYTHING = """\
# Results

{{ notice }}

Prose stays | as it is.

{{ evaluation("held_out.json") }}

{{ evaluation("one_seed.json", "other_seed.json") }}

{{ paired("held_out.json") }}

{{ objects("held_out.json") }}

{{ windows("held_out.json", "context", "mql") }}

{{ provenance("held_out.json") }}

{{ trials("held_out.json") }}

{{ conditions("mql", "held_out.json", "noisy.json") }}

{{ cases("held_out.json") }}

{{ goals("bench.json", "update_tasks_10") }}

{{ returns() }}

{{ bench("bench.json") }}

{{ training("training_seed1.json", "training_seed2.json") }}

{{ benchmarks() }}

{{ figure("training.png", "training_seed1.json", "training_seed2.json") }}

{{ figure("held_out.png", "held_out.json") }}

{{ figure("returns.png", "benchmarks/*seed*.json") }}

{{ figure("scaling.png", "bench.json") }}

{{ figure("there_already.png") }}
"""


def evaluation(steps: tuple[int, ...] = (0, 5, 20), **settings: Any) -> dict[str, Any]:
    config = load_adaptation()
    cases = [
        Case("b", f"object-{name}", seed, METHODS, step, 8, config)
        for seed, name, step in itertools.product(range(3), range(5), steps)
    ]
    report = summarize(cases, [result_of(case) for case in cases], METHODS)
    report["settings"] = {
        "command": "mql evaluate --objects held-out", "policy": "grasp", "bundle_hash": "0123456789abcdef" * 4,
        "objects": ["held-out"], "bench": "usual", "robot": "panda",
        "new_trials": max(steps), "test_trials": 8, "seeds": 3, "seconds": 3725.0,
        "hardware": HARDWARE, "workers": 2, **settings,
    }  # fmt: skip
    return report


def clone_and_td3(interval: list[float]) -> dict[str, Any]:
    method = {"success_rate": 0.7, "interval": [0.6, 0.8]}
    return {
        "schema": 1, "paired": {"td3 - clone": {"difference": 0.05, "interval": interval}},
        "methods": {"clone": method, "td3": method | {"success_rate": 0.75}}, "settings": {"seed": 1, "seconds": 5.0},
    }  # fmt: skip


def training(seed: int) -> dict[str, Any]:
    rows = [{"round": n, "trials": 4000 * n, "by_trial": [0.4, 0.6 + 0.1 * n + 0.02 * seed]} for n in range(1, 4)]
    score = {"success_by_trial": [0.5, 0.9], "sessions": 60, "fifth_trial_interval": [0.88, 0.96]}
    return {
        "command": "mql train", "config": {"seed": seed, "trials_per_session": 2, "validation_objects": 60},
        "validations": rows, "measured": {"development_objects": score}, "seconds": 5400.0, "hardware": HARDWARE,
    }  # fmt: skip


def benchmark(seed: int, last: int) -> dict[str, Any]:
    curve = [{"steps": steps, "mean_return": steps / 400 + 10 * seed} for steps in range(4000, last + 1, 4000)]
    return {
        "family": "walker-params", "seed": seed, "command": ["mql", "train"], "steps": last, "updates": last // 2,
        "seconds": 60.0, "cpu_seconds": 50.0, "hardware": {"processor": "A", "cores": 2, "device": "cpu"},
        "versions": {"python": "3.11.7"}, "curve": curve,
    }  # fmt: skip


def number(value: float) -> dict[str, Any]:
    return {"value": value, "baseline": 2.0, "ratio": 2.0 / value, "unit": "ms", "baseline_name": "goal"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """docs/results with made-up measurements."""
    results = tmp_path / "docs" / "results"
    (results / "benchmarks").mkdir(parents=True)
    (tmp_path / "docs" / "images").mkdir()
    (tmp_path / "docs" / "images" / "there_already.png").write_bytes(b"")
    bench = {f"{kind}_{case}": number(value) for kind, value in (("update", 5.0), ("sample", 0.3))
             for case in ("tasks_10", "tasks_100", "history_8", "history_64")}  # fmt: skip
    files = {
        "held_out.json": evaluation(), "noisy.json": evaluation(bench="noisy-depth"), "bench.json": bench,
        "one_seed.json": clone_and_td3([0.01, 0.09]), "other_seed.json": clone_and_td3([-0.02, 0.12]),
        "training_seed1.json": training(1), "training_seed2.json": training(2),
        "rollback.json": {"rolled_back": 1},
        "benchmarks/walker-params-seed1.json": benchmark(1, 100_000),
        "benchmarks/walker-params-seed2.json": benchmark(2, 60_000),
    }  # fmt: skip
    for name, data in files.items():
        (results / name).write_text(json.dumps(data))
    reference = {"source": "a log", "walker-params": {"100000": 125, "150000": 140}}
    (results / "benchmarks" / "reference_returns.json").write_text(json.dumps(reference))
    return results


def render(folder: Path, template: str) -> str:
    (folder / MAIN).write_text(template)
    out = folder.parent / "results.md"
    assert cli.main(["results", "--from", str(folder), "--out", str(out)]) == 0
    return out.read_text()


def refused(folder: Path, template: str, capsys: pytest.CaptureFixture[str]) -> str:
    (folder / MAIN).write_text(template)
    out = folder.parent / "results.md"
    assert cli.main(["results", "--from", str(folder), "--out", str(out)]) == 2
    assert not out.exists()
    error = capsys.readouterr().err
    assert error.startswith("mql: error: ") and error.count("\n") == 1
    return error


@pytest.mark.slow
def test_every_function_of_the_templates_renders(folder: Path) -> None:
    assert all("{{ " + name + "(" in EVERYTHING for name in FUNCTIONS)
    text = render(folder, EVERYTHING)
    lines = text.splitlines()
    assert lines[0] == "# Results"
    assert lines[2].startswith("*Generated by `mql results --from ") and "(results/results.md.j2)" in lines[2]
    assert text.endswith("\n") and not text.endswith("\n\n")
    assert "Prose stays | as it is." in lines
    assert "not measured yet" not in text and "{{" not in text
    for expected in (
        "`mql evaluate --objects held-out`; 5 objects; 3 seeds an object; the reward saw",
        "; 1 h 02 min with 2 processes; 2 cores",
        "bundle grasp `0123456789abcdef`",
        "the reward saw 0 lifts that were none and missed 0 of 0 trials",
        "| 20 | mql |",
        "| object-0 |",
        "| method | trial 3 | trial 5 | trials 5 to 8 | difference to context, trials 5 to 8 | 95 % interval |",
        "| update_tasks_10 | 5 | ms | 2 | 0.40 | goal |",
        "| method | trial 1 | trial 2 |",
        "| bench | objects | trial 3 |",
        "| usual | 5 |",
        "| noisy-depth | 5 |",
        "| object | context, of 15 | mql, of 15 |",
        "| 1 | 4,000 | .40 .72 | .40 .74 |",
        "| 3 | 12,000 | .40 .92 | .40 .94 |",
        "| seed 1 | policy | .50 .90 | 60 | [0.880, 0.960] |",
        "| seed 2 | 70 | 140 | – | – | – |",
        "| mean over seeds | 65 | 135 | 260 (of 1) | – | – |",
        "| published code, one seed | – | – | 125 | 140 | – |",
        "differ in: seed.",
        "| walker-params | 2 | 50,000 | 135 | – |",
        "![there already](images/there_already.png)",
    ):
        assert expected in text, expected
    images = folder.parent / "images"
    for name in ("training.png", "held_out.png", "returns.png", "scaling.png"):
        assert f"(images/{name})" in text
        assert (images / name).read_bytes().startswith(b"\x89PNG")
        assert (images / name).stat().st_size < MOST_BYTES


@pytest.mark.slow
def test_the_same_files_make_the_same_page(folder: Path) -> None:
    def everything() -> list[bytes]:
        return [file.read_bytes() for file in sorted((folder.parent / "images").iterdir())]

    elsewhere = ('{{ figure("held_out.png', '{{ figure("scaling.png')  # drawn, and tested, by other modules
    template = "\n".join(line for line in EVERYTHING.splitlines() if not line.startswith(elsewhere))
    first, pictures = render(folder, template), everything()
    assert render(folder, template) == first
    assert everything() == pictures


def test_only_differences_whose_interval_excludes_zero_are_bold(folder: Path) -> None:
    text = render(folder, '{{ paired("one_seed.json", "other_seed.json") }}\n')
    assert "| one_seed | td3 - clone | **+0.050** | **[+0.010, +0.090]** |" in text, text
    assert "| other_seed | td3 - clone | +0.050 | [-0.020, +0.120] |" in text


def test_a_difference_is_that_to_the_method_named_first(folder: Path) -> None:
    report = evaluation()
    late = report["paired"]["mql - context"]["windows"]["trials 5 to 8"]
    late |= {"difference": 0.1, "interval": [0.05, 0.2]}
    (folder / "late.json").write_text(json.dumps(report))
    assert "| **+0.100** | **[+0.050, +0.200]** |" in render(folder, '{{ windows("late.json", "context", "mql") }}\n')
    assert "| **-0.100** | **[-0.200, -0.050]** |" in render(folder, '{{ windows("late.json", "mql", "context") }}\n')


def test_what_a_bench_costs_is_counted_object_by_object_in_late_trials(folder: Path) -> None:
    def report(bench: str, late: int) -> dict[str, Any]:
        found = evaluation(bench=bench)
        for number, entry in enumerate(found["objects"].values()):  # of 3 seeds, in each trial
            entry["context"]["by_trial"] = [3, 3, 3, 3, *[late if number else 3] * 4]
        return found

    (folder / "usual.json").write_text(json.dumps(report("usual", 3)))
    (folder / "noisy.json").write_text(json.dumps(report("noisy-depth", 0)))
    lines = render(folder, '{{ conditions("context", "usual.json", "noisy.json") }}\n').splitlines()
    usual, noisy = (next(line for line in lines if line.startswith(f"| {name}")) for name in ("usual", "noisy"))
    assert "robot" not in lines[0] and usual.endswith("|  |  |")
    assert "| **-0.800** | **[-1.000, -0.400]** |" in noisy


def test_runs_on_the_same_objects_are_averaged_object_by_object(folder: Path) -> None:
    def run(gains: list[int]) -> dict[str, Any]:
        report = clone_and_td3([-0.02, 0.12])
        report["objects"] = {
            f"object-{number}": {"clone": {"successes": 4, "trials": 10}, "td3": {"successes": 4 + gain, "trials": 10}}
            for number, gain in enumerate(gains)
        }
        return report

    for name, gains in (("one_run", [2, 0, 1, 1]), ("other_run", [0, 2, 1, 1]), ("fewer", [1, 1])):
        (folder / f"{name}.json").write_text(json.dumps(run(gains)))
    text = render(folder, '{{ paired("one_run.json", "other_run.json") }}\n')
    # Each object gains one in ten on average, so the mean does not vary with the objects.
    assert "| mean of the 2 runs | td3 - clone | **+0.100** | **[+0.100, +0.100]** |" in text
    assert "mean of" not in render(folder, '{{ paired("one_run.json", "fewer.json") }}\n')
    assert "mean of" not in render(folder, '{{ paired("one_run.json") }}\n')


def test_a_command_names_runs_of_objects_as_a_shell_does() -> None:
    names = " ".join(f"thing-{number:04d}" for number in range(8, 12))
    text = command_text({"command": f"mql evaluate --objects {names} mug other-3 other-4 --seeds 2"})
    assert text == "`mql evaluate --objects thing-{0008..0011} mug other-3 other-4 --seeds 2`"


def test_many_objects_are_folded(folder: Path) -> None:
    report = evaluation()
    report["objects"] = {f"object-{n}": report["objects"]["object-0"] for n in range(30)}
    (folder / "many.json").write_text(json.dumps(report))
    text = render(folder, '{{ objects("many.json") }}\n')
    assert "<details><summary>Successes after 20 new trials" in text and "| object-29 |" in text


def test_what_is_not_measured_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(folder / "benchmarks")
    words = {name: ["later.json"] for name in FUNCTIONS} | {"figure": ["later.png", "later.json"]}
    words |= {"benchmarks": [], "returns": [], "conditions": ["context", "later.json"]}
    text = render(folder, "\n".join(f"{{{{ {name}(*{files}) }}}}" for name, files in words.items()))
    assert text.splitlines().count("not measured yet: later.json") == len(FUNCTIONS) - 2
    assert text.splitlines().count("not measured yet: benchmarks/*seed*.json") == 2
    assert "not measured yet: later.json" in capsys.readouterr().out
    text = render(folder, '{{ figure("none.png") }}\n\n{{ training("training_seed1.json", "training_seed3.json") }}\n')
    assert "not measured yet: none.png" in text
    assert "not measured yet: training_seed3.json" in text and "| 1 | 4,000 | .40 .72 |" in text


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{{ evaluate("held_out.json") }}', "results.md.j2:3: 'evaluate' is undefined; known are bench, benchmarks, "),
        ("{{ bench(", "results.md.j2:3: unexpected"),
        ("{% include 'none' %}", "results.md.j2:3: 'none' not found in search path"),
        ("{{ evaluation() }}", "needs the name of a JSON file"),
        ('{{ evaluation("broken.json") }}', "broken.json is not JSON: Expecting value: line 1 column 7"),
        ('{{ evaluation("nan.json") }}', "nan.json is not JSON: NaN is no number"),
        ('{{ evaluation("list.json") }}', "list.json is not a JSON object but a list"),
        (
            '{{ evaluation("training_seed1.json") }}',
            "does not have the form that `mql evaluate` writes: there is no entry",
        ),
        ('{{ training("held_out.json") }}', "held_out.json does not have the form that `mql train` writes"),
        ('{{ bench("held_out.json") }}', "held_out.json does not have the form that `mql bench` writes"),
        ('{{ figure("../a.png", "held_out.json") }}', "expected the name of a picture"),
        ('{{ figure("a.png", "rollback.json") }}', "there is no figure of such a file"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    folder: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.json").write_text('{"a": }')
    (folder / "nan.json").write_text('{"a": NaN}')
    (folder / "list.json").write_text("[1]")
    assert message in refused(folder, f"# Results\n\n{line}\n", capsys)


def test_a_folder_without_a_template_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "--from", str(tmp_path / "none"), "--out", str(tmp_path / "results.md")]) == 2
    assert f"{MAIN} does not exist" in capsys.readouterr().err


def test_the_reference_points_are_those_of_the_published_code() -> None:
    points = reference_points(ROOT / "docs" / "results")
    assert points["half-cheetah-dir"] == {20_000: 134, 50_000: 320, 100_000: 493, 150_000: 693, 200_000: 832}
    assert points["walker-params"] == {100_000: 125}


@pytest.mark.slow
def test_the_committed_pages_are_what_the_verb_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = ROOT / "docs"
    shutil.copytree(docs, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["results"]) == 0
    written = {path.relative_to(tmp_path / "docs") for path in (tmp_path / "docs").rglob("*")}
    assert written == {path.relative_to(docs) for path in docs.rglob("*")}
    for page in docs.rglob("*.md"):
        assert (tmp_path / "docs" / page.relative_to(docs)).read_text() == page.read_text(), page


def test_other_templates_become_pages_beside_them(folder: Path) -> None:
    (folder / "more.md.j2").write_text('{{ figure("held_out.png", "held_out.json") }}\n')
    render(folder, "# Results\n")
    assert "![Success over new trials](../images/held_out.png)" in (folder / "more.md").read_text()
