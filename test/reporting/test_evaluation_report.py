"""The report of `mql evaluate`: what it counts, and that order does not matter."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from helpers.evaluation import result_of

from mql_ros.algorithm.adaptation.exploration import NO_EXPLORATION
from mql_ros.evaluation.adaptation_settings import load_adaptation
from mql_ros.evaluation.methods import ARMS, Trial
from mql_ros.reporting.evaluation import print_report, summarize
from mql_ros.reporting.figures import STYLES, evaluation_figure, save_figure

CONFIG = load_adaptation()[0]


def trials_of(arms: tuple[str, ...], steps: tuple[int, ...], objects: int, seeds: int, tests: int) -> list[Trial]:
    return [
        Trial("b", f"object-{name}", seed, arms, step, 1, tests, NO_EXPLORATION, CONFIG)
        for seed, name, step in itertools.product(range(seeds), range(objects), steps)
    ]


def test_the_summary_counts_the_last_third_and_pairs_by_object() -> None:
    arms = ("context", "mql")
    trials = trials_of(arms, (5,), 2, 2, 3)
    lost, won = (
        {"successes": [[True, False, False]], "adaptation": None},
        {"successes": [[True] * 3], "adaptation": None},
    )
    report = summarize(trials, [{"new": [True, False], "context": lost, "mql": won} for _ in trials], arms)
    assert report["arms"]["context"]["success_rate"] == 0.0
    assert report["arms"]["context"]["by_trial"] == [1.0, 0.0, 0.0]
    assert report["arms"]["context"]["interval_kind"] == "wilson"
    assert report["arms"]["mql"]["success_rate"] == 1.0
    assert report["paired"]["mql - context"]["difference"] == pytest.approx(2 / 3)
    assert report["exploration"] == {
        "successes_by_object": {"object-0": [1, 1], "object-1": [1, 1]}, "sessions": 4, "sessions_without_success": 0,
    }  # fmt: skip
    entry = report["objects"]["object-0"]["context"]
    assert (entry["successes"], entry["trials"], entry["success_rate"]) == (2, 6, 0.0)


def test_the_order_in_which_sessions_end_does_not_matter() -> None:
    trials = trials_of(ARMS, (0, 5), 6, 3, 4)
    whole = summarize(trials, [result_of(trial) for trial in trials], ARMS)
    # Seeds and numbers of new trials in any order; objects in that of their first appearance.
    shuffled = random.Random(0).sample(trials, len(trials))
    shuffled.sort(key=lambda trial: trial.object_name)
    assert summarize(shuffled, [result_of(trial) for trial in shuffled], ARMS) == whole


def test_each_number_of_new_trials_stands_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    arms, steps = ("no-context", "context", "mql"), (0, 5, 20)
    trials = trials_of(arms, steps, 6, 2, 9)
    report = summarize(trials, [result_of(trial) for trial in trials], arms)
    for step in steps:
        alone = [trial for trial in trials if trial.new_trials == step]
        single = summarize(alone, [result_of(trial) for trial in alone], arms)
        assert report["by_new_trials"][str(step)] == single["arms"]
        assert report["paired_by_new_trials"][str(step)] == single["paired"]
        for name, entry in report["objects"].items():
            for arm in arms:
                assert (
                    entry[arm]["by_new_trials"][str(step)] == single["objects"][name][arm]["by_new_trials"][str(step)]
                )
    mean = np.mean([entry["mql"]["success_rate"] for entry in report["objects"].values()])
    assert mean == pytest.approx(report["arms"]["mql"]["success_rate"])
    assert "effective_sample_size" in report["by_new_trials"]["20"]["mql"]
    assert "effective_sample_size" not in report["by_new_trials"]["0"]["mql"]
    assert report["arms"]["mql"]["classifier_accuracy"] is None
    print_report(report)
    assert "mql - context" in capsys.readouterr().out


@pytest.mark.parametrize("steps", [(0, 5, 10, 20), (20,)])
@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_figure_shows_what_the_report_says(steps: tuple[int, ...], suffix: str, tmp_path: Path) -> None:
    arms = ("context", "mql", "from-scratch")
    trials = trials_of(arms, steps, 6, 2, 6)
    report = summarize(trials, [result_of(trial) for trial in trials], arms)
    report["settings"] = {
        "objects": ["held-out"], "seeds": 2, "policy": "grasp", "bundle_hash": "0123456789ab", "test_trials": 6,
    }  # fmt: skip
    figure = evaluation_figure(report)
    (axes,) = figure.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == list(arms)
    for arm, container in zip(arms, axes.containers, strict=True):
        expected = [row[arm]["success_rate"] for row in report["by_new_trials"].values()]
        if len(steps) == 1:
            expected = report["arms"][arm]["by_trial"]
        assert container.lines[0].get_ydata() == pytest.approx(expected)
    assert "6 objects × 2 seeds" in axes.get_title(loc="left") and "01234567" in axes.get_title(loc="left")
    assert "new trials" in axes.get_xlabel() and "success rate" in axes.get_ylabel()
    for name in ("a", "b"):
        save_figure(evaluation_figure(report), str(tmp_path / (name + suffix)))
    assert len(list(tmp_path.iterdir())) == 2
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_every_arm_has_its_own_line() -> None:
    assert set(STYLES) == set(ARMS)
    assert len(set(STYLES.values())) == len(ARMS)


def test_propensity_is_told_by_kind_and_distance_and_drawn(tmp_path: Path) -> None:
    from mql_ros.reporting.propensity import mean_ratios, propensity_figure, propensity_summary

    trials = trials_of(("mql",), (5, 20), 1, 2, 3)
    near_mug = {"mug": 2.0, "soccer-ball": 0.5, "can": 0.5, "kettle": 1.0}
    rows = [{"mql": {"adaptation": {"mean_importance_ratio": near_mug}}} for _ in trials]
    rows[-1] = {"mql": {"adaptation": {"mean_importance_ratio": {name: 3 * v for name, v in near_mug.items()}}}}
    ratios = mean_ratios(trials, rows)
    assert ratios == {"object-0": {name: 2 * v for name, v in near_mug.items()}}
    found = propensity_summary({"jug": ratios["object-0"]})["jug"]
    assert (found["category"], found["handle"], found["mug"], found["narrow"]) == ("handle", 4.0, 4.0, 1.0)
    save_figure(propensity_figure({"jug": ratios["object-0"]}), str(tmp_path / "propensity.png"))
    assert (tmp_path / "propensity.png").stat().st_size > 5000
    assert mean_ratios(trials, [{"mql": {"adaptation": None}} for _ in trials]) == {}
    # Two seeds may recycle from different objects.
    seeds = trials_of(("mql",), (5,), 1, 2, 1)
    found = [
        {"mql": {"adaptation": {"mean_importance_ratio": ratio}}} for ratio in ({"mug": 0.2}, {"mug": 0.4, "can": 1})
    ]
    assert mean_ratios(seeds, found) == {"object-0": {"can": 1.0, "mug": pytest.approx(0.3)}}


def test_every_object_that_a_session_tests_counts() -> None:
    trials = trials_of(("context",), (5,), 2, 1, 3)
    rows = [
        {"new": [False], "context": {"successes": [[True] * 3, [False] * 3, [False, False, True]], "adaptation": None}}
        for _ in trials
    ]
    report = summarize(trials, rows, ("context",))
    assert report["arms"]["context"]["success_rate"] == pytest.approx(2 / 3)
    assert report["arms"]["context"]["by_trial"] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    entry = report["objects"]["object-0"]["context"]
    assert (entry["successes"], entry["trials"]) == (4, 9)
