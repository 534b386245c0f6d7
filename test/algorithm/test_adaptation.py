"""Adaptation: what it does to the learner, what it reports, and that it can be undone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.algorithm import (
    A,
    O,
    assert_same_state,
    filled_replay,
    make_session,
    small_learner,
    small_q_learner,
    trials,
)

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, ablations, adapt, transition_features
from mql_ros.algorithm.adaptation.frozen_context import FrozenContexts
from mql_ros.algorithm.experience.replay import Replay

SMALL = AdaptationConfig(new_updates=3, recycling_updates=6, batch_size=8, pool_size=40)
SESSIONS = replace(SMALL, sampling="sessions", pool_size=6)
"""The same with whole sessions, as Q-learning is trained."""
BOTH = pytest.mark.parametrize("settings", [SMALL, SESSIONS], ids=["td3-blocks", "q-sessions"])


def case(settings=SMALL, shift=0.3, count=6):
    """A learner, old data and new ones: TD3 where blocks are drawn, else Q-learning."""
    whole = settings.sampling == "sessions"
    learner, history = (small_q_learner(), 8) if whole else (small_learner(), 2)
    meta = filled_replay(history_blocks=history)
    rng = np.random.default_rng(5)
    for _ in range(4):
        learner.update(meta.sample(8, rng))
    new = Replay(O, A, history, 1000)
    new.add(trials(rng, "bottle", count=count, shift=shift))
    return learner, meta, new


def weights_of(learner):
    return torch.cat([p.detach().flatten() for group in learner.parameters().values() for p in group])


@BOTH
def test_reports_what_it_found_and_did(settings):
    learner, meta, new = case(settings)
    result = adapt(learner, meta, new, settings)
    assert 0.0 < result.effective_sample_size <= 1.0
    assert result.proximal_coefficient == pytest.approx(1.0 - result.effective_sample_size)
    assert 0.0 <= result.classifier_accuracy <= 1.0
    assert set(result.mean_importance_ratio) == set(meta.tasks)
    assert (result.new_updates, result.recycling_updates, result.new_transitions) == (3, 6, 18)
    assert len(result.losses["critic_loss"]) == 9
    assert result.parameter_distance > 0.0
    assert result.seconds > 0.0
    assert result.overlap and result.reasons == []


@BOTH
def test_rollback_is_exact_even_after_more_training(settings):
    learner, meta, new = case(settings)
    before, weights = learner.state_dict(), weights_of(learner)
    config = learner.config
    adapt(learner, meta, new, replace(settings, step_size=1e-2))
    assert not torch.equal(weights, weights_of(learner))
    learner.update(meta.sample(8, np.random.default_rng(0)))
    learner.load_state_dict(before)
    assert_same_state(before, learner.state_dict())
    assert learner.config == config


@BOTH
def test_the_same_seed_gives_the_same_policy(settings):
    states = []
    for _ in range(2):
        learner, meta, new = case(settings)
        adapt(learner, meta, new, settings)
        states.append(learner.state_dict())
    assert_same_state(*states)
    weights = weights_of(learner)
    learner, meta, new = case(settings)
    adapt(learner, meta, new, replace(settings, seed=1))
    assert not torch.equal(weights, weights_of(learner))


@BOTH
@pytest.mark.parametrize("method", list(ablations(SMALL)))
def test_every_ablation_is_a_configuration(method, settings):
    learner, meta, new = case(settings)
    before = learner.state_dict()
    result = adapt(learner, meta, new, ablations(settings)[method])
    done = result.new_updates, result.recycling_updates
    expected = {"context": (0, 0), "fine-tune": (9, 0), "replay-only": (0, 9), "uniform-replay": (0, 9)}
    assert done == expected.get(method, (3, 6))
    assert (result.mean_importance_ratio != {}) == (method in ("replay-only", "no-proximal", "mql"))
    assert (result.proximal_coefficient > 0.0) == (method in ("replay-only", "mql"))
    if method == "context":
        assert_same_state(before, learner.state_dict())


def test_methods_take_the_updates_and_step_size_of_mql_and_differ_from_each_other():
    methods = ablations(replace(SMALL, step_size=1e-5, resampled_histories=2))
    assert len(set(methods.values())) == len(methods)
    for name, config in methods.items():
        assert (config.step_size, config.resampled_histories) == (1e-5, 2)
        assert config.new_updates + config.recycling_updates == (0 if name == "context" else 9)


@BOTH
def test_fixed_proximal_coefficient_holds_back(settings):
    distances = []
    for coefficient in (0.0, 50.0):
        learner, meta, new = case(settings)
        result = adapt(learner, meta, new, replace(settings, proximal=coefficient, recycling_updates=60))
        assert result.proximal_coefficient == coefficient
        distances.append(result.parameter_distance)
    assert distances[1] < distances[0]


def spied(learner):
    """The batches of the learner's updates, which are filled in as it learns."""
    seen, update = [], learner.update
    learner.update = lambda batch, **kwargs: seen.append(batch) or update(batch, **kwargs)
    return seen


