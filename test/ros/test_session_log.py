"""The session log, the contexts that follow from it, and when an adapted policy is taken back."""

from pathlib import Path

import numpy as np
import pytest
from helpers.ros import CountingPolicy, some_transition

from mql_ros.algorithm.experience.session_files import read_sessions, write_sessions
from mql_ros.ros.base.parameters import parameter_table
from mql_ros.ros.messages.transition import Transition
from mql_ros.ros.policies.policy_history import PolicyHistory, RollbackCheck
from mql_ros.ros.policies.policy_loading import Announcement
from mql_ros.ros.policies.session_contexts import SessionContexts
from mql_ros.ros.policies.session_log import MOST_SESSIONS, SessionLog


def filled(log: SessionLog, rows: list[tuple[int, int]], session: int = 1, first: int = 0) -> SessionLog:
    """Add one transition for each (trial, step); step 2 ends a trial."""
    for sequence, (trial, step) in enumerate(rows, start=first):
        log.add(some_transition(sequence, session=session, trial=trial, step=step, done=step == 2))
    return log


def trials_of(log: SessionLog, earlier: int = 0, trials: int | None = None) -> list[list[int]]:
    """Trial numbers of the rows that an adaptation would get, by session."""
    return [session.block.tolist() for session in log.sessions(earlier, trials)]


def test_each_transition_is_answered_once_and_a_repeated_one_alike() -> None:
    contexts = SessionContexts()
    assert contexts.add(some_transition(0)) == []  # no policy yet
    first = contexts.use(CountingPolicy(1))
    assert (first.sequence, first.policy_version, first.context[0]) == (0, 1, 1.0)
    for sequence in (1, 2, 2, 3):
        (answer,) = contexts.add(some_transition(sequence))
        assert (answer.sequence, answer.context[0]) == (sequence, sequence + 1.0)
    assert len(contexts.log.transitions) == 4 and contexts.log.missing == 0


def test_the_encoder_of_a_new_policy_encodes_the_whole_session() -> None:
    contexts = SessionContexts()
    contexts.use(CountingPolicy(1))
    for sequence in range(6):
        contexts.add(some_transition(sequence))
    answer = contexts.use(CountingPolicy(2))
    assert (answer.sequence, answer.policy_version, answer.context[0]) == (5, 2, 12.0)


def test_a_policy_announced_during_a_trial_answers_beside_the_one_that_acts() -> None:
    contexts = SessionContexts()
    contexts.use(CountingPolicy(1))
    contexts.add(some_transition(0))
    contexts.use(CountingPolicy(3))
    assert contexts.use(CountingPolicy(2)).context[0] == 2.0
    answers = contexts.add(some_transition(1))
    assert [(a.sequence, a.policy_version, a.context[0]) for a in answers] == [(1, 1, 2.0), (1, 2, 4.0)]
    contexts.add(some_transition(2))
    (answer,) = contexts.add(some_transition(3, policy_version=2))
    assert (answer.policy_version, answer.context[0]) == (2, 8.0)


@pytest.mark.parametrize(
    "begin",
    [
        some_transition(6, session=2, trial=0, step=0),
        some_transition(0),
        some_transition(5, stamp=99.0, trial=0, step=0),
    ],
    ids=["new session", "restarted server", "restarted server with the same sequence number"],
)
def test_context_and_log_begin_anew_with(begin: Transition) -> None:
    contexts = SessionContexts()
    contexts.use(CountingPolicy(1))
    for sequence in range(6):
        contexts.add(some_transition(sequence))
    (answer,) = contexts.add(begin)
    assert answer.context[0] == 1.0
    assert contexts.log.transitions == [begin] and contexts.log.missing == 0


def test_gaps_in_the_log_are_counted_within_and_at_the_begin_of_a_session() -> None:
    log = SessionLog()
    for sequence in (0, 1, 4):
        log.add(some_transition(sequence))
    assert log.missing == 1
    log.add(some_transition(7, session=2))  # trial 2, step 1: what came before was lost
    assert log.missing == 2


