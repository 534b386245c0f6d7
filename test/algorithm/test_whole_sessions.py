"""Batches of whole sessions: their contexts, their order and how often each is drawn."""

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, make_session, part_of, small_learner, trials
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.algorithm.context import ContextTracker
from mql_ros.algorithm.experience.replay import Replay

ENCODER = small_learner().encoder


def contexts_of(batch):
    """Contexts of the transitions of a batch, and of the steps after them."""
    with torch.no_grad():
        outputs = ENCODER(batch.items)
    return outputs[batch.row, batch.position].numpy(), outputs[batch.next_row, batch.next_position].numpy()


def tracked(actions, rewards, following, done, history_blocks):
    tracker = ContextTracker(ENCODER, history_blocks, A, O)
    steps = zip(actions, rewards, following, done, strict=True)
    return np.array([tracker.context, *(tracker.append(*step) for step in steps)])


def ended_replay(rng, history_blocks, count=5, tasks=3):
    """Sessions of trials that all ended, some for good and some at a time limit, none longer than a history."""
    replay = Replay(O, A, history_blocks)
    for number in range(count):
        blocks = int(rng.integers(1, history_blocks + 2))
        session = make_session(rng, f"object {number % tasks}", 40, end_probability=0.5)
        steps = np.flatnonzero(session.done)[:blocks][-1] + 1
        replay.add(part_of(session, 0, steps))
    return replay


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), history_blocks=st.integers(0, 4), shuffled=st.sampled_from([0.0, 0.5, 1.0]))
def test_contexts_are_those_of_an_actor_that_lived_the_session_in_this_order(seed, history_blocks, shuffled):
    rng = np.random.default_rng(seed)
    batch = ended_replay(rng, history_blocks).sample_sessions(6, rng, shuffled)
    now, after = contexts_of(batch)
    assert batch.gradient_rows == 6
    for row in range(6):
        chosen = np.flatnonzero(batch.row.numpy() == row)
        np.testing.assert_array_equal(batch.position[chosen], np.arange(len(chosen)))
        items = batch.items[row, : len(chosen)].numpy()
        done = items[:, -1] > 0.0
        lived = tracked(items[:, :A], items[:, A], items[:, A + 1 : -1], done, history_blocks)
        np.testing.assert_allclose(now[chosen], lived[:-1], atol=2e-6)
        goes_on = batch.terminal[chosen].numpy() == 0.0
        np.testing.assert_allclose(after[chosen][goes_on], lived[1:][goes_on], atol=2e-6)
        np.testing.assert_array_equal(batch.action[chosen], items[:, :A])
        np.testing.assert_array_equal(batch.reward[chosen], items[:, A])
        np.testing.assert_array_equal(batch.next_observation[chosen], items[:, A + 1 : -1])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), history_blocks=st.integers(0, 4))
def test_contexts_are_those_of_gathered_transitions(seed, history_blocks):
    rng = np.random.default_rng(seed)
    replay = ended_replay(rng, history_blocks)
    batch = replay.sample_sessions(6, rng)
    gathered = replay.gather(batch.index)
    for one, two in zip(contexts_of(batch), contexts_of(gathered), strict=True):
        goes_on = batch.terminal.numpy() == 0.0
        np.testing.assert_allclose(one[goes_on], two[goes_on], atol=2e-6)
    for name in ("observation", "action", "reward", "next_observation", "terminal", "index"):
        assert torch.equal(getattr(batch, name), getattr(gathered, name))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1))
def test_shuffled_sessions_hold_the_same_blocks_each_in_its_own_order(seed):
    rng = np.random.default_rng(seed)
    replay = ended_replay(rng, 4)
    batch = replay.sample_sessions(8, rng, shuffled=1.0)
    stored = {int(replay.session_of(indices[:1])[0]): indices for indices in map(replay.indices_of, replay.identifiers)}
    for row in range(8):
        slots = batch.index[batch.row == row].numpy()
        session = stored[int(replay.session_of(slots[:1])[0])]
        assert sorted(slots) == sorted(session)
        blocks = replay.block_of(slots)
        runs = np.split(slots, np.flatnonzero(np.diff(blocks)) + 1)
        assert len(runs) == len(np.unique(blocks))
        for run in runs:
            np.testing.assert_array_equal(run, session[replay.block_of(session) == replay.block_of(run[:1])])