def mugs_and_balls(history, sessions=6):
    rng = np.random.default_rng(0)
    meta = Replay(O, A, history)
    for _ in range(sessions):
        meta.add(trials(rng, "mug", shift=1.0))
        meta.add(trials(rng, "ball", shift=-1.0))
    new = Replay(O, A, history)
    new.add(trials(rng, "bottle", count=8, shift=0.8))
    return meta, new


@BOTH
@pytest.mark.parametrize("recycling", ["proportional", "weighted"])
def test_recycling_prefers_data_that_resemble_the_new_task(recycling, settings):
    learner = case(settings)[0]
    meta, new = mugs_and_balls(8 if settings is SESSIONS else 2)
    seen = spied(learner)
    config = replace(
        settings, recycling_updates=60, batch_size=32, pool_size=40, new_fraction=0.0, overlap_threshold=1.0
    )
    result = adapt(learner, meta, new, replace(config, recycling=recycling))
    ratio = result.mean_importance_ratio["mug"] / result.mean_importance_ratio["ball"]
    assert ratio > 1.5
    weight = {"mug": 0.0, "ball": 0.0}
    for batch in seen[3:]:
        for name, value in zip(meta.task_of(batch.index), batch.weight.tolist(), strict=True):
            weight[name] += value
    assert weight["mug"] / weight["ball"] == pytest.approx(ratio, rel=0.15)


@pytest.mark.parametrize("recycling", ["proportional", "weighted"])
def test_every_transition_of_a_drawn_session_has_the_ratio_of_the_session(recycling):
    learner = case(SESSIONS)[0]
    meta, new = mugs_and_balls(8)
    seen = spied(learner)
    adapt(learner, meta, new, replace(SESSIONS, recycling=recycling, new_updates=0, new_fraction=0.0))
    for batch in seen:
        assert batch.gradient_rows == SESSIONS.batch_size
        for row in range(batch.gradient_rows):
            weights = batch.weight[batch.row == row]
            assert len(weights) == 15 and torch.all(weights == weights[0])
            assert recycling == "weighted" or float(weights[0]) == pytest.approx(1.0, rel=1e-5)


@BOTH
def test_a_step_two_batch_has_its_part_of_new_data(settings):
    learner, meta, new = case(settings)
    seen = spied(learner)
    adapt(learner, meta, new, replace(settings, new_fraction=0.25))
    assert [batch.gradient_rows for batch in seen] == [8] * 9
    stored = {tuple(row) for session in new.sessions() for row in session.observation.tolist()}
    shares = [[tuple(row) in stored for row in batch.observation.tolist()] for batch in seen]
    new_rows = 2 * (18 if settings is SESSIONS else 3)
    assert [sum(share) for share in shares[3:]] == [new_rows] * 6 and all(map(all, shares[:3]))


@BOTH
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_adaptation_leaves_the_learner_as_it_was(settings, error):
    learner, meta, new = case(settings)
    before, config, update, count = learner.state_dict(), learner.config, learner.update, 0

    def spoiled(batch, **kwargs):
        nonlocal count
        count += 1
        if count == 4 and error is KeyboardInterrupt:
            raise KeyboardInterrupt
        metrics = update(batch, **kwargs)
        for parameter in learner.critic.parameters():
            parameter.data.fill_(float("nan"))
        return metrics

    learner.update = spoiled
    with pytest.raises(error, match="not finite" if error is ValueError else None):
        adapt(learner, meta, new, replace(settings, step_size=1e-5, learn_context=False))
    assert_same_state(before, learner.state_dict())
    assert learner.config == config


def test_an_encoder_without_context_recycles_evenly():
    learner, (_, meta, new) = small_learner(use_context=False), case()
    result = adapt(learner, meta, new, SMALL)
    assert result.effective_sample_size == pytest.approx(1.0, abs=1e-6)
    assert result.proximal_coefficient == pytest.approx(0.0, abs=1e-6)
    watching = adapt(learner, meta, new, replace(SMALL, observation_features=True))
    assert watching.effective_sample_size < 0.99


def test_features_contain_the_transition_itself():
    learner, meta, _ = case()
    indices = meta.transition_indices()
    features = transition_features(learner.encoder, meta, indices, chunk=7)
    assert features.shape == (len(meta), 6)
    np.testing.assert_allclose(features, transition_features(learner.encoder, meta, indices), atol=1e-6)
    assert not np.any(np.all(features == 0.0, axis=1))
    assert transition_features(learner.encoder, meta, indices, with_observation=True).shape == (len(meta), O + 6)


