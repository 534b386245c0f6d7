"""Joining joint states and wrench: by equal stamps in lockstep, with the newest in real time."""

import itertools

import numpy as np
import pytest

from mql_ros.ros.driver.measurements import ARRIVALS, DRIFT, LATER, PENDING, MeasurementAssembler, NewestJoints
from mql_ros.ros.messages.sensors import JointSample, WrenchSample

MS = 1_000_000


def joints(stamp: int) -> JointSample:
    return JointSample(stamp * MS, np.full(7, float(stamp)), np.zeros(7), 0.08, 0.0)


def wrench(stamp: int) -> WrenchSample:
    return WrenchSample(stamp * MS, np.full(3, float(stamp)), np.zeros(3))


def assembler(exact: bool, use_wrench: bool = True) -> MeasurementAssembler:
    return MeasurementAssembler(exact=exact, use_wrench=use_wrench, control_period=0.05)


@pytest.mark.parametrize("order", list(itertools.permutations(range(2))), ids=str)
def test_lockstep_joins_equal_stamps_in_any_order(order: tuple[int, ...]) -> None:
    parts = assembler(exact=True)
    for stamp in (50, 100, 150):
        steps = [lambda s=stamp: parts.joints(joints(s)), lambda s=stamp: parts.wrench(wrench(s))]
        first, last = (steps[k]() for k in order)
        assert first is None and last is not None
        assert last.contact_force[0] == last.joint_positions[0] == stamp


def test_what_is_said_again_makes_no_second_measurement() -> None:
    parts = assembler(exact=True)
    for _ in range(3):
        made = [parts.wrench(wrench(50)), parts.joints(joints(50))]
    assert [m is None for m in made] == [True] * 2
    # and a driver that was started anew, with its clock at zero, is accepted
    assert parts.wrench(wrench(10)) is None
    assert parts.joints(joints(10)) is not None


def test_an_instant_with_a_lost_part_is_given_up() -> None:
    parts = assembler(exact=True)
    for stamp in range(50, 50 * (PENDING + 10), 50):
        assert parts.joints(joints(stamp)) is None
    oldest_kept = 50 * 10
    for stamp in (50, oldest_kept - 50):
        assert parts.wrench(wrench(stamp)) is None
    assert parts.wrench(wrench(2500)) is not None


def test_without_a_wrench_the_force_is_zero() -> None:
    for exact in (True, False):
        measurement = assembler(exact, use_wrench=False).joints(joints(50))
        assert measurement is not None and not measurement.contact_force.any()


