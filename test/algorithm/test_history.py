"""The actor's history, the training batch's and the target's at the next step are one and the same."""

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, make_session, part_of, small_learner, trials
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay, block_numbers
from mql_ros.algorithm.experience.session import joined, resampled, stretches

ENCODER = small_learner().encoder


def tracked_contexts(session, history_blocks, block_length=None):
    tracker = ContextTracker(ENCODER, history_blocks, A, O, block_length)
    contexts = [tracker.context]
    for t in range(len(session)):
        step = session.action[t], session.reward[t], session.next_observation[t], session.done[t]
        contexts.append(tracker.append(*step))
    return np.array(contexts)


def replay_contexts(batch):
    with torch.no_grad():
        outputs = ENCODER(batch.items)
    return outputs[batch.row, batch.position].numpy(), outputs[batch.next_row, batch.next_position].numpy()


@pytest.mark.slow
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    history_blocks=st.integers(0, 4),
    block_length=st.sampled_from([None, 1, 3]),
    end_probability=st.sampled_from([0.0, 0.2, 0.6]),
    cut=st.integers(1, 13),
)
def test_contexts_of_actor_and_replay_agree_at_every_step(seed, history_blocks, block_length, end_probability, cut):
    rng = np.random.default_rng(seed)
    replay = Replay(O, A, history_blocks, capacity=60)
    session = make_session(rng, "mug", 14, block_length, end_probability)
    # Dropped sessions, other sessions in between and growth by parts must not change any history.
    replay.add(make_session(rng, "old", 40, block_length, end_probability))
    identifier = replay.add(part_of(session, 0, cut))
    replay.add(make_session(rng, "ball", 20, block_length, end_probability))
    replay.extend(identifier, part_of(session, cut, 14))
    expected = tracked_contexts(session, history_blocks, block_length)
    indices = replay.transition_indices()
    mine = indices[np.array(replay.task_of(indices)) == "mug"]
    batch = replay.gather(mine)
    now, after = replay_contexts(batch)
    np.testing.assert_array_equal(batch.observation.numpy(), session.observation)
    np.testing.assert_allclose(now, expected[:-1], atol=2e-6)
    going_on = ~session.terminal
    # Only the very last step may lie in a block that nobody has closed in the replay yet.
    going_on[-1] &= bool(session.done[-1]) or block_length is None
    np.testing.assert_allclose(after[going_on], expected[1:][going_on], atol=2e-6)
    for batch in (replay.sample(16, rng), replay.sample_proportional(16, rng, np.ones(replay.index_size))):
        now, after = replay_contexts(batch)
        place = {index: t for t, index in enumerate(mine.tolist())}
        chosen = [(m, place[i]) for m, i in enumerate(batch.index.tolist()) if i in place]
        for m, t in chosen:
            np.testing.assert_allclose(now[m], expected[t], atol=2e-6)
            if going_on[t]:
                np.testing.assert_allclose(after[m], expected[t + 1], atol=2e-6)


@pytest.mark.parametrize("history_blocks", [0, 1, 3])
def test_while_acting_each_step_is_encoded_once(history_blocks, monkeypatch):
    states, step = [], ENCODER.step
    monkeypatch.setattr(ENCODER, "step", lambda item, hidden: states.append(len(hidden)) or step(item, hidden))
    tracked_contexts(make_session(np.random.default_rng(0), steps=12), history_blocks, block_length=2)
    assert len(states) == 12
    assert max(states) == history_blocks + 1


def test_padding_never_influences_a_result():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 2)
    for _ in range(4):
        replay.add(make_session(rng, steps=11))
    batch = replay.gather(replay.transition_indices())
    used = torch.zeros(batch.items.shape[:2], dtype=torch.bool)
    for rows, positions in ((batch.row, batch.position), (batch.next_row, batch.next_position)):
        for row, position in zip(rows.tolist(), positions.tolist(), strict=True):
            used[row, :position] = True
    assert not used.all()
    before = replay_contexts(batch)
    batch.items[~used] = 1e3
    for one, two in zip(before, replay_contexts(batch), strict=True):
        np.testing.assert_array_equal(one, two)


