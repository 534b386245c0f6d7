import itertools

import numpy as np
import pytest
from helpers.grasping import spline_of

from mql_ros.grasping.motion.joint_motion import straight_line
from mql_ros.grasping.motion.spline import state_at
from mql_ros.grasping.robot.profile import RobotProfile
from mql_ros.grasping.safety.filter import SafetyFilter
from mql_ros.grasping.task import spaces
from mql_ros.grasping.types import Array


def speeds(profile: RobotProfile, start: Array, points: Array) -> Array:
    return np.abs(np.diff(points, axis=0, prepend=start[None])) / profile.control_period


@pytest.mark.parametrize("target", [[0.6, 0.15, 0.03], [0.45, -0.2, 0.3], [0.5, 0.0, 0.36]])
@pytest.mark.parametrize("yaw", [0.0, 0.8, 2.5])
def test_a_straight_line_starts_at_the_measured_position_and_ends_at_rest(
    panda: RobotProfile, target: list[float], yaw: float
) -> None:
    wanted = np.array(target)
    motion = straight_line(panda, panda.home, wanted, yaw, 0.3)
    points, velocities = motion.points, motion.velocities
    assert (speeds(panda, panda.home, points) <= panda.velocity).all()
    assert (np.abs(velocities) <= panda.velocity).all()
    # From rest to rest: the first and the last steps are the shortest.
    assert np.abs(points[0] - panda.home).max() <= np.abs(np.diff(points, axis=0)).max() + 1e-9
    assert not velocities[-1].any()
    position, turn = panda.chain.forward(points[-1])
    assert np.allclose(position, wanted, atol=1e-3)
    heading = np.arctan2(turn[1, 0], turn[0, 0])
    assert abs(np.sin(heading - yaw)) < 5e-3, "the same heading, or the opposite one: the gripper is symmetric"


def test_a_straight_line_keeps_the_tool_on_it(panda: RobotProfile) -> None:
    start, end = panda.chain.forward(panda.home)[0], np.array([0.62, -0.12, 0.05])
    points = straight_line(panda, panda.home, end, 0.3, 0.3).points
    way = (end - start) / np.linalg.norm(end - start)
    off = panda.chain.positions(points) - start
    assert np.linalg.norm(off - np.outer(off @ way, way), axis=1).max() < 1e-3


def test_a_straight_line_ends_inside_the_workspace(panda: RobotProfile) -> None:
    points = straight_line(panda, panda.home, np.array([0.5, 0.0, -1.0]), 0.0, 0.3).points
    assert panda.chain.forward(points[-1])[0][2] == pytest.approx(panda.workspace_lower[2], abs=1e-3)


def test_the_safety_filter_allows_every_line_that_an_action_can_ask_for(panda: RobotProfile) -> None:
    """Objects at the edges of where they are put, actions at their corners: no motion breaks a limit or falls short."""
    safety = SafetyFilter(panda)
    for x, y, yaw, reach, up in itertools.product((0.42, 0.58), (-0.08, 0.08), (-1.5, 0.4), (-1, 1), (-1, 1)):
        way = spaces.grasps_of(np.array([reach, up * reach, up, 0.0, 0.0, 0.0]))
        below = np.clip(way[:3] + [x, y, 0.0], panda.workspace_lower, panda.workspace_upper)
        above = np.array([below[0], below[1], panda.home_position[2]])
        corrected = below + spaces.CORRECTION * np.array([-reach * np.cos(yaw), -reach * np.sin(yaw), up])
        corrected = np.clip(corrected, panda.workspace_lower, panda.workspace_upper)
        lifted = corrected + [0, 0, spaces.LIFT_HEIGHT]
        joints = panda.home
        for target, speed in ((above, 0.5), (below, 0.32), (corrected, 0.15), (lifted, spaces.SPEED_HIGH)):
            motion = straight_line(panda, joints, target, yaw, speed)
            assert safety.plan_fault(motion, target) == ""
            assert (speeds(panda, joints, motion.points) <= panda.velocity).all()
            joints = motion.points[-1]


def test_the_state_at_any_time_is_on_the_spline_and_bit_for_bit_at_its_points(panda: RobotProfile) -> None:
    motion, period = straight_line(panda, panda.home, np.array([0.6, 0.15, 0.03]), 0.2, 0.3), panda.control_period
    spline = spline_of(motion, period)
    for periods in (0.0, 0.3, 1.0, 4.77, len(motion.points) - 0.01):
        state = state_at(motion, periods * period, period)
        for order, part in enumerate((state.positions, state.velocities, state.accelerations)):
            assert np.allclose(part, spline.derivative(order)(periods * period), atol=1e-9)
    for k in range(len(motion.points) + 1):
        state = state_at(motion, 12.35 + k * period - 12.35, period)  # of a clock that does not count in periods
        assert np.array_equal(state.positions, motion.state(k).positions)
    for seconds, end in ((-1.0, motion.start.positions), (1e6, motion.points[-1])):
        state = state_at(motion, seconds, period)
        assert np.array_equal(state.positions, end) and not state.velocities.any() and not state.accelerations.any()