def test_real_time_takes_one_measurement_a_period_with_the_newest_wrench() -> None:
    parts = assembler(exact=False)
    made = []
    for stamp in range(0, 500, 10):
        if stamp % 30 == 0:
            parts.wrench(wrench(stamp))
        made.append(parts.joints(joints(stamp)))
    chosen = [m for m in made if m is not None]
    assert [round(m.stamp * 1000) for m in chosen] == list(range(0, 500, 50))
    assert [m.contact_force[0] for m in chosen] == [stamp // 30 * 30 for stamp in range(0, 500, 50)]


def test_two_nodes_choose_the_same_samples_whenever_they_start() -> None:
    def chosen(start: int) -> list[float]:
        parts = assembler(exact=False, use_wrench=False)
        made = [parts.joints(joints(stamp)) for stamp in range(start, 1000, 8)]
        return [m.stamp for m in made if m is not None]

    assert chosen(72)[1:] == chosen(0)[2:]


def test_an_old_or_missing_wrench_guards_nothing_and_makes_no_measurement() -> None:
    parts = assembler(exact=False)
    assert parts.joints(joints(0)) is None
    parts.wrench(wrench(99))
    assert parts.joints(joints(200)) is None
    assert parts.stale == 2
    parts.wrench(wrench(100))
    assert parts.joints(joints(200)) is not None


def test_joint_positions_are_fresh_for_a_moment() -> None:
    newest = NewestJoints(np.full(7, np.inf))
    assert newest.state(0.0) is None
    # The driver's clock is an hour ahead.
    for stamp in range(0, 1000, 50):
        newest.put(joints(3_600_000 + stamp), stamp / 1000 + 0.002)
    assert newest.state(1.0).positions[0] == 3_600_950
    assert newest.state(1.06) is None


def test_a_state_is_brought_up_to_now_by_its_velocity() -> None:
    newest = NewestJoints(np.ones(7))
    for stamp in range(0, 1000, 50):
        velocities = np.linspace(-0.5, 0.5, 7)
        sample = JointSample(stamp * MS, velocities * stamp / 1000, velocities, 0.08, 0.0)
        newest.put(sample, 7.0 + stamp / 1000)
    for age in (0.0, 0.04, 0.09):
        state = newest.state(7.95 + age)
        assert state is not None and np.allclose(state.positions, velocities * (0.95 + age))
        assert np.array_equal(state.velocities, velocities)


def test_positions_that_jump_are_not_believed_for_a_while() -> None:
    newest = NewestJoints(np.ones(7))

    def put(stamp: int, place: float) -> bool:
        newest.put(JointSample(stamp * MS, np.full(7, place), np.zeros(7), 0.08, 0.0), stamp / 1000)
        return newest.state(stamp / 1000) is not None

    assert all(put(stamp, 1.4 * stamp / 1000) for stamp in range(0, 500, 10)), "as fast as an arm can be"
    assert [put(stamp, 2.0) for stamp in range(500, 800, 50)] == [False] * 5 + [True]
    assert [put(stamp, 1.0 if stamp == 800 else 2.0) for stamp in range(800, 1150, 50)] == [False] * 6 + [True]
    assert put(0, 0.0), "a driver that was started anew"


def test_what_lay_waiting_in_a_pause_is_not_fresh() -> None:
    newest = NewestJoints(np.full(7, np.inf))
    for stamp in range(0, 1000, 50):
        newest.put(joints(stamp), stamp / 1000)
    for stamp in range(1000, 1600, 50):  # all of it arrives at 1.61 s
        newest.put(joints(stamp), 1.61)
        assert (newest.state(1.61) is not None) == (stamp >= 1550)
    # A driver whose clock has fallen behind is accepted again once it goes right, one that was started anew at once.
    for k in range(2 * ARRIVALS):
        newest.put(joints(1600 + 50 * k), 2.6 + 0.05 * k)
        assert newest.state(2.6 + 0.05 * k) is None
    newest.put(joints(6600), 6.6)
    assert newest.state(6.6) is not None
    newest.put(joints(0), 9.0)
    assert newest.state(9.0) is not None and newest.later() == 0.0


@pytest.mark.parametrize(("growth", "noticed"), [(0.1, True), (0.01, True), (0.9 * DRIFT, False), (-0.1, False)])
def test_a_delay_that_grows_slowly_is_noticed_and_a_clock_that_drifts_is_none(growth: float, noticed: bool) -> None:
    newest = NewestJoints(np.full(7, np.inf))
    for k in range(20 * 50):  # 50 looks a second
        newest.put(joints(20 * k), 0.02 * k + 0.005 + 0.02 * k * growth)
    now = 0.02 * k + 0.005 + 0.02 * k * growth
    assert newest.age(now) < 0.1 and (newest.later() > 0.1) == noticed
    assert (newest.later() > LATER) == (newest.state(now) is None) == (growth == 0.1)


def test_stamps_of_a_simulator_that_loses_ticks_or_is_reset_are_not_late() -> None:
    """A reset is stamped a period ahead; later a tick is late by nearly one, which its stamps keep, or by more."""
    newest = NewestJoints(np.full(7, np.inf))
    for k in range(200):
        behind = -50 if k == 20 else 49 if 80 < k < 150 else 0
        newest.put(joints(50 * k - behind), 0.05 * k + 0.002)
        assert newest.state(0.05 * k + 0.002) is not None
        assert newest.later() <= 0.1 and newest.age(0.05 * k + 0.002) <= 0.1 + 1e-9
