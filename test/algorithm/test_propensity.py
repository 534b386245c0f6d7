"""The classifier, the density ratio that it stands for, and the effective sample size."""

import numpy as np
import pytest
from helpers.algorithm import A, O
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.algorithm.adaptation.propensity import (
    PropensityConfig,
    effective_sample_size,
    fit_logistic,
    fit_propensity,
    importance_ratio,
    principal_components,
    proximal_coefficient,
)


def gaussians(n_new=300, n_meta=6000, shift=1.0, seed=0):
    """Two unit Gaussians whose true log density ratio is shift * x - shift^2 / 2 along the first axis."""
    rng = np.random.default_rng(seed)
    new, meta = rng.normal(size=(n_new, 3)), rng.normal(size=(n_meta, 3))
    new[:, 0] += shift
    return new, meta


def fit(new, meta, groups=10, **config):
    return fit_propensity(
        new,
        meta,
        np.arange(len(new)) * groups // len(new),
        np.arange(len(meta)) * groups // len(meta),
        ["near" if x > 0 else "far" for x in meta[:, 0]],
        PropensityConfig(**config),
    )


def test_recovers_a_known_density_ratio_whatever_the_class_sizes():
    for n_new, n_meta in ((4000, 60_000), (60_000, 4000), (6000, 6000)):
        new, meta = gaussians(n_new, n_meta)
        found = fit(new, meta, l2=1e-4, max_ratio=1e9, logit_clip=50.0)
        grid = np.zeros((5, 3))
        grid[:, 0] = np.linspace(-1, 2, 5)
        truth = grid[:, 0] - 0.5
        np.testing.assert_allclose(found.model.logit(grid), truth, atol=0.15)
        assert abs(found.importance_ratio.mean() - 1.0) < 0.15
        # Without correction for class sizes every ratio would be off by n_new / n_meta.
        if n_new != n_meta:
            assert abs(np.log(n_new / n_meta)) > 10 * 0.15


def test_mean_ratio_by_task_tells_near_from_far():
    found = fit(*gaussians())
    assert found.overlap and found.reason == ""
    assert found.mean_importance_ratio["near"] > 2 * found.mean_importance_ratio["far"]
    # Best possible balanced accuracy for a shift of one standard deviation: Phi(1/2) = 0.69.
    assert found.classifier_accuracy == pytest.approx(0.69, abs=0.04)


def test_ratios_are_clipped():
    new, meta = gaussians(shift=4.0)
    found = fit(new, meta, l2=1e-4, max_ratio=3.0, logit_clip=2.0)
    assert found.importance_ratio.max() == 3.0
    assert found.importance_ratio.min() == pytest.approx(np.exp(-2.0))


def test_accuracy_is_held_out_by_group():
    """Noise that marks each trial lets a classifier learn its own trials by heart, but not those kept aside."""
    rng = np.random.default_rng(0)
    signature = rng.normal(size=(20, 60))
    groups = np.repeat(np.arange(20), 10)
    features = signature[groups] + 0.01 * rng.normal(size=(200, 60))
    is_new = groups < 10
    found = fit_propensity(
        features[is_new],
        features[~is_new],
        groups[is_new],
        groups[~is_new],
        ["old"] * 100,
        PropensityConfig(l2=1e-4),
    )
    assert found.training_accuracy == 1.0
    assert found.classifier_accuracy < 0.68
    assert found.overlap


def test_no_overlap_is_said():
    found = fit(*gaussians(shift=30.0))
    assert not found.overlap
    assert "do not overlap" in found.reason and "recycling was skipped" in found.reason


def test_one_trial_leaves_overlap_unknown():
    new, meta = gaussians(6, 100)
    found = fit_propensity(new, meta, np.zeros(6), np.arange(100), ["old"] * 100)
    assert np.isnan(found.classifier_accuracy)
    assert found.overlap and "two trials" in found.reason


def test_constant_features_give_equal_ratios():
    found = fit(np.ones((20, 3)), np.ones((50, 3)))
    np.testing.assert_allclose(found.importance_ratio, 1.0, atol=1e-5)
    assert found.effective_sample_size == pytest.approx(1.0)


def test_empty_or_broken_features_are_refused():
    new, meta = gaussians(10, 10)
    with pytest.raises(ValueError, match="no new transitions"):
        fit_propensity(new[:0], meta, [], np.arange(10), ["old"] * 10)
    with pytest.raises(ValueError, match="no meta-training transitions"):
        fit_propensity(new, meta[:0], np.arange(10), [], [])
    new[0, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit_propensity(new, meta, np.arange(10), np.arange(10), ["old"] * 10)


def test_stronger_penalty_means_flatter_ratios():
    new, meta = gaussians()
    config = PropensityConfig(max_ratio=1e9, logit_clip=50.0)
    spread = [np.std(importance_ratio(fit_logistic(new, meta, l2), meta, config)) for l2 in (1e-4, 0.1, 10.0)]
    assert spread[0] > spread[1] > spread[2]


def test_effective_sample_size_limits():
    assert effective_sample_size(np.full(7, 0.3)) == pytest.approx(1.0)
    single = np.zeros(40)
    single[3] = 5.0
    assert effective_sample_size(single) == pytest.approx(1 / 40)
    assert effective_sample_size(np.zeros(4)) == effective_sample_size([]) == 0.0
    assert proximal_coefficient(np.full(7, 1e-200)) == pytest.approx(0.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=30), st.floats(1e-6, 1e6))
def test_effective_sample_size_is_bounded_and_free_of_scale(ratios, scale):
    size = effective_sample_size(ratios)
    assert 1 / len(ratios) - 1e-9 <= size <= 1.0
    assert effective_sample_size(np.array(ratios) * scale) == pytest.approx(size, rel=1e-6)


def test_settings_without_sense_are_refused():
    with pytest.raises(ValueError, match="positive"):
        PropensityConfig(l2=0.0)


def test_feature_count_is_free():
    rng = np.random.default_rng(0)
    found = fit_propensity(
        rng.normal(size=(30, O + A)), rng.normal(size=(40, O + A)), np.arange(30), np.arange(40), ["old"] * 40
    )
    assert found.importance_ratio.shape == (40,)


def test_principal_components_keep_what_varies_and_treat_both_sides_alike():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 2))
    mixing = rng.normal(size=(2, 10))
    meta = hidden @ mixing + 0.01 * rng.normal(size=(500, 10)) + 3.0
    new, old = principal_components(meta[:7], meta, 2)
    assert old.shape == (500, 2)
    np.testing.assert_allclose(new, old[:7])
    np.testing.assert_allclose(old.mean(axis=0), 0.0, atol=1e-9)
    # Two directions hold nearly everything: the hidden numbers can be read from them linearly.
    found, *_ = np.linalg.lstsq(old, hidden - hidden.mean(axis=0), rcond=None)
    np.testing.assert_allclose(old @ found, hidden - hidden.mean(axis=0), atol=0.1)