@pytest.mark.parametrize(
    "received",
    [[(0, 1), (0, 2)], [(0, 2)], [(0, 0), (0, 2)], [(0, 0), (0, 1)]],
    ids=["first lost", "only the last one", "middle lost", "last lost"],
)
def test_a_trial_that_lost_a_transition_is_left_out_of_adaptations(received: list[tuple[int, int]]) -> None:
    log = filled(SessionLog(), received)
    assert log.trials == 0 and log.sessions() == [] and log.trial_returns() == []
    filled(log, [(1, 0), (1, 1), (1, 2)], first=3)
    assert log.trials == 1 and trials_of(log) == [[1, 1, 1]] and len(log.trial_returns()) == 1
    assert len(log.transitions) == len(received) + 3, "the history still has it"


def test_finished_trials_become_a_session_in_single_precision() -> None:
    log = SessionLog()
    assert log.session == log.trials == 0
    for sequence in range(6):
        assert log.add(some_transition(sequence))
    assert not log.add(some_transition(5))
    [session] = log.sessions()
    assert len(log.transitions) == 6 and log.trials == 2
    assert session.block.tolist() == [0, 0, 0, 1, 1, 1]
    assert session.done.tolist() == [False, False, True] * 2
    assert np.array_equal(session.action[4], some_transition(4).action.astype(np.float32))
    log.add(some_transition(6))
    assert [trials_of(log, trials=n) for n in (1, 2)] == [[[0, 0, 0]], [[0, 0, 0, 1, 1, 1]]]
    returns = log.trial_returns()
    assert [version for version, _ in returns] == [1, 1]
    assert np.isclose(returns[1][1], sum(some_transition(k).reward for k in (3, 4, 5)))
    log.add(some_transition(7, session=2, trial=0, step=0))
    assert len(log.transitions) == 1 and log.session == 2


def test_earlier_sessions_are_kept_if_a_trial_was_finished(tmp_path: Path) -> None:
    log = SessionLog()
    for session, steps in ((1, 5), (2, 2), (3, 6), (4, 3)):  # the second has no finished trial
        filled(log, [divmod(step, 3) for step in range(steps)], session, first=10 * session)
    assert [len(session) for session in log.sessions(earlier=5)] == [3, 6, 3]
    assert [len(session) for session in log.sessions(earlier=1)] == [6, 3]
    sessions = log.sessions(earlier=2, trials=1)
    assert {session.task for session in sessions} == {"session-4"}, "one task, so that each trial weighs the same"
    write_sessions(tmp_path / "sessions.npz", sessions)
    for wrote, read in zip(sessions, read_sessions(tmp_path / "sessions.npz"), strict=True):
        assert all(np.array_equal(value, getattr(read, name)) for name, value in vars(wrote).items() if name != "task")


def test_trials_that_were_broken_off_are_left_out_of_adaptations() -> None:
    log = filled(SessionLog(), [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (3, 1), (3, 2)])
    assert trials_of(log, trials=2) == [[1, 1, 1, 3, 3, 3]]
    assert trials_of(log, trials=1) == [[1, 1, 1]]
    log.add(some_transition(21, session=2, trial=0, step=0))
    assert trials_of(log, earlier=1) == [[1, 1, 1, 3, 3, 3]]


def test_no_more_sessions_are_kept_than_may_be_asked_for() -> None:
    log = SessionLog()
    for session in range(1, MOST_SESSIONS + 6):
        filled(log, [(0, 0), (0, 1), (0, 2)], session, first=3 * session)
    assert len(log.sessions(earlier=100)) == MOST_SESSIONS
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


def test_the_rollback_check_compares_the_last_trials_before_with_the_first_after() -> None:
    check = RollbackCheck(before=1, adapted=2, session=1, trials=2, margin=0.1)
    before = [(1, 5.0), (1, 0.4), (1, 0.6)]
    assert check.verdict([*before, (2, 0.0)]) is None
    for reward, passes in ((0.41, True), (0.39, False), (0.9, True)):
        verdict = check.verdict([*before, (2, reward), (2, reward), (2, 100.0)])
        assert verdict is not None and verdict[0] is passes
        assert "version 2" in verdict[1]
    assert check.verdict([(2, 0.0), (2, 0.0)]) is None  # nothing to compare with
