"""Weak points of the published implementation, one test for each: none of them may come back."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, assert_same_state, filled_replay, make_session, small_learner, trials

from mql_ros.algorithm.adaptation import adapt as adaptation
from mql_ros.algorithm.adaptation.adapt import AdaptationConfig, adapt
from mql_ros.algorithm.adaptation.propensity import fit_propensity
from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay
from mql_ros.algorithm.policy_bundle import load_bundle, save_bundle, td3_of
from mql_ros.algorithm.td3 import TD3Config

SMALL = AdaptationConfig(new_updates=3, recycling_updates=5, batch_size=8, pool_size=40)


def new_replay(shift=0.3, count=6):
    replay = Replay(O, A, 2, 1000)
    replay.add(trials(np.random.default_rng(5), "bottle", count=count, shift=shift))
    return replay


def test_1_the_target_sees_the_history_of_the_actor_at_the_start_of_a_trial():
    rng = np.random.default_rng(0)
    replay, learner = Replay(O, A, 1), small_learner()
    session = make_session(rng, steps=12, end_probability=0.4)
    session.terminal[:] = False
    replay.add(session)
    tracker = ContextTracker(learner.encoder, 1, A, O)
    _, after = learner.contexts(replay.gather(replay.transition_indices()))
    for t in range(12):
        seen = tracker.append(session.action[t], session.reward[t], session.next_observation[t], session.done[t])
        np.testing.assert_allclose(after[t].numpy(), seen, atol=1e-6)


def test_2_acting_uses_the_window_lengths_of_training_from_the_first_step_on():
    replay, learner = filled_replay(history_blocks=2), small_learner()
    batch = replay.gather(replay.transition_indices())
    trained = set(batch.position.tolist())
    assert 0 in trained
    context, _ = learner.contexts(batch)
    assert torch.all(context[batch.position == 0] == 0.0)
    tracker, items = ContextTracker(learner.encoder, 2, A, O), np.zeros((60, A + 1 + O + 1), dtype=np.float32)
    items[:, A] = np.arange(60) / 60.0
    items[2::3, -1] = 1.0
    for t in range(60):
        length = t % 3 + 3 * min(t // 3, 2)
        assert length in trained
        window = torch.from_numpy(items[t - length : t])[None]
        np.testing.assert_allclose(tracker.context, learner.encoder(window)[0, -1].detach(), atol=1e-6)
        tracker.append(items[t, :A], items[t, A], items[t, A + 1 : -1], items[t, -1] > 0.0)


def test_3_importance_ratios_do_not_depend_on_class_sizes():
    rng = np.random.default_rng(0)
    meta, new = rng.normal(size=(4000, 2)), rng.normal(size=(100, 2))
    found = fit_propensity(new, meta, np.arange(100), np.arange(4000), ["old"] * 4000)
    assert 0.8 < np.median(found.importance_ratio) < 1.25  # uncorrected: 100 / 4000


def test_4_propensity_features_are_frozen_and_computed_once(monkeypatch):
    calls = []
    original = adaptation.transition_features
    monkeypatch.setattr(
        adaptation, "transition_features", lambda *args, **kw: calls.append(args) or original(*args, **kw)
    )
    found = []
    for updates in (0, 30):
        calls.clear()
        result = adapt(small_learner(), filled_replay(), new_replay(), replace(SMALL, recycling_updates=updates))
        found.append(result)
        assert len(calls) == 2
    assert found[0].mean_importance_ratio == found[1].mean_importance_ratio
    assert found[0].effective_sample_size == found[1].effective_sample_size


def test_5_adaptation_keeps_the_optimisers_and_anchors_both_steps():
    learner, meta = small_learner(), filled_replay()
    learner.update(meta.sample(8, np.random.default_rng(0)))
    steps_before = float(learner.critic_optimizer.state_dict()["state"][0]["step"])
    seen = []
    update = learner.update

    def spy(batch, **kwargs):
        rates = {group["lr"] for group in learner.critic_optimizer.param_groups}
        seen.append((rates, kwargs["proximal"]))
        return update(batch, **kwargs)

    learner.update = spy
    result = adapt(learner, meta, new_replay(), SMALL)
    assert all(rates == {3e-4} for rates, _ in seen)
    assert float(learner.critic_optimizer.state_dict()["state"][0]["step"]) == steps_before + 8
    assert all(anchor.coefficient == 1.0 - result.effective_sample_size for _, anchor in seen)
    seen.clear()
    adapt(learner, meta, new_replay(), replace(SMALL, step_size=1e-5))
    assert all(rates == {1e-5} for rates, _ in seen)
    assert {group["lr"] for group in learner.critic_optimizer.param_groups} == {3e-4}


def test_5_an_effective_sample_size_of_one_leaves_no_proximal_term():
    result = adapt(small_learner(use_context=False), filled_replay(), new_replay(), SMALL)
    assert result.effective_sample_size == pytest.approx(1.0, abs=1e-6)
    assert result.proximal_coefficient == pytest.approx(0.0, abs=1e-6)


def test_6_without_overlap_recycling_is_skipped_and_said():
    learner = small_learner()
    result = adapt(learner, filled_replay(), new_replay(shift=500.0), replace(SMALL, observation_features=True))
    assert result.classifier_accuracy > 0.98
    assert not result.overlap
    assert (result.new_updates, result.recycling_updates) == (3, 0)
    assert "recycling was skipped" in result.reasons[0]


def test_7_one_training_task_is_enough():
    result = adapt(small_learner(), filled_replay(tasks=1), new_replay(), SMALL)
    assert result.recycling_updates == 5
    assert list(result.mean_importance_ratio) == ["object 0"]


def test_7_empty_data_are_named():
    learner, empty = small_learner(), Replay(O, A, 2, 10)
    before = learner.state_dict()
    with pytest.raises(ValueError, match="no new transitions"):
        adapt(learner, filled_replay(), empty, SMALL)
    with pytest.raises(ValueError, match="replay is empty"):
        adapt(learner, empty, new_replay(), SMALL)
    assert_same_state(before, learner.state_dict())
    one_step = Replay(O, A, 2, 10)
    one_step.add(trials(np.random.default_rng(0), "bottle", count=1, steps=1))
    assert adapt(learner, filled_replay(), one_step, SMALL).new_transitions == 1


def test_7_importance_ratios_of_zero_skip_recycling(monkeypatch):
    def nothing_alike(*args, **kwargs):
        found = fit_propensity(*args, **kwargs)
        zero = np.zeros_like(found.importance_ratio)
        return replace(found, importance_ratio=zero, effective_sample_size=0.0)

    monkeypatch.setattr(adaptation, "fit_propensity", nothing_alike)
    result = adapt(small_learner(), filled_replay(), new_replay(), SMALL)
    assert (result.new_updates, result.recycling_updates) == (3, 0)
    assert result.proximal_coefficient == 1.0
    assert "zero" in result.reasons[0]


def test_8_a_saved_policy_can_be_adapted_as_if_it_had_never_been_saved(tmp_path):
    learner, meta = small_learner(), filled_replay()
    rng = np.random.default_rng(0)
    for _ in range(5):
        learner.update(meta.sample(8, rng))
    save_bundle(tmp_path / "policy", learner, replay=meta, robot={}, task={}, replay_float16=False)
    bundle = load_bundle(tmp_path / "policy")
    restored, restored_meta = td3_of(bundle), bundle.make_replay()
    adapt(learner, meta, new_replay(), SMALL)
    adapt(restored, restored_meta, new_replay(), SMALL)
    assert_same_state(learner.state_dict(), restored.state_dict())


def test_9_transitions_are_stored_once_whatever_the_history():
    sizes = []
    for history_blocks in (0, 40):
        replay = Replay(O, A, history_blocks, 1000)
        for _ in range(5):
            replay.add(trials(np.random.default_rng(0), "mug", count=50))
        sizes.append(replay.nbytes)
    assert sizes[0] == sizes[1]


def test_10_an_update_never_waits_for_a_number(monkeypatch):
    learner, replay = small_learner(), filled_replay()
    batch = replay.sample(8, np.random.default_rng(0))

    def forbidden(*_):
        raise AssertionError("a tensor was turned into a number within an update")

    for name in ("item", "tolist", "__float__", "__bool__"):
        monkeypatch.setattr(torch.Tensor, name, forbidden)
    for _ in range(2):
        learner.update(batch, proximal=learner.proximal_term(0.5))


def test_10_targets_are_computed_without_gradient():
    learner, replay = small_learner(), filled_replay()
    _, after = learner.contexts(replay.sample(8, np.random.default_rng(0)))
    assert not after.requires_grad
    networks = learner.actor_target, learner.critic_target
    assert not any(p.requires_grad for network in networks for p in network.parameters())


def test_10_one_recurrent_pass_serves_both_contexts():
    learner, replay = small_learner(td3=TD3Config(policy_delay=1)), filled_replay()
    passes = []
    learner.encoder.register_forward_hook(lambda *_: passes.append(1))
    learner.update(replay.sample(8, np.random.default_rng(0)))
    assert len(passes) == 1


def test_10_the_hidden_state_is_carried_while_acting():
    learner, counts = small_learner(), []
    tracker = ContextTracker(learner.encoder, 100, A, O)
    step = learner.encoder.step
    learner.encoder.step = lambda *args: counts.append(1) or step(*args)
    for t in range(60):
        tracker.append(np.zeros(A), 0.0, np.zeros(O), t % 20 == 19)
    assert len(counts) == 60


def test_10_no_loop_over_samples():
    replay, rng = filled_replay(), np.random.default_rng(0)
    replay.sample(8, rng)
    lines = []
    for blocks in (8, 512):
        count = 0

        def trace(_frame, event, _argument):
            nonlocal count
            count += event == "line"
            return trace

        sys.settrace(trace)
        try:
            replay.sample(blocks, rng)
        finally:
            sys.settrace(None)
        lines.append(count)
    assert lines[0] == lines[1]
