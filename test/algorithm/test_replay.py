"""Storing, dropping and sampling transitions."""

import sys

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, filled_replay, make_session, part_of, trials

from mql_ros.algorithm.experience.batch import concatenate
from mql_ros.algorithm.experience.replay import Replay, Session
from mql_ros.algorithm.experience.session import joined, taken


def batches_equal(one, two):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(one).values(), vars(two).values(), strict=True)
    )


def test_each_transition_is_stored_once():
    rng = np.random.default_rng(0)
    replay = Replay(15, 4, 5, capacity=3000)
    done = np.arange(30) % 3 == 2
    for number in range(200):  # the second half replaces the first
        replay.add(
            Session(
                f"object {number % 10}",
                rng.normal(size=(30, 15)),
                rng.uniform(-1, 1, (30, 4)),
                rng.normal(size=30),
                rng.normal(size=(30, 15)),
                done,
                done,
                np.arange(30) // 3,
            )
        )
    raw = len(replay) * (4 * (15 + 4 + 1 + 15) + 2)
    assert len(replay) == 3000
    assert replay.nbytes <= 1.2 * raw


def test_tasks_are_drawn_evenly_whatever_their_size():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 1)
    for _ in range(50):
        replay.add(trials(rng, "much", count=10))
    replay.add(trials(rng, "little", count=2))
    batch = replay.sample(4000, rng)
    share = np.mean(np.array(replay.task_of(batch.index)) == "little")
    assert abs(share - 0.5) < 0.03
    assert torch.allclose(batch.weight, torch.ones(()))


def test_long_blocks_do_not_make_a_task_weigh_more():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 1)
    replay.add(trials(rng, "long", count=5, steps=8))
    replay.add(trials(rng, "short", count=5, steps=2))
    batch = replay.sample(20_000, rng)
    is_long = torch.from_numpy(np.array(replay.task_of(batch.index)) == "long")
    assert abs(batch.weight[is_long].sum() / batch.weight.sum() - 0.5) < 0.02


def test_proportional_and_weighted_sampling_expect_the_same():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 1)
    for task in range(3):
        for _ in range(task + 1):
            replay.add(make_session(rng, f"object {task}", 20))
    weights = rng.uniform(0, 1, replay.index_size) ** 4
    value = torch.from_numpy(rng.normal(size=replay.index_size) + 1.0)

    def expectation(batch):
        return float((batch.weight * value[batch.index]).sum() / batch.weight.sum())

    weighted = expectation(replay.sample(60_000, rng, weights))
    proportional = expectation(replay.sample_proportional(60_000, rng, weights))
    assert abs(weighted - proportional) < 0.03
    weights = np.zeros(replay.index_size)
    weights[replay.transition_indices()[7]] = 2.0
    drawn = replay.sample_proportional(50, rng, weights)
    assert set(drawn.index[drawn.weight > 0].tolist()) == {int(replay.transition_indices()[7])}


def test_proportional_sampling_needs_a_positive_weight():
    replay = filled_replay()
    with pytest.raises(ValueError, match="positive"):
        replay.sample_proportional(4, np.random.default_rng(0), np.zeros(replay.index_size))


def test_distinct_blocks_are_drawn_evenly_over_tasks():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 1)
    for _ in range(20):
        replay.add(trials(rng, "much", count=10, steps=2))
    replay.add(trials(rng, "little", count=12, steps=2))
    indices = replay.sample_unique(20, rng)
    assert len(np.unique(indices)) == len(indices) == 40
    assert sum(task == "little" for task in replay.task_of(indices)) == 20
    assert len(replay.sample_unique(10**6, rng)) == len(replay)


