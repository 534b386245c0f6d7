import numpy as np
import pytest

from mql_ros.evaluation.intervals import bootstrap_mean, paired_difference, rate_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_is_symmetric_and_within_bounds() -> None:
    for trials in (1, 7, 200):
        for successes in range(trials + 1):
            low, high = wilson_interval(successes, trials)
            mirrored = wilson_interval(trials - successes, trials)
            assert 0.0 <= low <= successes / trials <= high <= 1.0
            assert (1 - high, 1 - low) == pytest.approx(mirrored)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_nonsense(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(successes, trials)


def test_bootstrap_agrees_with_the_normal_interval_of_many_values() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=2000)
    estimate = bootstrap_mean(values, seed=1)
    spread = 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.mean == pytest.approx(values.mean())
    assert (estimate.low, estimate.high) == pytest.approx((estimate.mean - spread, estimate.mean + spread), abs=0.01)


def test_the_seed_decides_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=9)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values, seed=1, resamples=50) != bootstrap_mean(values, seed=2, resamples=50)


def test_one_value_has_no_spread() -> None:
    estimate = bootstrap_mean([0.25], seed=0)
    assert estimate.as_dict() == {"mean": 0.25, "low": 0.25, "high": 0.25}


def test_pairs_cancel_what_they_share() -> None:
    rng = np.random.default_rng(0)
    object_effect = rng.normal(0.0, 10.0, size=40)
    second = object_effect + rng.normal(0.0, 0.1, size=40)
    estimate = paired_difference(object_effect + 0.5, second, seed=0)
    assert 0.4 < estimate.low < 0.5 < estimate.high < 0.6


@pytest.mark.parametrize("values", [[], [[1.0]], [np.nan]])
def test_bootstrap_refuses_nonsense(values: list) -> None:
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(values, seed=0)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="no pairs"):
        paired_difference([1.0, 2.0], [1.0], seed=0)


def test_trials_of_one_object_count_as_one_thing() -> None:
    """Half of the objects always succeed: a hundred trials of each are worth no more than ten."""
    few = rate_interval(np.repeat([[0.0], [1.0]], 10, axis=0).repeat(10, axis=1))
    many = rate_interval(np.repeat([[0.0], [1.0]], 10, axis=0).repeat(100, axis=1))
    assert few == many
    assert few.kind == "bootstrap over objects"
    naive = wilson_interval(1000, 2000)
    assert few.low < naive[0] - 0.1 < 0.5 < naive[1] + 0.1 < few.high


@pytest.mark.parametrize("objects", [1, 4, 5, 30])
def test_few_objects_get_a_wilson_interval(objects: int) -> None:
    outcomes = np.random.default_rng(objects).integers(2, size=(objects, 12))
    interval = rate_interval(outcomes)
    if objects < 5:
        assert interval.kind == "wilson"
        assert (interval.low, interval.high) == wilson_interval(int(outcomes.sum()), outcomes.size)
    else:
        assert interval.kind == "bootstrap over objects"
        assert interval.low < outcomes.mean() < interval.high
    assert interval == rate_interval(outcomes)


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_where_nothing_differs_there_is_no_certainty(outcome: float) -> None:
    interval = rate_interval(np.full((40, 10), outcome))
    assert (interval.low, interval.high) == wilson_interval(int(40 * outcome), 40)
    assert interval.kind == "wilson over objects"


@pytest.mark.parametrize("outcomes", [[1, 0], [[0.5]], [[]], [[np.nan]]])
def test_outcomes_are_zeros_and_ones(outcomes: list) -> None:
    with pytest.raises(ValueError, match="zeros and ones"):
        rate_interval(outcomes)
