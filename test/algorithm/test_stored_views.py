"""Observations that begin with a view: stored once for each block, and given back bit for bit."""

import numpy as np
import pytest
import torch
from helpers.algorithm import A, O, make_session, part_of
from hypothesis import given, settings
from hypothesis import strategies as st

from mql_ros.algorithm.experience.replay import Replay, Session
from mql_ros.algorithm.experience.session import joined, taken

V = 7
FIELDS = ("observation", "action", "reward", "next_observation", "done", "terminal")


def seen_session(rng, task="mug", steps=12, block_length=None):
    """A session whose observations begin with a view of V hundredths."""
    plain = make_session(rng, task, steps, block_length)
    numbers = plain.block - plain.block[0]
    views = (rng.integers(0, 256, (numbers[-1] + 1, V)) / 100.0).astype(np.float32)[numbers]
    columns = {name: getattr(plain, name) for name in (*FIELDS, "block")}
    for name in ("observation", "next_observation"):
        columns[name] = np.concatenate([views, columns[name]], axis=1)
    return Session(task=task, **columns)


def both(rng, history_blocks, count=5, capacity=200):
    """Replays of the same sessions, one that knows of the view and one that does not."""
    replays = [Replay(V + O, A, history_blocks, capacity, view_size) for view_size in (V, 0)]
    for number in range(count):
        session = seen_session(rng, f"object {number % 3}", int(rng.integers(1, 15)))
        for replay in replays:
            replay.add(session)
    return replays


def assert_same_session(one, two):
    assert one.task == two.task
    np.testing.assert_array_equal(one.block - one.block[0], two.block - two.block[0])
    for name in FIELDS:
        assert getattr(one, name).dtype == getattr(two, name).dtype
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def assert_same_batch(one, two):
    for name, value in vars(one).items():
        other = getattr(two, name)
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), block_length=st.sampled_from([None, 1, 3]), capacity=st.integers(20, 60))
def test_sessions_come_back_bit_for_bit_from_replay_and_file(seed, block_length, capacity):
    rng = np.random.default_rng(seed)
    replay, added = Replay(V + O, A, 2, capacity, V), {}
    for number in range(8):
        session = seen_session(rng, f"object {number % 3}", int(rng.integers(1, 16)), block_length)
        added[replay.add(session)] = session
    state = replay.state()
    loaded = Replay.from_state(state)
    assert loaded.identifiers == replay.identifiers and loaded.view_size == V
    for identifier in replay.identifiers:
        assert_same_session(replay.session(identifier), added[identifier])
        assert_same_session(loaded.session(identifier), added[identifier])
    again = loaded.state()
    assert state.keys() == again.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, again[name])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), history_blocks=st.integers(0, 3))
def test_batches_are_those_of_a_replay_that_stores_every_entry(seed, history_blocks):
    with_view, plain = both(np.random.default_rng(seed), history_blocks)
    weights = np.random.default_rng(seed).random(plain.index_size)
    draws = [
        lambda replay, rng: replay.sample(8, rng),
        lambda replay, rng: replay.sample_proportional(8, rng, weights),
        lambda replay, rng: replay.gather(replay.transition_indices()),
    ]
    for draw in draws:
        assert_same_batch(*(draw(replay, np.random.default_rng(seed)) for replay in (with_view, plain)))


def test_half_precision_keeps_a_view_as_it_is():
    session = seen_session(np.random.default_rng(0))
    replay = Replay.of([session], V + O, A, 2, V)
    loaded = Replay.from_state(replay.state(float16=True)).session(0)
    np.testing.assert_array_equal(loaded.observation[:, :V], session.observation[:, :V])
    np.testing.assert_allclose(loaded.observation, session.observation, rtol=1e-3, atol=1e-3)


def test_a_view_takes_a_byte_an_entry_and_block():
    rng, sizes = np.random.default_rng(0), []
    for view in (0, 1000):
        replay = Replay(view + O, A, 2, 600, view)
        for _ in range(20):
            plain = make_session(rng, steps=30, block_length=3, end_probability=0.0)
            seen = [np.concatenate([np.zeros((30, view)), part], axis=1) for part in (plain.observation,) * 2]
            columns = {name: getattr(plain, name) for name in (*FIELDS, "block")}
            replay.add(Session("mug", **(columns | dict(observation=seen[0], next_observation=seen[1]))))
        sizes.append(replay.nbytes)
    assert sizes[1] - sizes[0] == 1000 * 20 * 10


def test_a_session_with_views_grows_in_parts():
    session = seen_session(np.random.default_rng(3), steps=14)
    whole = Replay.of([session], V + O, A, 2, V)
    grown = Replay(V + O, A, 2, 100, V)
    identifier = grown.add(part_of(session, 0, 5))
    for begin, end in ((5, 6), (6, 14)):
        grown.extend(identifier, part_of(session, begin, end))
    assert_same_session(grown.session(identifier), whole.session(0))
    assert_same_session(joined([part_of(session, 0, 5), part_of(session, 5, 14)]), session)


@pytest.mark.parametrize(
    ("row", "entry", "message"),
    [(slice(None), 0.005, "hundredths"), (slice(None), 2.56, "hundredths"), (1, 0.5, "changes")],
)
@pytest.mark.parametrize("column", ["observation", "next_observation"])
def test_what_is_no_view_is_refused_and_nothing_is_stored(column, row, entry, message):
    rng, replay = np.random.default_rng(0), Replay(V + O, A, 2, 100, V)
    session = seen_session(rng, steps=6, block_length=3)
    session.done[:] = session.terminal[:] = False
    session.block[:] = 0
    session.observation[:, :V] = session.next_observation[:, :V] = 0.1
    for name in {"observation", column} if message == "hundredths" else {column}:
        getattr(session, name)[row, 2] = entry
    with pytest.raises(ValueError, match=message):
        replay.add(session)
    assert len(replay) == 0 and replay.tasks == []


def test_a_part_that_goes_on_in_a_block_has_its_view():
    rng, replay = np.random.default_rng(0), Replay(V + O, A, 2, 100, V)
    session = seen_session(rng, steps=6, block_length=6)
    session.done[:] = session.terminal[:] = False
    session.block[:] = 0
    for name in ("observation", "next_observation"):
        getattr(session, name)[:, :V] = 0.2
    identifier = replay.add(part_of(session, 0, 3))
    later = taken(session, np.arange(3, 6), np.zeros(3))
    later.observation[:, 0] = later.next_observation[:, 0] = 0.3
    with pytest.raises(ValueError, match="changes within block"):
        replay.extend(identifier, later)
    replay.extend(identifier, part_of(session, 3, 6))
    assert_same_session(replay.session(identifier), session)


@pytest.mark.parametrize("view_size", [-1, O])
def test_a_view_is_a_part_of_the_observation(view_size):
    with pytest.raises(ValueError, match="view_size"):
        Replay(O, A, 1, view_size=view_size)