def test_oldest_sessions_are_dropped_as_a_whole():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 2, capacity=50)
    names = []
    for number in range(30):
        names.append(f"object {number}")
        replay.add(make_session(rng, names[-1], int(rng.integers(5, 20))))
        assert len(replay) <= 50
        assert replay.tasks == names[-replay.num_tasks :]
        batch = replay.sample(32, rng)
        assert set(replay.task_of(batch.index)) <= set(replay.tasks)
    with pytest.raises(ValueError, match="capacity"):
        replay.add(make_session(rng, "huge", 51))


def test_what_was_dropped_is_refused():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 2, capacity=20)
    first = replay.add(make_session(rng, "first", 18))
    stale = replay.transition_indices()
    replay.add(make_session(rng, "second", 12))
    with pytest.raises(ValueError, match="no stored transition"):
        replay.gather(stale[-1:])
    with pytest.raises(ValueError, match="not in the replay"):
        replay.extend(first, make_session(rng, "first", 2))


def test_gather_keeps_order_and_repeats():
    replay = filled_replay()
    indices = np.array([5, 0, 5, 20])
    batch = replay.gather(indices)
    assert batch.index.tolist() == indices.tolist()
    assert torch.equal(batch.reward[0], batch.reward[2])


def test_parts_of_a_session_join_to_the_whole():
    session = make_session(np.random.default_rng(4), steps=20)
    rows = [np.arange(begin, end) for begin, end in ((0, 3), (3, 4), (4, 20))]
    whole = joined([taken(session, row, session.block[row]) for row in rows])
    assert whole.task == session.task
    for name in ("observation", "action", "reward", "next_observation", "done", "terminal", "block"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(session, name))


@pytest.mark.parametrize("interleave", [False, True])
def test_growing_in_parts_equals_adding_at_once(interleave):
    rng = np.random.default_rng(4)
    session, other = make_session(rng, steps=20), make_session(rng, "ball", 9)
    whole, grown = Replay(O, A, 2), Replay(O, A, 2)
    whole.add(session)
    identifier = grown.add(part_of(session, 0, 3))
    if interleave:
        whole.add(other)
        grown.add(other)
    for begin, end in ((3, 4), (4, 11), (11, 20)):
        grown.extend(identifier, part_of(session, begin, end))
    one, two = whole.sample(40, np.random.default_rng(0)), grown.sample(40, np.random.default_rng(0))
    two.index = one.index
    assert batches_equal(one, two)


def test_extending_refuses_what_does_not_follow():
    rng = np.random.default_rng(0)
    session = trials(rng, "mug", count=4)
    replay = Replay(O, A, 2, capacity=12)
    identifier = replay.add(part_of(session, 0, 6))
    with pytest.raises(ValueError, match="number the blocks onwards"):
        replay.extend(identifier, part_of(session, 3, 6))
    with pytest.raises(ValueError, match="task"):
        replay.extend(identifier, trials(rng, "ball"))
    later = trials(rng, "mug", count=4)
    later.block += 2
    with pytest.raises(ValueError, match="outgrow"):
        replay.extend(identifier, later)


def test_saved_replay_samples_the_same():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 2, capacity=60)
    for number in range(12):
        replay.add(make_session(rng, f"object {number % 5}", 14))
    loaded = Replay.from_state(replay.state())
    assert loaded.tasks == replay.tasks
    assert len(loaded) == len(replay)
    one = replay.sample(64, np.random.default_rng(1))
    two = loaded.sample(64, np.random.default_rng(1))
    two.index = one.index
    assert batches_equal(one, two)
    half = replay.state(float16=True)
    assert half["items"].dtype == np.float16
    small = Replay.from_state(half).sample(64, np.random.default_rng(1))
    torch.testing.assert_close(small.items, one.items, rtol=1e-3, atol=1e-3)


def test_saving_does_not_repeat_observations():
    rng = np.random.default_rng(0)
    replay = Replay(O, A, 2)
    session = trials(rng, "mug", count=20)
    session.observation[1:] = np.where(session.done[:-1, None], session.observation[1:], session.next_observation[:-1])
    replay.add(session)
    state = replay.state()
    assert len(state["observation"]) == 20
    stored = Replay.from_state(state).session(0)
    for name in ("observation", "action", "reward", "next_observation", "done", "terminal", "block"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(session, name))


