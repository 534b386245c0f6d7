"""Adaptation: what it does to the learner, what it reports, and that it can be undone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, assert_same_state, filled_replay, make_session, small_learner, trials

from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, ablations, adapt, transition_features
from mql_ros.algorithm.adaptation.frozen_context import FrozenContexts
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.experience.session import taken

SMALL = AdaptationConfig(new_updates=3, recycling_updates=6, batch_blocks=8, pool_blocks=40)


def case(shift=0.3, count=6):
    learner, meta = small_learner(), filled_replay()
    rng = np.random.default_rng(5)
    for _ in range(4):
        learner.update(meta.sample(8, rng))
    new = Replay(O, A, 2, 1000)
    new.add(trials(rng, "bottle", count=count, shift=shift))
    return learner, meta, new


def test_reports_what_it_found_and_did():
    learner, meta, new = case()
    result = adapt(learner, meta, new, SMALL)
    assert 0.0 < result.effective_sample_size <= 1.0
    assert result.proximal_coefficient == pytest.approx(1.0 - result.effective_sample_size)
    assert 0.0 <= result.classifier_accuracy <= 1.0
    assert set(result.mean_importance_ratio) == set(meta.tasks)
    assert (result.new_updates, result.recycling_updates, result.new_transitions) == (3, 6, 18)
    assert len(result.losses["critic_loss"]) == 9
    assert result.parameter_distance > 0.0
    assert result.seconds > 0.0
    assert result.overlap and result.reasons == []


def test_a_state_dict_from_before_undoes_an_adaptation_exactly():
    learner, meta, new = case()
    before = learner.state_dict()
    config = learner.config
    adapt(learner, meta, new, replace(SMALL, actor_learning_rate=1e-2, critic_learning_rate=1e-2))
    assert not torch.equal(before["actor"]["layers.0.weight"], learner.actor.layers[0].weight)
    learner.update(meta.sample(8, np.random.default_rng(0)))
    learner.load_state_dict(before)
    assert_same_state(before, learner.state_dict())
    assert learner.config == config


def test_the_same_seed_gives_the_same_policy():
    states = []
    for _ in range(2):
        learner, meta, new = case()
        adapt(learner, meta, new, SMALL)
        states.append(learner.state_dict())
    assert_same_state(*states)
    learner, meta, new = case()
    adapt(learner, meta, new, replace(SMALL, seed=1))
    assert not torch.equal(states[0]["actor"]["layers.0.weight"], learner.actor.layers[0].weight)


@pytest.mark.parametrize("method", ["context", "fine-tune", "uniform-replay", "replay-only", "mql"])
def test_every_ablation_is_a_configuration(method):
    learner, meta, new = case()
    before = learner.state_dict()
    result = adapt(learner, meta, new, ablations(SMALL)[method])
    done = result.new_updates, result.recycling_updates
    expected = {"context": (0, 0), "fine-tune": (9, 0), "replay-only": (0, 9)}.get(method, (3, 6))
    assert done == expected
    assert (result.mean_importance_ratio != {}) == (method in ("replay-only", "mql"))
    if method == "context":
        assert_same_state(before, learner.state_dict())


def test_fixed_proximal_coefficient_holds_back():
    distances = []
    for coefficient in (0.0, 50.0):
        learner, meta, new = case()
        result = adapt(learner, meta, new, replace(SMALL, proximal=coefficient, recycling_updates=60))
        assert result.proximal_coefficient == coefficient
        distances.append(result.parameter_distance)
    assert distances[1] < distances[0]


@pytest.mark.parametrize("recycling", ["proportional", "weighted"])
def test_recycling_prefers_data_that_resemble_the_new_task(recycling):
    rng = np.random.default_rng(0)
    meta = Replay(O, A, 2)
    for _ in range(6):
        meta.add(trials(rng, "mug", shift=1.0))
        meta.add(trials(rng, "ball", shift=-1.0))
    new = Replay(O, A, 2)
    new.add(trials(rng, "bottle", count=8, shift=0.8))
    learner, seen = small_learner(), []
    update = learner.update
    learner.update = lambda batch, **kwargs: seen.append(batch) or update(batch, **kwargs)
    config = replace(SMALL, recycling_updates=60, batch_blocks=32, new_fraction=0.0, overlap_threshold=1.0)
    result = adapt(learner, meta, new, replace(config, recycling=recycling))
    ratio = result.mean_importance_ratio["mug"] / result.mean_importance_ratio["ball"]
    assert ratio > 1.5
    weight = {"mug": 0.0, "ball": 0.0}
    for batch in seen[3:]:
        for name, value in zip(meta.task_of(batch.index), batch.weight.tolist(), strict=True):
            weight[name] += value
    assert weight["mug"] / weight["ball"] == pytest.approx(ratio, rel=0.15)


def test_the_critics_may_go_first():
    learner, meta, new = case()
    before = learner.state_dict()
    adapt(learner, meta, new, replace(SMALL, critic_first_updates=9))
    assert_same_state(before["actor"], dict(learner.actor.state_dict()))
    assert not torch.equal(before["critic"]["head.weight"], learner.critic.head.weight)


def test_a_failed_adaptation_leaves_the_learner_as_it_was():
    learner, meta, _ = case()
    before = learner.state_dict()
    session = trials(np.random.default_rng(5), "bottle", count=6)
    new = Replay(O, A, 2, 1000)
    new.add(replace(session, reward=np.full_like(session.reward, 1e38)))  # its square overflows
    with pytest.raises(ValueError, match="ended in numbers that are not finite"):
        adapt(learner, meta, new, SMALL)
    assert_same_state(before, learner.state_dict())


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
    "change", [dict(proximal="much"), dict(proximal=-1.0), dict(recycling="some"), dict(new_fraction=2.0)]
)
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match=r"expected|must"):
        AdaptationConfig(**change)


def test_time_limited_sessions_can_be_adapted_to():
    learner, meta, _ = case()
    new = Replay(O, A, 2)
    new.add(make_session(np.random.default_rng(0), "bottle", 20))
    assert adapt(learner, meta, new, SMALL).recycling_updates == 6


def test_old_sessions_are_recycled_as_whoever_knows_the_task_moves_them():
    seen = []

    def moved(old, new, count, rng):
        seen.append((len(list(new.sessions())), count))
        return filled_replay(seed=int(rng.integers(1000)), tasks=2)

    config = replace(SMALL, symmetry_sessions=7)
    learner, meta, new = case()
    result = adapt(learner, meta, new, config, moved)
    assert seen == [(1, 7)]
    assert result.symmetry_sessions == len(list(filled_replay(tasks=2).sessions()))
    assert set(result.mean_importance_ratio) == set(filled_replay(tasks=2).tasks) != set(meta.tasks)
    again = case()[0]
    adapt(again, meta, new, config, moved)
    assert_same_state(learner.state_dict(), again.state_dict())
    # Where nothing can be moved, and where nothing is to be, the old data are recycled as they are.
    plain = case()[0]
    adapt(plain, meta, new, SMALL)
    for setting, symmetry in ((config, lambda *_: None), (SMALL, moved)):
        other = case()[0]
        found = adapt(other, meta, new, setting, symmetry)
        assert set(found.mean_importance_ratio) == set(meta.tasks) and found.symmetry_sessions == 0
        assert_same_state(plain.state_dict(), other.state_dict())
    assert len(seen) == 2


def test_somebody_must_know_how_to_move_old_sessions():
    learner, meta, new = case()
    before = learner.state_dict()
    with pytest.raises(ValueError, match="symmetry_sessions"):
        adapt(learner, meta, new, replace(SMALL, symmetry_sessions=1))
    assert_same_state(before, learner.state_dict())
    # Without recycling no symmetry is needed.
    adapt(learner, meta, new, replace(SMALL, symmetry_sessions=1, use_recycling=False))


def test_the_papers_ablations_recycle_old_data_as_they_are():
    methods = ablations(replace(SMALL, symmetry_sessions=5))
    moved = {name for name, one in methods.items() if one.symmetry_sessions and one.use_recycling}
    assert moved == {"mql", "unweighted"}
    assert replace(methods["no-symmetry"], symmetry_sessions=5) == methods["mql"]
    alike = ablations(SMALL)
    assert alike["no-symmetry"] == alike["mql"] and alike["unweighted"] == alike["uniform-replay"]


def test_resampled_histories_teach_success_after_successes_too():
    learner, meta, _ = case()
    rng = np.random.default_rng(0)
    new = Replay(O, A, 2)
    session = trials(rng, "bottle", count=8)
    # One success, which came right after the first failures: later histories never saw it.
    session.reward[:] = np.where(session.block == 2, 1.0, -1.0)
    session.action[:] = np.where(session.block == 2, 0.5, -0.9)[:, None]
    session.observation[:] = np.tile(session.observation[:3], (8, 1))
    label = np.where((session.block == 2)[:, None], session.action, np.nan)
    new.add(replace(session, teacher_action=label))
    config = ablations(replace(SMALL, new_updates=240, actor_learning_rate=3e-3, learn_context=False))["fine-tune"]
    config = replace(config, clone_weight=5.0)
    learner.config = replace(learner.config, actor_q_weight=0.0)
    # What the adapted policy will see: successes only.
    ahead = Replay(O, A, 2)
    ahead.add(taken(session, np.tile(np.flatnonzero(session.block == 2), 4), np.repeat(np.arange(4), 3)))
    late = ahead.gather(ahead.transition_indices()[-3:])
    snapshot, distance = learner.state_dict(), {}
    for copies in (0, 20):
        learner.load_state_dict(snapshot)
        adapt(learner, meta, new, replace(config, resampled_histories=copies))
        with torch.no_grad():
            distance[copies] = float((learner.actor(late.observation, learner.contexts(late)[0]) - 0.5).abs().mean())
    assert distance[20] < 0.8 * distance[0], distance


def test_without_labels_to_clone_the_policy_stays_as_it_is():
    learner, meta, new = case()
    before = learner.state_dict()
    result = adapt(learner, meta, new, replace(SMALL, clone_weight=5.0))
    assert (result.new_updates, result.recycling_updates, result.parameter_distance) == (0, 0, 0.0)
    assert any("no trial succeeded" in reason for reason in result.reasons)
    assert_same_state(learner.state_dict(), before)
    # With the label of one decision all updates are done.
    labelled = Replay(O, A, 2, 1000)
    for session in new.sessions():
        label = np.full_like(session.action, np.nan)
        label[3] = 0.25
        labelled.add(replace(session, teacher_action=label))
    result = adapt(learner, meta, labelled, replace(SMALL, clone_weight=5.0))
    assert (result.new_updates, result.recycling_updates) == (SMALL.new_updates, SMALL.recycling_updates)


def test_a_frozen_encoder_stays_as_it_was_meta_trained():
    learner, meta, new = case()
    before = learner.state_dict()["encoder"]
    adapt(learner, meta, new, replace(SMALL, learn_context=False, overlap_threshold=1.0))
    assert_same_state(before, learner.state_dict()["encoder"])


def test_fewer_features_overlap_more():
    _, meta, new = case(shift=1.0)
    found = {
        count: adapt(small_learner(), meta, new, replace(SMALL, feature_components=count, overlap_threshold=1.0))
        for count in (0, 1)
    }
    assert found[1].effective_sample_size > found[0].effective_sample_size


@pytest.mark.parametrize("seed", range(4))
def test_contexts_encoded_once_are_those_of_every_batch(seed):
    learner, meta, _ = case()
    rng = np.random.default_rng(seed)
    pool = meta.sample_unique(40, rng)
    weights = np.zeros(meta.index_size)
    weights[pool] = rng.random(len(pool)) + 0.1
    frozen = FrozenContexts(learner, meta, pool)
    batch = meta.sample_proportional(16, rng, weights)
    (context, after), (expected, expected_after) = frozen.of(batch), learner.contexts(batch)
    torch.testing.assert_close(context, expected.detach(), rtol=0, atol=1e-6)
    goes_on = batch.terminal == 0.0
    torch.testing.assert_close(after[goes_on], expected_after[goes_on], rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="not encoded"):
        FrozenContexts(learner, meta, pool[:3]).of(batch)


def test_a_frozen_encoder_is_not_run_in_any_update(monkeypatch):
    config = replace(SMALL, learn_context=False, overlap_threshold=1.0, resampled_histories=1, new_fraction=0.5)
    learner, meta, new = case()
    calls, forward = [], learner.encoder.forward
    monkeypatch.setattr(learner.encoder, "forward", lambda *inputs: calls.append(1) or forward(*inputs))
    adapt(learner, meta, new, config)
    assert len(calls) == 4, "features and contexts of the new data, and of the old"
    # The same updates with a pass in each.
    plain, meta, new = case()
    update = plain.update
    monkeypatch.setattr(plain, "update", lambda batch, contexts, **kinds: update(batch, **kinds))
    adapt(plain, meta, new, config)
    for name in ("actor", "critic"):
        for one, two in zip(learner.networks[name].parameters(), plain.networks[name].parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