@pytest.mark.parametrize(
    "change",
    [
        dict(proximal="much"), dict(proximal=-1.0), dict(recycling="some"), dict(new_fraction=2.0),
        dict(sampling="steps"), dict(batch_size=0), dict(pool_size=0), dict(step_size=-1.0),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=r"expected|must"):
        AdaptationConfig(**change)


def test_time_limited_sessions_can_be_adapted_to():
    learner, meta, _ = case()
    new = Replay(O, A, 2)
    new.add(make_session(np.random.default_rng(0), "bottle", 20))
    assert adapt(learner, meta, new, SMALL).recycling_updates == 6


@BOTH
def test_a_frozen_encoder_stays_as_it_was_meta_trained(settings):
    learner, meta, new = case(settings)
    before = learner.state_dict()["encoder"]
    adapt(learner, meta, new, replace(settings, learn_context=False, overlap_threshold=1.0))
    assert_same_state(before, learner.state_dict()["encoder"])


def test_fewer_features_overlap_more():
    _, meta, new = case(shift=1.0)
    found = {
        count: adapt(small_learner(), meta, new, replace(SMALL, feature_components=count, overlap_threshold=1.0))
        for count in (0, 1)
    }
    assert found[1].effective_sample_size > found[0].effective_sample_size


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_contexts_encoded_once_are_those_of_every_batch(seed, settings):
    learner, meta, _ = case(settings)
    rng, whole = np.random.default_rng(seed), settings is SESSIONS
    pool = meta.sample_unique(settings.pool_size, rng, sessions=whole)
    weights = np.zeros(meta.index_size)
    weights[pool] = rng.random(len(pool)) + 0.1
    frozen = FrozenContexts(learner, meta, pool)
    batch = meta.sample_sessions(8, rng, weights=weights) if whole else meta.sample_proportional(16, rng, weights)
    (context, after), (expected, expected_after) = frozen.of(batch), learner.contexts(batch)
    torch.testing.assert_close(context, expected.detach(), rtol=0, atol=1e-6)
    goes_on = batch.terminal == 0.0
    torch.testing.assert_close(after[goes_on], expected_after[goes_on], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="not encoded"):
        FrozenContexts(learner, meta, pool[:3]).of(batch)


@BOTH
def test_a_frozen_encoder_is_not_run_in_any_update(monkeypatch, settings):
    config = replace(settings, learn_context=False, overlap_threshold=1.0, resampled_histories=1, new_fraction=0.5)
    learner, meta, new = case(settings)
    calls, forward = [], learner.encoder.forward
    monkeypatch.setattr(learner.encoder, "forward", lambda *inputs: calls.append(1) or forward(*inputs))
    adapt(learner, meta, new, config)
    assert len(calls) == 4, "features and contexts of the new data, and of the old"
    # The same updates with a pass in each.
    plain, meta, new = case(settings)
    update = plain.update
    monkeypatch.setattr(plain, "update", lambda batch, contexts, **kinds: update(batch, **kinds))
    adapt(plain, meta, new, config)
    torch.testing.assert_close(weights_of(learner), weights_of(plain), rtol=1e-4, atol=1e-5)


@BOTH
def test_copies_with_trials_in_other_orders_join_the_new_data_alone(settings):
    learner, meta, new = case(settings)
    seen = spied(learner)
    size = replace(settings, resampled_histories=7, new_updates=40, recycling_updates=0)
    result = adapt(learner, meta, new, size)
    assert (result.new_transitions, len(new)) == (18, 18)
    rewards = new.session(0).reward.tolist()
    firsts = {float(reward) for batch in seen for reward in batch.reward[batch.position == 0]}
    assert firsts <= set(rewards[::3]) and len(firsts) > 3, "trials stay whole, and several come first"


def test_a_new_session_longer_than_a_history_is_drawn_in_parts():
    learner, meta, _ = case(SESSIONS)
    new = Replay(O, A, 8)
    new.add(trials(np.random.default_rng(0), "bottle", count=20))
    seen = spied(learner)
    result = adapt(learner, meta, new, replace(SESSIONS, new_updates=30, recycling_updates=0))
    lengths = {int((batch.row == row).sum()) // 3 for batch in seen for row in range(batch.gradient_rows)}
    assert lengths == {9, 2} and result.new_transitions == 60
    drawn = {tuple(row) for batch in seen for row in batch.observation.tolist()}
    assert drawn == {tuple(row) for row in new.session(0).observation.tolist()}


def test_features_of_an_observation_leave_its_view_out():
    rng, learner = np.random.default_rng(0), small_learner()
    session = trials(rng, "mug", count=4)
    session.observation[:, 0] = session.next_observation[:, 0] = 0.25
    replay = Replay.of([session], O, A, 2, view_size=1)
    features = transition_features(learner.encoder, replay, replay.transition_indices(), with_observation=True)
    np.testing.assert_array_equal(features[:, : O - 1], session.observation[:, 1:])
    assert features.shape == (12, O - 1 + 6)