def test_numbers_too_large_for_float16_are_kept_finite():
    session = make_session(np.random.default_rng(0))
    session.reward[0] = 1e6
    replay = Replay(O, A, 2)
    replay.add(session)
    assert Replay.from_state(replay.state(float16=True)).session(0).reward[0] == 65504.0


def test_a_replay_of_sessions_holds_just_these_in_order():
    rng = np.random.default_rng(0)
    sessions = [trials(rng, task) for task in ("mug", "ball", "mug")]
    replay = Replay.of(sessions, O, A, 2)
    assert replay.sizes == (O, A, 2) and replay.capacity == len(replay) == sum(map(len, sessions))
    for one, two in zip(sessions, replay.sessions(), strict=True):
        assert one.task == two.task and np.array_equal(one.observation, two.observation)
    assert len(Replay.of([], O, A, 2)) == 0


def test_concatenated_batches_keep_their_windows():
    one_replay, two_replay = Replay(O, A, 1), Replay(O, A, 3)
    rng = np.random.default_rng(0)
    for replay, steps in ((one_replay, 15), (two_replay, 25)):
        session = make_session(rng, steps=steps)
        session.terminal[:] = False  # so that windows for next contexts are needed
        replay.add(session)
    one, two = one_replay.sample(20, rng), two_replay.sample(9, rng)
    assert len(one.items) != len(two.items) > two.gradient_rows == 9
    both = concatenate(one, two)
    assert both.gradient_rows == 29
    for part, offset in ((one, 0), (two, len(one))):
        for m in range(len(part)):
            for row, position in (("row", "position"), ("next_row", "next_position")):
                length = int(getattr(part, position)[m])
                assert int(getattr(both, position)[offset + m]) == length
                expected = part.items[getattr(part, row)[m], :length]
                assert torch.equal(both.items[getattr(both, row)[offset + m], :length], expected)
    assert int(both.row.max()) < both.gradient_rows


def count_calls(function):
    calls = 0

    def profile(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls


def test_sampling_effort_grows_neither_with_batch_nor_with_tasks():
    rng = np.random.default_rng(0)
    few, many = filled_replay(tasks=2), filled_replay(tasks=100)
    for replay in (few, many):
        replay.sample(8, rng)
    reference = count_calls(lambda: few.sample(8, rng))
    assert count_calls(lambda: few.sample(512, rng)) <= reference + 5
    assert count_calls(lambda: many.sample(8, rng)) <= reference + 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(reward=np.array([0.0, np.nan])), "not finite"),
        (dict(next_observation=np.zeros((2, O + 1))), "shape"),
        (dict(action=np.zeros((3, A))), "shape"),
        (dict(block=np.array([1, 0])), "fall"),
        (dict(done=np.array([True, False]), block=np.array([0, 0])), "new block after done"),
        (dict(observation=np.zeros((0, O))), "shape"),
    ],
)
def test_bad_sessions_are_named(change, message):
    values = dict(
        task="mug",
        observation=np.zeros((2, O)),
        action=np.zeros((2, A)),
        reward=np.zeros(2),
        next_observation=np.zeros((2, O)),
        done=np.array([False, True]),
        terminal=np.array([False, True]),
        block=np.zeros(2, dtype=int),
    )
    with pytest.raises(ValueError, match=message):
        Session(**(values | change))


def test_sizes_must_fit_and_an_empty_replay_says_so():
    replay = Replay(O + 1, A, 2)
    with pytest.raises(ValueError, match="sizes"):
        replay.add(make_session(np.random.default_rng(0)))
    with pytest.raises(ValueError, match="empty"):
        replay.sample(1, np.random.default_rng(0))
    assert len(replay) == replay.num_tasks == replay.num_blocks == 0
