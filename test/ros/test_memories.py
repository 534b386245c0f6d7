"""What the encoder and the adaptation manager remember, and when an adapted policy is taken back."""

from pathlib import Path

import numpy as np
from helpers.ros import CountingPolicy, some_transition

from mql_ros.ros.base.parameters import parameter_table
from mql_ros.ros.policies.adaptation_job import read_sessions, write_sessions
from mql_ros.ros.policies.policy_history import Certificate, PolicyHistory
from mql_ros.ros.policies.policy_loading import Announcement
from mql_ros.ros.policies.session_context import SessionContext
from mql_ros.ros.policies.session_memory import MOST_SESSIONS, SessionMemory


def test_each_transition_is_answered_once_and_a_repeated_one_alike() -> None:
    session = SessionContext()
    assert session.add(some_transition(0)) == []  # no policy yet
    first = session.use(CountingPolicy(1))
    assert (first.sequence, first.policy_version, first.context[0]) == (0, 1, 1.0)
    for sequence in (1, 2, 2, 3):
        (answer,) = session.add(some_transition(sequence))
        assert (answer.sequence, answer.context[0]) == (sequence, sequence + 1.0)
    assert session.length == 4 and session.missing == 0


def test_a_new_policy_goes_over_the_kept_history() -> None:
    session = SessionContext()
    session.use(CountingPolicy(1))
    for sequence in range(6):
        session.add(some_transition(sequence))
    answer = session.use(CountingPolicy(2))
    assert (answer.sequence, answer.policy_version, answer.context[0]) == (5, 2, 12.0)


def test_a_policy_that_comes_within_a_trial_answers_beside_the_one_that_acts() -> None:
    session = SessionContext()
    session.use(CountingPolicy(1))
    session.add(some_transition(0))
    session.use(CountingPolicy(3))
    assert session.use(CountingPolicy(2)).context[0] == 2.0
    answers = session.add(some_transition(1))
    assert [(a.sequence, a.policy_version, a.context[0]) for a in answers] == [(1, 1, 2.0), (1, 2, 4.0)]
    session.add(some_transition(2))
    (answer,) = session.add(some_transition(3, policy_version=2))
    assert (answer.policy_version, answer.context[0]) == (2, 8.0)


def test_a_new_session_and_a_restarted_server_begin_from_nothing() -> None:
    session = SessionContext()
    session.use(CountingPolicy(1))
    for sequence in range(6):
        session.add(some_transition(sequence))
    (answer,) = session.add(some_transition(6, session=2, trial=0, step=0))
    assert answer.context[0] == 1.0 and session.missing == 0
    (answer,) = session.add(some_transition(0, session=2))
    assert answer.context[0] == 1.0 and session.missing == 0


def test_gaps_are_counted() -> None:
    session, memory = SessionContext(), SessionMemory()
    for sequence in (0, 1, 4):
        session.add(some_transition(sequence))
        memory.add(some_transition(sequence))
    assert session.missing == memory.missing == 1
    late = SessionContext()
    late.add(some_transition(7))
    assert late.missing == 1


def test_the_memory_holds_one_session_in_the_form_of_the_replay() -> None:
    memory = SessionMemory()
    assert memory.session == memory.trials == 0
    for sequence in range(6):
        assert memory.add(some_transition(sequence))
    assert not memory.add(some_transition(5))
    arrays = memory.arrays()
    assert len(memory) == 6 and memory.trials == 2
    assert arrays["block"].tolist() == [0, 0, 0, 1, 1, 1]
    assert arrays["done"].tolist() == [False, False, True] * 2
    assert np.array_equal(arrays["action"][4], some_transition(4).action.astype(np.float32))
    assert len(memory.arrays(trials=1)["reward"]) == 3
    memory.add(some_transition(6))
    assert [len(memory.arrays(trials=n)["reward"]) for n in (1, 2)] == [3, 6]
    assert len(memory.arrays()["reward"]) == 7
    returns = memory.trial_returns()
    assert [version for version, _ in returns] == [1, 1]
    assert np.isclose(returns[1][1], sum(some_transition(k).reward for k in (3, 4, 5)))
    memory.add(some_transition(7, session=2, trial=0, step=0))
    assert len(memory) == 1 and memory.session == 2


def test_sessions_before_are_kept_as_far_as_their_trials_were_finished(tmp_path: Path) -> None:
    memory = SessionMemory()
    assert memory.earlier(3) == []
    sequence = 0
    for session, steps in ((1, 5), (2, 2), (3, 6), (4, 3)):  # the second has no finished trial
        for step in range(steps):
            place = {"session": session, "trial": step // 3, "step": step % 3, "done": step % 3 == 2}
            memory.add(some_transition(sequence, **place))
            sequence += 1
    assert [len(columns["reward"]) for columns in memory.earlier(5)] == [3, 6]
    assert [len(columns["reward"]) for columns in memory.earlier(1)] == [6]
    assert memory.earlier(0) == [] and len(memory.arrays()["reward"]) == 3
    sessions = [*memory.earlier(2), memory.arrays(1)]
    write_sessions(tmp_path / "sessions.npz", sessions)
    for wrote, read in zip(sessions, read_sessions(tmp_path / "sessions.npz"), strict=True):
        assert wrote.keys() == read.keys()
        assert all(np.array_equal(wrote[name], read[name]) for name in wrote)


def test_trials_that_were_broken_off_are_left_out() -> None:
    memory = SessionMemory()
    rows = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2)]
    for sequence, (trial, step) in enumerate(rows):
        memory.add(some_transition(sequence, trial=trial, step=step, done=step == 2))
    assert memory.arrays(2)["block"].tolist() == [1, 1, 1, 3, 3, 3]
    assert memory.arrays(1)["block"].tolist() == [1, 1, 1]
    memory.add(some_transition(20, session=2, trial=0, step=0))
    assert [columns["block"].tolist() for columns in memory.earlier(1)] == [[1, 1, 1, 3, 3, 3]]


def test_no_more_sessions_are_kept_than_may_be_asked_for() -> None:
    memory = SessionMemory()
    for sequence in range(3 * (MOST_SESSIONS + 5)):
        memory.add(some_transition(sequence, session=sequence // 3, trial=0, step=sequence % 3))
    assert len(memory.earlier(100)) == MOST_SESSIONS - 1
    most = parameter_table()["adaptation_manager"]["sessions"].range
    assert most is not None and most[1] == MOST_SESSIONS


def test_version_numbers_never_recur() -> None:
    history = PolicyHistory(Announcement("first", 3, "a"))
    assert not history.roll_back() and history.next_version == 4
    history.push(Announcement("second", 4, "b"))
    assert history.roll_back() and history.present.version == 3 and history.next_version == 5
    history.push(Announcement("third", 5, "c"))
    history.push(Announcement("fourth", 6, "d"))
    history.restore_initial()
    assert history.present == history.initial and history.next_version == 7


def test_the_certificate_compares_the_last_trials_before_with_the_first_after() -> None:
    certificate = Certificate(before=1, adapted=2, session=1, trials=2, margin=0.1)
    before = [(1, 5.0), (1, 0.4), (1, 0.6)]
    assert certificate.verdict([*before, (2, 0.0)]) is None
    for reward, passes in ((0.41, True), (0.39, False), (0.9, True)):
        verdict = certificate.verdict([*before, (2, reward), (2, reward), (2, 100.0)])
        assert verdict is not None and verdict[0] is passes
        assert "version 2" in verdict[1]
    assert certificate.verdict([(2, 0.0), (2, 0.0)]) is None  # nothing to compare with
