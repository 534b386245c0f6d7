"""The report of `mql evaluate`: what it counts, and that order does not matter."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluation import NOTHING_JUDGED, result_of

from mql_ros.algorithm.adaptation.config import load_adaptation
from mql_ros.evaluation.cases import Case
from mql_ros.evaluation.methods import METHODS
from mql_ros.reporting.evaluation import print_report, summarize
from mql_ros.reporting.figures import evaluation_figure, save_figure
from mql_ros.reporting.propensity import mean_ratios, propensity_figure, propensity_summary

CONFIG = load_adaptation()


def cases_of(methods: tuple[str, ...], steps: tuple[int, ...], objects: int, seeds: int, tests: int) -> list[Case]:
    return [
        Case("b", f"object-{name}", seed, methods, step, tests, CONFIG)
        for seed, name, step in itertools.product(range(seeds), range(objects), steps)
    ]


def test_the_summary_counts_the_last_third_and_pairs_by_object() -> None:
    methods = ("context", "mql")
    cases = cases_of(methods, (5,), 2, 2, 3)
    lost, won = (
        {"successes": [[True, False, False]], "adaptation": None},
        {"successes": [[True] * 3], "adaptation": None},
    )
    report = summarize(
        cases, [{"new": [True, False], "judged": NOTHING_JUDGED, "context": lost, "mql": won} for _ in cases], methods
    )
    assert report["methods"]["context"]["success_rate"] == 0.0
    assert report["methods"]["context"]["by_trial"] == [1.0, 0.0, 0.0]
    assert report["methods"]["context"]["interval_kind"] == "wilson"
    assert report["methods"]["mql"]["success_rate"] == 1.0
    assert report["paired"]["mql - context"]["difference"] == pytest.approx(2 / 3)
    assert report["exploration"] == {
        "successes_by_object": {"object-0": [1, 1], "object-1": [1, 1]}, "sessions": 4, "sessions_without_success": 0,
    }  # fmt: skip
    entry = report["objects"]["object-0"]["context"]
    assert (entry["successes"], entry["trials"], entry["success_rate"]) == (2, 6, 0.0)


def test_the_order_in_which_sessions_end_does_not_matter() -> None:
    cases = cases_of(tuple(METHODS), (0, 5), 6, 3, 4)
    whole = summarize(cases, [result_of(case) for case in cases], tuple(METHODS))
    # Seeds and numbers of new trials in any order; objects in that of their first appearance.
    shuffled = random.Random(0).sample(cases, len(cases))
    shuffled.sort(key=lambda case: case.object_name)
    assert summarize(shuffled, [result_of(case) for case in shuffled], tuple(METHODS)) == whole


def test_each_number_of_new_trials_stands_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    methods, steps = ("no-context", "context", "mql"), (0, 5, 20)
    cases = cases_of(methods, steps, 6, 2, 9)
    report = summarize(cases, [result_of(case) for case in cases], methods)
    for step in steps:
        alone = [case for case in cases if case.new_trials == step]
        single = summarize(alone, [result_of(case) for case in alone], methods)
        assert report["by_new_trials"][str(step)] == single["methods"]
        assert report["paired_by_new_trials"][str(step)] == single["paired"]
        for name, entry in report["objects"].items():
            for method in methods:
                assert (
                    entry[method]["by_new_trials"][str(step)]
                    == single["objects"][name][method]["by_new_trials"][str(step)]
                )
    mean = np.mean([entry["mql"]["success_rate"] for entry in report["objects"].values()])
    assert mean == pytest.approx(report["methods"]["mql"]["success_rate"])
    assert "effective_sample_size" in report["by_new_trials"]["20"]["mql"]
    assert "effective_sample_size" not in report["by_new_trials"]["0"]["mql"]
    assert report["methods"]["mql"]["classifier_accuracy"] is None
    print_report(report)
    assert "mql - context" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [(0, 5, 10, 20), (20,)])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_figure_shows_what_the_report_says(steps: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    methods = ("context", "mql", "repeat")
    cases = cases_of(methods, steps, 6, 2, 6)
    report = summarize(cases, [result_of(case) for case in cases], methods)
    report["settings"] = {
        "objects": ["held-out"], "seeds": 2, "policy": "grasp", "bundle_hash": "0123456789ab", "test_trials": 6,
    }  # fmt: skip
    figure = evaluation_figure(report)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == list(methods)
    for method, container in zip(methods, axes.containers, strict=True):
        expected = [row[method]["success_rate"] for row in report["by_new_trials"].values()]
        if len(steps) == 1:
            expected = report["methods"][method]["by_trial"]
        assert container.lines[0].get_ydata() == pytest.approx(expected)
    assert "6 objects × 2 seeds" in axes.get_title(loc="left") and "01234567" in axes.get_title(loc="left")
    assert "new trials" in axes.get_xlabel() and "success rate" in axes.get_ylabel()
    for name in ("a", "b"):
        save_figure(evaluation_figure(report), str(tmp_path / (name + suffix)))
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_every_method_has_its_own_line() -> None:
    assert len({method.marker for method in METHODS.values()}) == len(METHODS)


def test_each_window_of_test_trials_has_its_rate_and_its_differences() -> None:
    methods = ("context", "repeat")
    cases = cases_of(methods, (0,), 12, 1, 8)
    rows = [
        {"new": [], "unseen": place == 0, "judged": {"trials": 16, "false_lifts": 0, "missed_lifts": place},
         "context": {"successes": [[False] * 2 + [True] + [place > 0] * 5], "adaptation": None},
         "repeat": {"successes": [[False] * 4 + [True] + [False] * 3], "adaptation": None}}
        for place in range(12)
    ]  # fmt: skip
    report = summarize(cases, rows, methods)
    windows = {method: report["methods"][method]["windows"] for method in methods}
    assert {name: row["success_rate"] for name, row in windows["context"].items()} == {
        "trial 3": 1.0, "trial 5": pytest.approx(11 / 12), "trials 5 to 8": pytest.approx(11 / 12),
    }  # fmt: skip
    assert (
        windows["context"]["trials 5 to 8"]["interval"][0]
        < 11 / 12
        < windows["context"]["trials 5 to 8"]["interval"][1]
    )
    late = report["paired"]["repeat - context"]["windows"]["trials 5 to 8"]
    assert late["difference"] == pytest.approx(0.25 - 11 / 12) and late["interval"][1] < 0
    assert report["sessions_unseen"] == 1
    assert report["judged"] == {"trials": 16 * 12, "false_lifts": 0, "missed_lifts": sum(range(12))}


def test_propensity_is_told_by_size_and_drawn(tmp_path: Path) -> None:
    cases = cases_of(("mql",), (5, 20), 1, 2, 3)
    ratios = {"mug": 2.0, "random-001": 0.5, "can": 0.5, "kettle": 1.0}
    rows = [{"mql": {"adaptation": {"mean_importance_ratio": ratios}}} for _ in cases]
    rows[-1] = {"mql": {"adaptation": {"mean_importance_ratio": {name: 3 * v for name, v in ratios.items()}}}}
    found = mean_ratios(cases, rows)
    assert found == {"object-0": {name: 2 * v for name, v in ratios.items()}}
    summary = propensity_summary({"jug": found["object-0"]})["jug"]
    assert next(iter(summary["most"].items())) == ("mug", 4.0) and len(summary["most"]) == 4
    assert summary["like size"] + summary["unlike size"] == pytest.approx(4.0)
    save_figure(propensity_figure({"jug": found["object-0"]}), str(tmp_path / "propensity.png"))
    assert (tmp_path / "propensity.png").stat().st_size > 5000
    assert mean_ratios(cases, [{"mql": {"adaptation": None}} for _ in cases]) == {}
    # Two seeds may recycle from different objects.
    seeds = cases_of(("mql",), (5,), 1, 2, 1)
    both = [{"mql": {"adaptation": {"mean_importance_ratio": row}}} for row in ({"mug": 0.2}, {"mug": 0.4, "can": 1})]
    assert mean_ratios(seeds, both) == {"object-0": {"can": 1.0, "mug": pytest.approx(0.3)}}


def test_every_object_that_a_session_tests_counts() -> None:
    cases = cases_of(("context",), (5,), 2, 1, 3)
    rows = [
        {"new": [False], "judged": NOTHING_JUDGED,
         "context": {"successes": [[True] * 3, [False] * 3, [False, False, True]], "adaptation": None}}
        for _ in cases
    ]  # fmt: skip
    report = summarize(cases, rows, ("context",))
    assert report["methods"]["context"]["success_rate"] == pytest.approx(2 / 3)
    assert report["methods"]["context"]["by_trial"] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    entry = report["objects"]["object-0"]["context"]
    assert (entry["successes"], entry["trials"]) == (4, 9)