def test_shuffling_draws_each_order_as_often_and_only_in_its_share():
    rng, replay = np.random.default_rng(0), Replay(O, A, 2)
    replay.add(trials(rng, "mug", count=3, steps=2))
    for share in (0.0, 0.5, 1.0):
        batch = replay.sample_sessions(3000, rng, share)
        first = replay.block_of(batch.index[batch.position == 0])
        names = np.unique(replay.block_of(replay.transition_indices()))
        found = [float(np.mean(first == name)) for name in names]
        expected = share / 3 + np.array([1.0 - share, 0.0, 0.0])
        np.testing.assert_allclose(found, expected, atol=0.04)


def test_each_task_weighs_the_same_whatever_its_sessions_are_like():
    rng, replay = np.random.default_rng(0), Replay(O, A, 8)
    for _ in range(9):
        replay.add(trials(rng, "many", count=2))
    replay.add(trials(rng, "long", count=9, steps=4))
    replay.add(trials(rng, "short", count=1, steps=1))
    batch = replay.sample_sessions(20_000, rng)
    names = np.array(replay.task_of(batch.index))
    for task in ("many", "long", "short"):
        share = batch.weight[torch.from_numpy(names == task)].sum() / batch.weight.sum()
        assert float(share) == pytest.approx(1 / 3, abs=0.02)


def test_drawing_in_proportion_expects_what_weights_in_the_loss_do():
    rng = np.random.default_rng(0)
    replay = ended_replay(rng, 4, count=12)
    weights = rng.random(replay.index_size) ** 3
    value = torch.from_numpy(rng.normal(size=replay.index_size) + 1.0)

    def expected(batch, factor):
        weight = batch.weight * factor[batch.index]
        return float((weight * value[batch.index]).sum() / weight.sum())

    even = expected(replay.sample_sessions(30_000, rng), torch.from_numpy(weights))
    drawn = expected(replay.sample_sessions(30_000, rng, weights=weights), torch.ones(replay.index_size))
    assert drawn == pytest.approx(even, abs=0.03)


def test_one_ratio_for_a_session_leaves_its_transitions_alike():
    rng = np.random.default_rng(0)
    replay = ended_replay(rng, 4)
    weights = np.zeros(replay.index_size)
    for number, identifier in enumerate(replay.identifiers):
        weights[replay.indices_of(identifier)] = number
    batch = replay.sample_sessions(500, rng, weights=weights)
    torch.testing.assert_close(batch.weight, torch.ones(len(batch)))
    assert set(replay.session_of(batch.index)) == set(replay.identifiers[1:])


def test_a_session_longer_than_a_history_is_refused():
    rng, replay = np.random.default_rng(0), Replay(O, A, 2)
    replay.add(trials(rng, "mug", count=4))
    with pytest.raises(ValueError, match="Session 0 has 4 blocks; a history holds 3"):
        replay.sample_sessions(1, rng)


def test_gathered_transitions_share_the_window_of_their_session():
    rng, replay = np.random.default_rng(0), Replay(O, A, 3)
    for _ in range(5):
        replay.add(trials(rng, "mug", count=4))
    batch = replay.gather(replay.transition_indices())
    assert len(batch.items) == batch.gradient_rows == 5
    replay.add(trials(rng, "mug", count=6))
    batch = replay.gather(replay.transition_indices())
    assert batch.gradient_rows == 5 + 1 + 2, "two blocks begin after the first one has left the history"


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 8))
def test_distinct_sessions_are_whole_and_spread_over_tasks(seed, count):
    rng = np.random.default_rng(seed)
    replay = ended_replay(rng, 3, count=9)
    indices = replay.sample_unique(count, rng, sessions=True)
    found = np.unique(replay.session_of(indices))
    assert len(found) == min(count, 9)
    for session in found:
        chosen = indices[replay.session_of(indices) == session]
        np.testing.assert_array_equal(chosen, replay.indices_of(int(session)))
    tasks = [replay.task_of(replay.indices_of(int(session))[:1])[0] for session in found]
    counts = [tasks.count(task) for task in replay.tasks]
    assert max(counts) - min(counts) <= 1


def test_the_same_seed_draws_the_same_batch():
    replay = ended_replay(np.random.default_rng(0), 3)
    one, two = (replay.sample_sessions(5, np.random.default_rng(4), 0.5) for _ in range(2))
    for name, value in vars(one).items():
        assert torch.equal(value, getattr(two, name)) if isinstance(value, torch.Tensor) else True
