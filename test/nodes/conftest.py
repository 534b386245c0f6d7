from importlib.util import find_spec

import pytest

from mql_ros.grasping.robot_profile import RobotProfile, load_profile

# The message packages come with ROS 2; without it there is nothing to convert.
collect_ignore_glob = [] if find_spec("rclpy") else ["test_*.py"]


@pytest.fixture(scope="session")
def panda() -> RobotProfile:
    return load_profile("panda")
