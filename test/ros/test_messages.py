"""Messages and plain data: nothing is lost on the way, and what must not be acted on is refused."""

import array
from dataclasses import replace

import numpy as np
import pytest
from helpers.ros import some_measurement
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.types import ArmState, Command, Measurement, Motion
from mql_ros.ros.messages import encoding, sensors, trajectories
from mql_ros.ros.messages.encoding import MessageError, nanoseconds, time_message
from mql_ros.ros.messages.sensors import JointReader


def same(first: Measurement, second: Measurement) -> bool:
    """Equal to the last bit, but for the clock."""
    names = [name for name in vars(first) if name != "stamp"]
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


def read(panda: RobotProfile, joints: JointState, measurement: Measurement, stamp: int) -> Measurement:
    return sensors.measurement_from(
        JointReader(panda).read(joints),
        sensors.read_wrench(sensors.wrench_message(panda, measurement, stamp), panda.tool_frame),
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_measurement_survives_the_messages_to_the_last_bit(panda: RobotProfile, seed: int) -> None:
    measurement = some_measurement(panda, np.random.default_rng(seed))
    joints = sensors.joint_state_message(panda, measurement, 7, 0.01)
    assert same(read(panda, joints, measurement, 7), measurement)


def test_joints_are_found_by_name_in_any_order_among_others(panda: RobotProfile) -> None:
    measurement = some_measurement(panda, np.random.default_rng(1))
    message = sensors.joint_state_message(panda, measurement, 7, 0.01)
    order = np.random.default_rng(2).permutation(len(message.name))
    shuffled = JointState(name=["elevator", *(message.name[k] for k in order)])
    for field in ("position", "velocity", "effort"):
        setattr(shuffled, field, array.array("d", [99.0, *(getattr(message, field)[k] for k in order)]))
    assert same(read(panda, shuffled, measurement, 7), measurement)


def spoiled(panda: RobotProfile, **changes: object) -> JointState:
    message = sensors.joint_state_message(panda, some_measurement(panda, np.random.default_rng(1)), 7, 0.0)
    for field, value in changes.items():
        setattr(message, field, value)
    return message


def test_joint_states_that_must_not_be_acted_on_are_refused(panda: RobotProfile) -> None:
    names = [*panda.joint_names, *panda.finger_names]
    bad = {
        "lacks panda_joint1": spoiled(panda, name=["joint_a", *names[1:]]),
        "position holds a number that is not finite": spoiled(panda, position=[float("nan")] * 9),
        "velocity holds": spoiled(panda, velocity=[float("inf")] * 9),
        "gripper.effort to stall": spoiled(panda, effort=[float("nan")] * 9),
        "8 positions": spoiled(panda, position=[0.0] * 8),
        "no finite effort of the fingers": spoiled(panda, effort=[]),
    }
    for words, message in bad.items():
        with pytest.raises(MessageError, match=words):
            JointReader(panda).read(message)


def test_efforts_are_needed_of_the_fingers_only(panda: RobotProfile) -> None:
    nan = float("nan")
    assert JointReader(panda).read(spoiled(panda, effort=[nan] * 7 + [3.0, 5.0])).finger_effort == 4.0
    with pytest.raises(MessageError, match="no finite effort"):
        JointReader(panda).read(spoiled(panda, effort=[0.0] * 7 + [3.0, nan]))


@pytest.mark.parametrize("effort", [[], [float("nan")] * 9, [1.0] * 9])
def test_efforts_that_are_estimated_are_not_read(panda: RobotProfile, effort: list[float]) -> None:
    assert JointReader(replace(panda, gripper_effort="stall")).read(spoiled(panda, effort=effort)).finger_effort == 0.0


def test_joints_of_another_message_are_looked_up_anew(panda: RobotProfile) -> None:
    reader = JointReader(panda)
    first = spoiled(panda)
    reader.read(first)
    with pytest.raises(MessageError, match="lacks"):
        reader.read(spoiled(panda, name=[f"x{k}" for k in range(9)]))
    assert np.array_equal(reader.read(first).positions, np.array(first.position)[:7])


def test_missing_velocities_are_zero(panda: RobotProfile) -> None:
    assert not JointReader(panda).read(spoiled(panda, velocity=[])).velocities.any()


def test_wrenches_in_another_frame_are_refused(panda: RobotProfile) -> None:
    wrench = sensors.wrench_message(panda, some_measurement(panda, np.random.default_rng(1)), 1)
    with pytest.raises(MessageError, match="expected 'wrist'"):
        sensors.read_wrench(wrench, "wrist")
    wrench.wrench.force.x = float("nan")
    with pytest.raises(MessageError, match="not finite"):
        sensors.read_wrench(wrench, panda.tool_frame)


def standing(joints: np.ndarray) -> Motion:
    return Motion(ArmState.at_rest(joints), joints[None], np.zeros((1, 7)), np.zeros((1, 7)))


def test_a_command_survives_the_messages_to_the_last_bit(panda: RobotProfile) -> None:
    rng = np.random.default_rng(3)
    motion = Motion(ArmState.at_rest(panda.home), *(rng.normal(size=(5, 7)) for _ in range(3)))
    command = Command(motion, 0.0371, 12.3456789)
    message = trajectories.arm_message(panda, motion, 5)
    arm = trajectories.read_trajectory(message, panda.joint_names)
    gripper = trajectories.read_trajectory(trajectories.gripper_message(panda, command, 5), panda.finger_names)
    assert arm.stamp == gripper.stamp == 5
    assert np.array_equal(arm.positions, motion.points)
    assert np.array_equal(arm.velocities, motion.velocities)
    assert np.array_equal([point.accelerations for point in message.points], motion.accelerations)
    assert np.array_equal(arm.times, np.arange(1, 6) * 50_000_000 / 1e9)
    assert gripper.positions.sum() == command.finger_target
    assert (gripper.efforts == command.finger_force).all()


@pytest.mark.parametrize("limits", [(1.0, 40.0), (0.1, 5.0)])
def test_the_fingers_are_given_the_time_that_they_need(panda: RobotProfile, limits: tuple[float, float]) -> None:
    slow = panda.slowed(*limits)
    for make in (trajectories.gripper_message, trajectories.position_message):
        for target in (0.0, 0.03, panda.max_width):
            message = make(slow, Command(standing(panda.home), target, 5.0), 0)
            read = trajectories.read_gripper(replace(panda, gripper_command="position_trajectory"), message)
            # From wherever they are: the farthest way is the whole opening.
            way = np.maximum(read.positions[0], panda.max_width / 2 - read.positions[0])
            assert (way / read.times[0] <= slow.finger_speed * (1 + 1e-6)).all()
            assert read.times[0] >= panda.control_period and read.positions.sum() == target


def test_a_stock_joint_trajectory_controller_takes_the_position_trajectory(panda: RobotProfile) -> None:
    message = trajectories.position_message(panda, Command(standing(panda.home), 0.03, 5.0), 0)
    # What validate_trajectory_msg of ros2_controllers looks at: Humble, Jazzy and Kilted refuse efforts of points.
    assert message.joint_names == list(panda.finger_names) and message.header.stamp == time_message(0)
    due = 0
    for point in message.points:
        assert len(point.positions) == len(message.joint_names)
        assert not point.velocities and not point.accelerations and not point.effort
        assert nanoseconds(point.time_from_start) > due
        due = nanoseconds(point.time_from_start)
    with pytest.raises(MessageError, match="has no effort"):
        trajectories.read_gripper(panda, message)
    bare = replace(panda, gripper_command="position_trajectory")
    assert (trajectories.read_gripper(bare, message).efforts == panda.max_force).all()


def test_a_width_and_force_survive_their_message(panda: RobotProfile) -> None:
    command, stamp = Command(standing(np.arange(7.0)), 0.0371, 12.3456789), 86_400_050_000_001
    message = trajectories.width_force_message(panda, command, stamp)
    gripper = trajectories.read_width_force(message, fingers=2)
    assert gripper.stamp == stamp
    assert gripper.positions.sum() == command.finger_target
    assert (gripper.efforts == command.finger_force).all()
    message.data = [0.04, float("nan")]
    with pytest.raises(MessageError, match="not finite"):
        trajectories.read_width_force(message, fingers=2)
    message.data = [0.04]
    with pytest.raises(MessageError, match="holds 1 numbers"):
        trajectories.read_width_force(message, fingers=2)


def test_trajectories_are_read_by_joint_name(panda: RobotProfile) -> None:
    message = trajectories.arm_message(panda, standing(np.arange(7.0)), 0)
    message.joint_names = list(reversed(message.joint_names))
    read_back = trajectories.read_trajectory(message, panda.joint_names)
    assert np.array_equal(read_back.positions[0], np.arange(7.0)[::-1])


def test_without_a_motion_an_empty_trajectory_says_stop(panda: RobotProfile) -> None:
    empty = trajectories.arm_message(panda, None, 0)
    assert empty.joint_names == list(panda.joint_names) and not empty.points


def test_trajectories_that_are_none_are_refused(panda: RobotProfile) -> None:
    def message():
        return trajectories.arm_message(panda, standing(np.zeros(7)).then(standing(np.zeros(7))), 0)

    empty, late, short, nan = message(), message(), message(), message()
    empty.points = []
    late.points = list(reversed(late.points))
    short.points[0].positions = [0.0]
    nan.points[0].positions = [float("nan")] * 7
    bad = {"no points": empty, "do not rise": late, "do not fit": short, "not finite": nan}
    for words, wrong in bad.items():
        with pytest.raises(MessageError, match=words):
            trajectories.read_trajectory(wrong, panda.joint_names)
    with pytest.raises(MessageError, match="expected panda_finger"):
        trajectories.read_trajectory(message(), panda.finger_names)


def test_stamps_are_read_from_a_reply_only_where_there_are_some() -> None:
    assert encoding.read_stamps("150000000") == (0.15,)
    assert encoding.read_stamps("150000000 100000000") == (0.15, 0.1)
    assert [encoding.read_stamps(text) for text in ("", "done", "-1", "1.5", "²", "1 done")] == [()] * 6


@given(st.integers(0, 2**62))
def test_a_stamp_in_seconds_survives_the_way_through_nanoseconds(stamp: int) -> None:
    seconds = stamp / encoding.SECOND
    [back] = encoding.read_stamps(str(encoding.to_nanoseconds(seconds)))
    assert back == seconds
    assert stamp > 2**52 or encoding.to_nanoseconds(seconds) == stamp


def without_velocities(panda: RobotProfile, seconds: float, positions: np.ndarray) -> JointState:
    measured = replace(some_measurement(panda, np.random.default_rng(1)), joint_positions=positions)
    message = sensors.joint_state_message(panda, measured, round(seconds * 1e9), 0.0)
    message.velocity = []
    return message


@pytest.mark.parametrize("rate", [20, 80, 1000])
def test_velocities_that_a_driver_does_not_report_are_estimated(panda: RobotProfile, rate: int) -> None:
    reader, rng = JointReader(panda), np.random.default_rng(rate)
    speeds = rng.uniform(-1, 1, size=7) * panda.velocity
    for k in range(rate // 4):
        # To the last digit of an encoder, and with stamps that jitter.
        positions = np.round(panda.home + speeds * k / rate, 4)
        sample = reader.read(without_velocities(panda, k / rate + rng.uniform(0, 0.1) / rate, positions))
        if k == 0:
            assert not sample.velocities.any()
    assert np.allclose(sample.velocities, speeds, rtol=0.12, atol=0.01)


def test_a_jump_a_new_start_of_the_driver_or_a_reported_velocity_is_not_estimated(panda: RobotProfile) -> None:
    reader = JointReader(panda)
    reader.read(without_velocities(panda, 5.0, panda.home))
    assert not reader.read(without_velocities(panda, 5.05, panda.home + 1.0)).velocities.any()
    assert reader.read(without_velocities(panda, 5.1, panda.home + 1.01)).velocities == pytest.approx(0.2)
    assert not reader.read(without_velocities(panda, 0.0, panda.home)).velocities.any()
    moving = without_velocities(panda, 0.05, panda.home + 0.01)
    moving.velocity = [0.7] * 9
    assert reader.read(moving).velocities == pytest.approx(0.7)