def test_windows_hold_one_session_only():
    rng = np.random.default_rng(1)
    replay = Replay(O, A, 3, capacity=100)
    for number in range(20):
        session = make_session(rng, f"object {number % 3}", 13)
        session.reward[:] = number
        replay.add(session)
    batch = replay.sample(64, rng)
    for m in range(len(batch)):
        rewards = batch.items[batch.row[m], : batch.position[m], A]
        assert torch.all(rewards == batch.reward[m])


def test_stepping_and_windows_agree_and_repeat_bit_for_bit():
    session = make_session(np.random.default_rng(2), steps=20)
    one, two = tracked_contexts(session, 2), tracked_contexts(session, 2)
    np.testing.assert_array_equal(one, two)
    assert np.all(one[0] == 0.0)
    assert np.any(one[1] != 0.0)


def test_tracker_reset_forgets_everything():
    session = make_session(np.random.default_rng(3), steps=4)
    tracker = ContextTracker(ENCODER, 2, A, O)
    tracker.append(session.action[0], 1.0, session.observation[0], False)
    tracker.reset()
    assert np.all(tracker.context == 0.0)
    first = tracker.append(session.action[1], 1.0, session.observation[1], True)
    fresh = ContextTracker(ENCODER, 2, A, O).append(session.action[1], 1.0, session.observation[1], True)
    np.testing.assert_array_equal(first, fresh)


def test_tracker_refuses_bad_steps_and_stays_as_it_was():
    tracker = ContextTracker(ENCODER, 2, A, O)
    tracker.append(np.zeros(A), 1.0, np.zeros(O), False)
    before = tracker.context
    with pytest.raises(ValueError, match="not finite"):
        tracker.append(np.zeros(A), float("nan"), np.zeros(O), False)
    with pytest.raises(ValueError, match="shapes"):
        tracker.append(np.zeros(A + 1), 0.0, np.zeros(O), False)
    np.testing.assert_array_equal(tracker.context, before)


def test_block_numbers_close_on_done_and_on_length():
    done = [False, True, False, False, False, True, False]
    assert block_numbers(done).tolist() == [0, 0, 1, 1, 1, 1, 2]
    assert block_numbers(done, 2).tolist() == [0, 0, 1, 1, 2, 2, 3]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_resampling_puts_whole_blocks_into_random_order(seed):
    rng = np.random.default_rng(seed)
    session = make_session(rng, steps=20)
    copy = resampled(session, rng)
    names = ("observation", "action", "reward", "next_observation", "done", "terminal")

    def blocks(one):
        places = range(one.block[0], one.block[-1] + 1)
        return [tuple(getattr(one, name)[one.block == k].tobytes() for name in names) for k in places]

    assert sorted(blocks(copy)) == sorted(blocks(session))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 5))
def test_stretches_hold_so_many_blocks_and_join_to_the_session(seed, blocks):
    session = make_session(np.random.default_rng(seed), steps=20)
    parts = stretches(session, blocks)
    counts = [len(np.unique(part.block)) for part in parts]
    assert set(counts[:-1]) <= {blocks} and counts[-1] <= blocks
    whole = joined(parts)
    np.testing.assert_array_equal(whole.block, session.block)
    for name in ("observation", "action", "reward", "next_observation", "done", "terminal"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(session, name))


def test_resampling_draws_each_order_as_often():
    rng = np.random.default_rng(0)
    session = trials(rng, "mug", count=4)
    firsts = [float(resampled(session, rng).reward[0]) for _ in range(800)]
    for reward in session.reward[::3]:
        assert firsts.count(float(reward)) / 800 == pytest.approx(1 / 4, abs=0.05)
